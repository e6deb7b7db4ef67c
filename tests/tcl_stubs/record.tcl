# SPDX-License-Identifier: Apache-2.0
# What all stand-ins share. A vendor command prints "call: NAME ARGUMENT..." and accepts only the options it is
# given here; FLOW_STUB_FAIL names a command that fails as the tools do, with a bare number as the message.

# options: pairs of an option and how many arguments follow it
proc stand_in {name options} {
    proc ::$name {args} [string map [list @NAME@ $name @OPTIONS@ [list $options]] {
        puts "call: [linsert $args 0 @NAME@]"
        set rest $args
        while {[llength $rest]} {
            set word [lindex $rest 0]
            set skip 0
            if {[string match -* $word]} {
                if {![dict exists @OPTIONS@ $word]} {
                    error "@NAME@: unknown option '$word'"
                }
                set skip [dict get @OPTIONS@ $word]
            }
            set rest [lrange $rest [expr {$skip + 1}] end]
        }
        if {[info exists ::env(FLOW_STUB_FAIL)] && $::env(FLOW_STUB_FAIL) eq "@NAME@"} {
            error 4
        }
    }]
}

# In a procedure, as vivado_hls does: a script that counts on being sourced globally fails here.
proc run_script {path} {
    source $path
}
