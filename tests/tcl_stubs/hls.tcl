# SPDX-License-Identifier: Apache-2.0
# tclsh hls.tcl SCRIPT: runs SCRIPT as vivado_hls -f (2019.2, 2020.1), vitis_hls -f (2020.2 and later) or
# vitis-run --mode hls --tcl would. Options: UG902 2019.2; UG1399 2020.2, 2021.1, 2022.2, 2023.2 and 2025.2, "Project
# Commands" and "Configuration Commands".
source [file join [file dirname [info script]] record.tcl]
set ::vitis [since 2020.2]

set ::project {}
set ::solution {}
proc need {name} {
    if {[set ::$name] eq ""} {
        error "no $name is open"
    }
}

stand_in open_project [concat {-reset {}} [expr {$vitis ? {-upgrade {}} : {}}]] {1 1} {
    set ::project [lindex $words 0]
    if {[dict exists $given -reset]} {
        file delete -force $::project/hls.app
    }
    touch $::project/hls.app
}
stand_in close_project {} {0 0} {
    need project
    set ::project {}
}
stand_in set_top {} {1 1} {
    need project
    set ::top [lindex $words 0]
}
stand_in add_files {-tb {} -cflags * -csimflags * -blackbox {}} {1 1} {
    need project
    if {![file exists [lindex $words 0]]} {
        error "add_files: there is no [lindex $words 0]"
    }
}
stand_in open_solution [concat {-reset {}} [expr {$vitis ? {-flow_target vivado|vitis} : {}}]] {1 1} {
    need project
    set ::solution $::project/[lindex $words 0]
    if {[dict exists $given -reset]} {
        file delete -force $::solution
    } elseif {[file exists $::solution/top]} {
        set file [open $::solution/top]
        set ::top [read $file]
        close $file
    }
    file mkdir $::solution
    if {[dict exists $given -flow_target]} {
        touch $::solution/flow_target [dict get $given -flow_target]
    }
}
stand_in set_part {} {1 1} {need solution}
stand_in create_clock {-period * -name *} {0 0} {need solution}
stand_in set_clock_uncertainty {} {1 2} {need solution}
stand_in config_compile [concat {-name_max_length * -pipeline_loops * -no_signed_zeros {}} \
    [expr {$vitis ? {-enable_auto_rewind {}} : {}}]] {0 0} {need solution}
stand_in csim_design {-O {} -argv * -clean {} -ldflags * -mflags * -setup {}} {0 0} {
    need solution
    touch $::solution/csim/report/${::top}_csim.log "INFO: \[SIM 1\] CSim done with 0 errors.\n"
}
stand_in csynth_design {} {0 0} {
    need solution
    touch $::solution/top $::top
    touch $::solution/syn/verilog/$::top.v "module $::top; endmodule\n"
    set kind [expr {$::vitis ? {vitis_csynth} : {vivado_csynth}}]
    # a report for every process, as the tools write it: the functions that the top calls
    set source [open [lindex [glob ../../hls/top.cpp] 0]]
    set text [read $source]
    close $source
    set functions $::top
    foreach line [split $text \n] {
        if {[regexp {^    (\w+)\(.*\);$} $line all name]} {
            lappend functions $name
        }
    }
    foreach name $functions {
        write_report $kind.xml $::solution/syn/report/${name}_csynth.xml @NAME@ $name
        write_report $kind.rpt $::solution/syn/report/${name}_csynth.rpt @NAME@ $name
    }
}
stand_in cosim_design {
    -O {} -argv * -ldflags * -mflags * -rtl verilog|vhdl -setup {} -tool * -trace_level none|all|port|port_hier
} {0 0} {
    need solution
    write_report cosim.rpt $::solution/sim/report/${::top}_cosim.rpt @NAME@ $::top
}
stand_in export_design [concat {
    -format ip_catalog|syn_dcp|sysgen|xo -flow syn|impl -rtl verilog|vhdl -description * -display_name *
    -ipname * -library * -vendor * -version *
} [expr {$vitis ? {-output *} : {-evaluate verilog|vhdl}}]] {0 0} {
    need solution
    if {[dict exists $given -format] && [dict get $given -format] eq "xo"} {
        set file [open $::solution/flow_target]
        set target [read $file]
        close $file
        if {$target ne "vitis"} {
            error "export_design: a kernel needs -flow_target vitis"
        }
        touch [dict get $given -output] [string map [list @NAME@ $::top] \
            {{"kernel": "@NAME@", "ports": {"in_r": "in", "out_r": "out"}}}]
        return
    }
    touch $::solution/impl/ip/component.xml "<spirit:name>$::top</spirit:name>\n"
}
if {$vitis} {
    stand_in set_directive_bind_storage {-type * -impl * -latency *} {2 2}
} else {
    stand_in set_directive_resource {-core * -latency *} {2 2}
}
run_script [lindex $argv 0]
