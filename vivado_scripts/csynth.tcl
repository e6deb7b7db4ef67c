# SPDX-License-Identifier: Apache-2.0
# High-level synthesis of one build: C simulation, synthesis, and on request RTL co-simulation and IP export.
#
# To run it by hand, go to the scripts/ folder of a build directory and use the command that is installed:
#   vitis-run --mode hls --tcl csynth.tcl     Vitis 2023.2 and later
#   vitis_hls -f csynth.tcl                   Vitis HLS 2020.2 and later, while the command still exists
#   vivado_hls -f csynth.tcl                  Vivado HLS 2019.2 and 2020.1
#
# It reads config.tcl in the folder it is run from, and the files named there (paths from the build directory).
# It writes below work/hls/<flow_design>/solution1/ of the build directory, and empties that project first:
#   csim/report/<flow_top>_csim.log           C simulation
#   syn/report/<flow_top>_csynth.rpt, .xml    synthesis: cycles, clock estimate, resources
#   syn/verilog/                              the RTL, which ooc.tcl reads
#   sim/report/<flow_top>_cosim.rpt           co-simulation: pass or fail, measured cycles
#   impl/ip/component.xml                     the exported IP
# The exit code is 0 when every step that was asked for succeeded, and 1 otherwise.
#
# Tcl 8.5, since that is what Vivado HLS has: no try, no lmap.

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

# Some versions only warn of a file that is not there, and fail later with another message.
proc flow_check_files {paths} {
    set absent {}
    foreach path $paths {
        if {[regexp {\s} $path]} {
            error "config.tcl names '$path': add_files splits names at blanks, so a name may hold none"
        }
        if {![file exists ../$path]} {
            lappend absent $path
        }
    }
    if {[llength $absent]} {
        error "config.tcl names files that are not in the build directory: [join $absent {, }]"
    }
}

# The tools fail with a bare number as the message, so say which step it was.
proc flow_step {command args} {
    puts "csynth.tcl: $command"
    if {[catch {uplevel #0 [linsert $args 0 $command]} message]} {
        error "$command failed: $message"
    }
}

proc flow_main {} {
    flow_read_config {
        flow_design flow_top flow_part flow_clock_ns flow_clock_uncertainty_percent
        flow_sources flow_testbench flow_vectors flow_cflags
        flow_run_csim flow_run_cosim flow_export
    }
    flow_check_files [concat $::flow_sources $::flow_testbench $::flow_vectors]

    file mkdir ../work/hls
    cd ../work/hls
    # -reset, so that a failed run cannot leave the reports of the run before
    open_project -reset $::flow_design
    set_top $::flow_top
    foreach path $::flow_sources {
        add_files -cflags $::flow_cflags ../../$path
    }
    foreach path $::flow_testbench {
        add_files -tb -cflags $::flow_cflags ../../$path
    }
    # copied into the folder where the test bench runs: a folder under its own name, a file flat
    foreach path $::flow_vectors {
        add_files -tb ../../$path
    }

    # Vivado HLS has neither the option nor the command that gives Vitis HLS away. Where Vitis HLS hides the
    # command the option is only left out, and it spells out the default.
    if {[llength [info commands ::set_directive_bind_storage]]} {
        open_solution -reset solution1 -flow_target vivado
    } else {
        open_solution -reset solution1
    }
    set_part $::flow_part
    create_clock -period $::flow_clock_ns -name default
    set_clock_uncertainty $::flow_clock_uncertainty_percent% default
    # Names long enough to find a layer in the reports. No pipelining that the code does not ask for: the tools'
    # defaults differ (Vitis HLS pipelines loops of more than 64 iterations), and the plan has counted the cycles.
    config_compile -name_max_length 80 -pipeline_loops 0

    if {$::flow_run_csim} {
        flow_step csim_design -O
    }
    flow_step csynth_design
    if {$::flow_run_cosim} {
        flow_step cosim_design -O -rtl verilog
    }
    if {$::flow_export} {
        flow_step export_design -format ip_catalog
    }
    close_project
}

# Both exits are explicit: after -f the tools otherwise stay open, as a prompt.
if {[catch flow_main flow_message]} {
    puts stderr "csynth.tcl: $flow_message"
    exit 1
}
exit 0
