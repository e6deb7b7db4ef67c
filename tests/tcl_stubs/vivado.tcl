# SPDX-License-Identifier: Apache-2.0
# tclsh vivado.tcl SCRIPT: runs SCRIPT as `vivado -mode batch -source SCRIPT` would (options: UG835).
# FLOW_STUB_BLACKBOXES holds the cells without contents that synthesis shall leave.
source [file join [file dirname [info script]] record.tcl]
stand_in create_project {-in_memory 0 -part 1 -force 0}
stand_in read_verilog {-sv 0 -library 1}
stand_in read_mem {}
stand_in read_xdc {-mode 1 -unmanaged 0 -cells 1}
stand_in synth_design {-top 1 -part 1 -mode 1 -directive 1 -flatten_hierarchy 1}
stand_in opt_design {-directive 1}
stand_in place_design {-directive 1}
stand_in route_design {-directive 1}
stand_in report_utilization {-file 1 -hierarchical 0}
stand_in report_timing_summary {-file 1}
stand_in write_checkpoint {-force 0}
stand_in get_cells_checked {-hierarchical 0 -quiet 0 -filter 1}
proc get_cells {args} {
    get_cells_checked {*}$args
    if {[info exists ::env(FLOW_STUB_BLACKBOXES)]} {
        return $::env(FLOW_STUB_BLACKBOXES)
    }
}
run_script [lindex $argv 0]
