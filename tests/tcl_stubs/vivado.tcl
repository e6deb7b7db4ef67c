# SPDX-License-Identifier: Apache-2.0
# tclsh vivado.tcl SCRIPT: runs SCRIPT as `vivado -mode batch -source SCRIPT` would (options: UG835).
#   FLOW_STUB_BLACKBOXES   cells without contents that synthesis shall leave
#   FLOW_STUB_SLACK        the worst setup slack in ns (0.5)
#   FLOW_STUB_NO_BOARDS    the installation has no board files
#   FLOW_STUB_RUN_FAILS    a run that does not reach its end
#   FLOW_STUB_RUN_SAYS     what the log of a run says
# and those of hardware.tcl
source [file join [file dirname [info script]] record.tcl]
source [file join [file dirname [info script]] block_design.tcl]
source [file join [file dirname [info script]] hardware.tcl]

proc env_or {name default} {
    if {[info exists ::env($name)]} {
        return $::env($name)
    }
    return $default
}

stand_in create_project {-in_memory {} -part xc* -force {}} {0 2} {
    set ::project_part [dict get $given -part]
    if {![dict exists $given -in_memory]} {
        lassign $words ::project_name ::project_folder
        touch $::project_folder/$::project_name.xpr $::project_part
    }
}
stand_in open_project {} {1 1} {
    if {![file exists [lindex $words 0]]} {
        error "open_project: there is no [lindex $words 0]"
    }
    set ::project_folder [file dirname [lindex $words 0]]
    set ::project_name [file rootname [file tail [lindex $words 0]]]
}
stand_in close_project {} {0 0}
stand_in close_design {} {0 0}
stand_in current_project {} {0 0} {return project}
stand_in current_fileset {} {0 0} {return sources_1}
stand_in set_param {} {2 2} {
    if {[lindex $words 0] ne "general.maxThreads" || ![string is integer -strict [lindex $words 1]]} {
        error "set_param: [lindex $words 0] is not known"
    }
    if {[lindex $words 1] < 1 || [lindex $words 1] > 32} {
        error "set_param: general.maxThreads is from 1 to 32"
    }
}

# sources and out-of-context runs
stand_in read_verilog {-sv {} -library *} {1 1}
stand_in read_mem {} {1 1}
stand_in read_xdc {-mode out_of_context|default -unmanaged {} -cells *} {1 1} {
    if {![file exists [lindex $words 0]]} {
        error "read_xdc: there is no [lindex $words 0]"
    }
}
stand_in synth_design {-top * -part xc* -mode default|out_of_context -directive * -flatten_hierarchy *} {0 0}
stand_in get_cells {-hierarchical {} -quiet {} -filter *} {0 1} {return [env_or FLOW_STUB_BLACKBOXES {}]}
stand_in open_checkpoint {-part xc*} {1 1} {
    if {![file exists [lindex $words 0]]} {
        error "open_checkpoint: there is no [lindex $words 0]"
    }
}
stand_in opt_design {-directive *} {0 0}
stand_in place_design {-directive *} {0 0}
stand_in route_design {-directive *} {0 0}
stand_in write_checkpoint {-force {}} {1 1} {touch [lindex $words 0]}

# reports
stand_in report_utilization {-file * -hierarchical {} -hierarchical_depth *} {0 0} {
    set kind [expr {[dict exists $given -hierarchical] ? "hierarchy" : "utilization"}]
    write_report vivado_$kind.rpt [dict get $given -file]
}
stand_in report_timing_summary {-file *} {0 0} {
    set slack [env_or FLOW_STUB_SLACK 0.512]
    set verdict [expr {$slack < 0 ? "VIOLATED" : "MET"}]
    write_report vivado_timing.rpt [dict get $given -file] @SLACK@ [format %10.3f $slack] @VERDICT@ $verdict
}
stand_in report_power {-file *} {0 0} {write_report vivado_power.rpt [dict get $given -file]}
stand_in get_timing_paths {-max_paths * -nworst * -delay_type max|min|min_max} {0 0} {
    return "path_[dict get $given -delay_type]"
}

# runs of a project
stand_in get_runs {-quiet {}} {1 1} {return [lindex $words 0]}
stand_in reset_run {} {1 1}
stand_in launch_runs {-jobs * -to_step route_design|write_bitstream} {1 1} {
    set run [lindex $words 0]
    if {$run ni {synth_1 impl_1}} {
        error "launch_runs: there is no run $run"
    }
    touch $::project_folder/$::project_name.runs/$run/runme.log "[env_or FLOW_STUB_RUN_SAYS {INFO: done}]\n"
    if {[dict exists $given -to_step] && [dict get $given -to_step] eq "write_bitstream"} {
        touch $::project_folder/$::project_name.runs/$run/system_wrapper.bit "bits\n"
        set place [expr {[since 2020.2] ? "gen" : "srcs"}]
        touch $::project_folder/$::project_name.$place/sources_1/bd/system/hw_handoff/system.hwh "<EDKSYSTEM/>\n"
    }
}
stand_in wait_on_run {-timeout *} {1 1}
stand_in open_run {} {1 1}
stand_in get_files {-quiet {}} {1 1} {return [lindex $words 0]}
stand_in make_wrapper {-files * -top {} -import {}} {0 0} {return system/hdl/system_wrapper.v}
stand_in add_files {-norecurse {} -fileset *} {1 1}
# modules are known once the order of compilation is up to date; pins of constraints at once
set ::imported {}
set ::modules {}
set ::placed {}
stand_in import_files {-norecurse {} -fileset sources_1|constrs_1 -force {}} {1 1} {
    if {([dict exists $given -fileset] && [dict get $given -fileset] eq "constrs_1")
        != [string match *.xdc [lindex $words 0]]} {
        error "import_files: constraints, and nothing else, belong to constrs_1: [lindex $words 0]"
    }
    set file [open [lindex $words 0]]
    if {[string match *.xdc [lindex $words 0]]} {
        set pin {^set_property -dict {PACKAGE_PIN \w+ IOSTANDARD LVCMOS33} \[get_ports (\w+)\]$}
        set ::placed [lmap {all name} [regexp -all -inline -line $pin [read $file]] {set name}]
        close $file
        return
    }
    lappend ::imported {*}[lmap {all name} [regexp -all -inline -line {^module (\w+)} [read $file]] {set name}]
    close $file
}
stand_in update_compile_order {-fileset sources_1} {0 0} {set ::modules $::imported}

stand_in get_property {} {2 2} {
    lassign $words name object
    if {$object in {path_max path_min}} {
        return [dict get [dict create \
            SLACK [expr {$object eq "path_max" ? [env_or FLOW_STUB_SLACK 0.512] : 0.05}] \
            STARTPOINT_PIN {fc1_U0/sum_reg[3]/C} ENDPOINT_PIN {fc1_U0/result_reg[7]/D}] $name]
    }
    if {$object in {synth_1 impl_1}} {
        set failed [expr {$object eq [env_or FLOW_STUB_RUN_FAILS {}]}]
        return [dict get [dict create PROGRESS [expr {$failed ? "40%" : "100%"}] \
            STATUS [expr {$failed ? "route_design ERROR" : "Complete!"}]] $name]
    }
    if {[string match flow_* $object]} {
        return [transaction_property $name]
    }
    return [bd_property $name $object]
}
stand_in set_property {-dict *} {1 3} {
    if {[dict exists $given -dict]} {
        foreach {name value} [dict get $given -dict] {
            bd_set $name $value [lindex $words 0]
        }
    } else {
        bd_set {*}$words
    }
}
run_script [lindex $argv 0]
