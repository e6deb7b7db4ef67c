# SPDX-License-Identifier: Apache-2.0
# Placement and routing of what ooc_synth.tcl made: what the design truly needs, and how fast it is by itself.
#
# By hand, in the scripts/ folder of a build directory, after ooc_synth.tcl:
#   vivado -mode batch -source ooc_route.tcl
# It reads hls_work/ooc/synth.dcp and writes beside it:
#   routed_utilization.rpt, routed_hierarchy.rpt, routed_timing.rpt, routed_power.rpt, routed.dcp
# The exit code is 0 when it succeeded and the clock is met, and 1 otherwise; the reports are there in both cases.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] reports.tcl]

proc flow_main {} {
    cd ../hls_work
    if {![file exists ooc/synth.dcp]} {
        error "there is no hls_work/ooc/synth.dcp: run ooc_synth.tcl first"
    }
    cd ooc
    file delete -force {*}[glob -nocomplain routed_*.rpt routed.dcp]
    set_param general.maxThreads [expr {min([flow_jobs], 8)}]
    open_checkpoint synth.dcp
    flow_step opt_design
    flow_step place_design
    flow_step route_design
    flow_reports routed
    write_checkpoint -force routed.dcp
    flow_check_timing
}

flow_run ooc_route.tcl flow_main
