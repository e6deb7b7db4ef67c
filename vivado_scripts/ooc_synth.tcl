# SPDX-License-Identifier: Apache-2.0
# Out-of-context synthesis of the RTL that csynth.tcl made: the design by itself, without a board around it.
#
# By hand, in the scripts/ folder of a build directory, after csynth.tcl:
#   vivado -mode batch -source ooc_synth.tcl
# It reads hls_work/hls/<flow_design>/solution1/syn/verilog/, writes to hls_work/ooc/, and empties that folder first:
#   synth_utilization.rpt, synth_hierarchy.rpt, synth_timing.rpt, synth_power.rpt, synth.dcp
# The exit code is 0 when it succeeded, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] reports.tcl]

proc flow_main {} {
    flow_empty_folder hls_work/ooc
    set rtl ../hls/$::flow_design/solution1/syn/verilog
    set verilog [lsort [glob -nocomplain -directory $rtl *.v]]
    if {![llength $verilog]} {
        error "there is no Verilog in hls_work/hls/$::flow_design/solution1/syn/verilog: run csynth.tcl first"
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

    set_param general.maxThreads [expr {min([flow_jobs], 8)}]
    flow_step synth_design -top $::flow_top -part $::flow_part -mode out_of_context
    # an empty module would be reported as a small one
    set empty [get_cells -hierarchical -quiet -filter {IS_BLACKBOX}]
    if {[llength $empty]} {
        error "modules without contents (is RTL missing?): [join $empty {, }]"
    }
    flow_reports synth
    write_checkpoint -force synth.dcp
}

flow_run ooc_synth.tcl flow_main
