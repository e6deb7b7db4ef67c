# SPDX-License-Identifier: Apache-2.0
# What all stand-ins share. A vendor command prints "call: NAME ARGUMENT..." and takes only what its documentation
# names: options with their values, and so many words beside them. These variables steer it:
#   FLOW_MOCK_VERSION    the version that is stood in for
#   FLOW_STUB_FAIL       a command that fails as the tools do, with a bare number as the message
#   FLOW_STUB_MESSAGE    printed when that happens
set ::version 2023.2
if {[info exists ::env(FLOW_MOCK_VERSION)]} {
    set ::version $::env(FLOW_MOCK_VERSION)
}
set ::stubs [file normalize [file dirname [info script]]]

# options: pairs of an option and the pattern of its value (glob), or {} where none follows
# words: how many words stand beside the options, at least and at most
# body: runs when the call is right, with $given (a dictionary) and $words
proc stand_in {name options words {body {}}} {
    proc ::$name {args} [string map [list @NAME@ $name @OPTIONS@ [list $options] @WORDS@ [list $words] @BODY@ $body] {
        puts "call: [linsert $args 0 @NAME@]"
        set given [dict create]
        set words {}
        set rest $args
        while {[llength $rest]} {
            set rest [lassign $rest word]
            if {![string match -* $word] || [string is double -strict $word]} {
                lappend words $word
                continue
            }
            if {![dict exists @OPTIONS@ $word]} {
                error "@NAME@: unknown option '$word'"
            }
            if {[dict exists $given $word]} {
                error "@NAME@: option '$word' twice"
            }
            set pattern [dict get @OPTIONS@ $word]
            set value 1
            if {$pattern ne ""} {
                if {![llength $rest]} {
                    error "@NAME@: option '$word' has no value"
                }
                set rest [lassign $rest value]
                set found 0
                foreach one [split $pattern |] {
                    incr found [string match $one $value]
                }
                if {!$found} {
                    error "@NAME@: $word $value: expected $pattern"
                }
            }
            dict set given $word $value
        }
        lassign @WORDS@ least most
        if {[llength $words] < $least || [llength $words] > $most} {
            error "@NAME@: [llength $words] words, expected $least to $most: $words"
        }
        if {[info exists ::env(FLOW_STUB_FAIL)] && $::env(FLOW_STUB_FAIL) eq "@NAME@"} {
            if {[info exists ::env(FLOW_STUB_MESSAGE)]} {
                puts $::env(FLOW_STUB_MESSAGE)
            }
            error 4
        }
        @BODY@
    }]
}

proc since {version} {
    return [expr {[package vcompare $::version $version] >= 0}]
}

# A report of reports/, under another name and with @NAME@ replaced.
proc write_report {template path args} {
    file mkdir [file dirname $path]
    set in [open [file join $::stubs reports $template]]
    set out [open $path w]
    puts -nonewline $out [string map [concat [list @VERSION@ $::version] $args] [read $in]]
    close $in
    close $out
}

proc touch {path {text {}}} {
    file mkdir [file dirname $path]
    set out [open $path w]
    puts -nonewline $out $text
    close $out
}

# In a procedure, as vivado_hls does: a script that counts on being sourced globally fails here.
proc run_script {path} {
    source $path
}
