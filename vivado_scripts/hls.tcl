# SPDX-License-Identifier: Apache-2.0
# The HLS project: what csim.tcl, csynth.tcl, cosim.tcl and export.tcl share.

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

# A new project in hls_work/FOLDER/; whatever was there is gone.
proc flow_new_project {folder} {
    flow_check_files [concat $::flow_sources $::flow_testbench $::flow_vectors]
    flow_empty_folder hls_work/$folder
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
        open_solution -reset solution1 -flow_target [expr {$::flow_family eq "alveo" ? "vitis" : "vivado"}]
    } else {
        open_solution -reset solution1
    }
    set_part $::flow_part
    create_clock -period $::flow_clock_ns -name default
    set_clock_uncertainty $::flow_clock_uncertainty_percent% default
    # Names long enough to find a layer in the reports. No pipelining that the code does not ask for: the tools'
    # defaults differ (Vitis HLS pipelines loops of 64 iterations and more), and the plan has counted the cycles.
    config_compile -name_max_length 80 -pipeline_loops 0
}

# The project that csynth.tcl made.
proc flow_open_project {} {
    if {![file isdirectory ../hls_work/hls/$::flow_design/solution1/syn]} {
        error "there is no synthesis in hls_work/hls/$::flow_design/solution1: run csynth.tcl first"
    }
    cd ../hls_work/hls
    open_project $::flow_design
    open_solution solution1
}

# What the test bench is called with: the folder of its data, where add_files -tb puts it.
proc flow_arguments {} {
    return [file tail [lindex $::flow_vectors 0]]
}
