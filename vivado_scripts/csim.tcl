# SPDX-License-Identifier: Apache-2.0
# C simulation by the vendor's tool: the test bench with the vendor's own headers, in a project of its own.
#
# By hand, in the scripts/ folder of a build directory (the README says which command for which version):
#   vitis-run --mode hls --tcl csim.tcl
# It writes hls_work/csim/<flow_design>/solution1/csim/report/<flow_top>_csim.log, and empties hls_work/csim/ first.
# The exit code is 0 when the test bench passed, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] hls.tcl]

proc flow_main {} {
    flow_new_project csim
    flow_step csim_design -O -argv [flow_arguments]
    close_project
}

flow_run csim.tcl flow_main
