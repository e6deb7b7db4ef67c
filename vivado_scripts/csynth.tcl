# SPDX-License-Identifier: Apache-2.0
# High-level synthesis: C++ to RTL.
#
# By hand, in the scripts/ folder of a build directory (the README says which command for which version):
#   vitis-run --mode hls --tcl csynth.tcl
# It writes below hls_work/hls/<flow_design>/solution1/, and empties hls_work/hls/ first:
#   syn/report/<flow_top>_csynth.rpt, .xml    cycles, clock estimate, resources; one pair for each process too
#   syn/verilog/                              the RTL, which ooc_synth.tcl reads
# The exit code is 0 when it succeeded, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] hls.tcl]

proc flow_main {} {
    flow_new_project hls
    flow_step csynth_design
    close_project
}

flow_run csynth.tcl flow_main
