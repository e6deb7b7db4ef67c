# SPDX-License-Identifier: Apache-2.0
# What every script of this folder begins with: the settings, steps with a name, one way to end.
#
# Tcl 8.5, since that is what Vivado HLS has: no try, no lmap.

# Reads config.tcl in the current folder; flow_NAME of it are global variables from then on.
proc flow_read_config {} {
    if {![file exists config.tcl]} {
        error "there is no config.tcl in [pwd]: run this from the scripts/ folder of a build directory"
    }
    # global, whatever procedure of the tool sources this script
    uplevel #0 {source config.tcl}
    set missing {}
    foreach name {
        design top part clock_ns clock_mhz clock_uncertainty_percent sources testbench vectors cflags
        family board_part axis_in_bits axis_out_bits frame_words result_words memory_bytes
    } {
        if {![info exists ::flow_$name]} {
            lappend missing flow_$name
        }
    }
    if {[llength $missing]} {
        error "config.tcl does not set: [join $missing {, }]"
    }
}

# Makes an empty folder of the build directory, and goes there: a failed run leaves no reports of the run before.
proc flow_empty_folder {path} {
    file delete -force ../$path
    file mkdir ../$path
    cd ../$path
}

# The tools fail with a bare number as the message, so say which step it was.
proc flow_step {command args} {
    puts "flow: $command"
    if {[catch {uplevel #0 [linsert $args 0 $command]} message]} {
        error "$command failed: $message"
    }
    return $message
}

# How many programs a tool may start side by side.
proc flow_jobs {} {
    if {[info exists ::env(FLOW_JOBS)]} {
        return $::env(FLOW_JOBS)
    }
    return 1
}

# Runs a script's procedure. Both exits are explicit: after -f the HLS tools otherwise stay open, as a prompt.
proc flow_run {script procedure} {
    if {[catch {flow_read_config; $procedure} message]} {
        puts stderr "$script: $message"
        exit 1
    }
    exit 0
}
