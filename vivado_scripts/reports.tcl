# SPDX-License-Identifier: Apache-2.0
# The reports of Vivado, and what must hold in them: what ooc_*.tcl and system_build.tcl share.

# Writes <stage>_*.rpt to the current folder.
proc flow_reports {stage} {
    report_utilization -file ${stage}_utilization.rpt
    report_utilization -hierarchical -file ${stage}_hierarchy.rpt
    report_timing_summary -file ${stage}_timing.rpt
    report_power -file ${stage}_power.rpt
}

# An error with the worst path if the routed design is too slow for its clock.
proc flow_check_timing {} {
    foreach {kind delay} {setup max hold min} {
        set path [get_timing_paths -max_paths 1 -delay_type $delay]
        if {![llength $path]} {
            error "there is no $kind path: the clock does not reach the design"
        }
        set slack [get_property SLACK $path]
        if {$slack < 0} {
            set from [get_property STARTPOINT_PIN $path]
            set to [get_property ENDPOINT_PIN $path]
            error "timing is not met: $kind slack $slack ns, from $from to $to"
        }
    }
}
