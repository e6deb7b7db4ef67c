# SPDX-License-Identifier: Apache-2.0
# Out-of-context synthesis of the RTL that csynth.tcl made, and on request placement and routing: what the design
# needs and how fast it is by itself, without a board around it.
#
# To run it by hand, go to the scripts/ folder of a build directory, after csynth.tcl:
#   vivado -mode batch -source ooc.tcl
#
# It reads config.tcl in the folder it is run from, and work/hls/<flow_design>/solution1/syn/verilog/.
# It writes to work/ooc/ of the build directory, and empties that folder first:
#   synth_utilization.rpt, synth_hierarchy.rpt, synth_timing.rpt, synth.dcp        after synthesis
#   routed_utilization.rpt, routed_hierarchy.rpt, routed_timing.rpt, routed.dcp    after routing (flow_route 1)
# The exit code is 0 when every step succeeded, and 1 otherwise. A clock that is not met is a result, not an error:
# read it in the timing report.

proc flow_read_config {names} {
    if {![file exists config.tcl]} {
        error "there is no config.tcl in [pwd]: run this from the scripts/ folder of a build directory"
    }
    # global, whatever procedure of the tool sources this script
    uplevel #0 {source config.tcl}
    set missing {}
    foreach name $names {
        if {![info exists ::$name]} {
            lappend missing $name
        }
    }
    if {[llength $missing]} {
        error "config.tcl does not set: [join $missing {, }]"
    }
}

proc flow_step {command args} {
    puts "ooc.tcl: $command"
    if {[catch {uplevel #0 [linsert $args 0 $command]} message]} {
        error "$command failed: $message"
    }
}

proc flow_reports {stage} {
    report_utilization -file ${stage}_utilization.rpt
    report_utilization -hierarchical -file ${stage}_hierarchy.rpt
    report_timing_summary -file ${stage}_timing.rpt
    write_checkpoint -force $stage.dcp
}

proc flow_main {} {
    flow_read_config {flow_design flow_top flow_part flow_clock_ns flow_route}
    file delete -force ../work/ooc
    file mkdir ../work/ooc
    cd ../work/ooc

    set rtl ../hls/$::flow_design/solution1/syn/verilog
    set verilog [lsort [glob -nocomplain -directory $rtl *.v]]
    if {![llength $verilog]} {
        error "there is no Verilog in work/hls/$::flow_design/solution1/syn/verilog: run csynth.tcl first"
    }
    create_project -in_memory -part $::flow_part
    read_verilog $verilog
    # what the ROMs of the RTL read with $readmemh
    set contents [lsort [glob -nocomplain -directory $rtl *.dat]]
    if {[llength $contents]} {
        read_mem $contents
    }
    # a file, and before synthesis, so that synthesis too works for this clock; HLS names the port ap_clk
    set file [open clock.xdc w]
    puts $file "create_clock -name ap_clk -period $::flow_clock_ns \[get_ports ap_clk\]"
    close $file
    read_xdc -mode out_of_context clock.xdc

    flow_step synth_design -top $::flow_top -part $::flow_part -mode out_of_context
    # an empty module would be reported as a small one
    set empty [get_cells -hierarchical -quiet -filter {IS_BLACKBOX}]
    if {[llength $empty]} {
        error "modules without contents (is RTL missing?): [join $empty {, }]"
    }
    flow_reports synth

    if {$::flow_route} {
        flow_step opt_design
        flow_step place_design
        flow_step route_design
        flow_reports routed
    }
}

if {[catch flow_main flow_message]} {
    puts stderr "ooc.tcl: $flow_message"
    exit 1
}
exit 0
