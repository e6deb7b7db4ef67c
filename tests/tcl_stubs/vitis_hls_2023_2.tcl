# SPDX-License-Identifier: Apache-2.0
# tclsh vitis_hls_2023_2.tcl SCRIPT: runs SCRIPT as `vitis_hls -f SCRIPT` of 2023.2 would.
source [file join [file dirname [info script]] hls_common.tcl]
stand_in open_solution {-reset 0 -flow_target 1}
stand_in export_design {
    -format 1 -flow 1 -rtl 1 -output 1 -description 1 -display_name 1 -ipname 1 -library 1 -vendor 1 -version 1
}
stand_in set_directive_bind_storage {}
stand_in set_directive_bind_op {}
run_script [lindex $argv 0]
