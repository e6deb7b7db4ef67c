# SPDX-License-Identifier: Apache-2.0
# RTL co-simulation of what csynth.tcl made: the test bench, with the RTL in place of the C++.
#
# By hand, in the scripts/ folder of a build directory, after csynth.tcl:
#   vitis-run --mode hls --tcl cosim.tcl
# It writes hls_work/hls/<flow_design>/solution1/sim/report/<flow_top>_cosim.rpt: pass or fail, measured cycles.
# The exit code is 0 when the RTL gave the same integers, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] hls.tcl]

proc flow_main {} {
    flow_open_project
    flow_step cosim_design -O -argv [flow_arguments] -rtl verilog
    close_project
}

flow_run cosim.tcl flow_main
