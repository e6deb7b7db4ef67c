# SPDX-License-Identifier: Apache-2.0
# Commands that are alike in Vivado HLS (UG902) and Vitis HLS (UG1399).
source [file join [file dirname [info script]] record.tcl]
stand_in open_project {-reset 0}
stand_in close_project {}
stand_in set_top {}
stand_in add_files {-tb 0 -cflags 1 -csimflags 1 -blackbox 1}
stand_in set_part {}
stand_in create_clock {-period 1 -name 1}
stand_in set_clock_uncertainty {}
stand_in config_compile {-name_max_length 1 -pipeline_loops 1 -no_signed_zeros 0}
stand_in csim_design {-O 0 -argv 1 -clean 0 -ldflags 1 -mflags 1 -setup 0}
stand_in csynth_design {}
stand_in cosim_design {-O 0 -argv 1 -ldflags 1 -mflags 1 -rtl 1 -setup 0 -tool 1 -trace_level 1}
