# SPDX-License-Identifier: Apache-2.0
# The hardware manager for the stand-in of Vivado (UG835, UG908), with one Arty A7 on it: behind the JTAG to AXI master
# an AXI4-Stream FIFO (PG080) at 0x44A00000, behind that an accelerator that gives driver/known_output.hex for the
# frames of driver/known_input.hex, in that order. A transaction that the FIFO would not understand is an error.
#   FLOW_STUB_CABLES, FLOW_STUB_DEVICES   the cables, and the devices behind each
#   FLOW_STUB_FAULT   silent: no result; wrong: one bit of a result is; long: a result is two packets;
#                     no_core: the device has no JTAG to AXI master; error: a bus error
proc fault {name} {
    return [expr {[info exists ::env(FLOW_STUB_FAULT)] && $::env(FLOW_STUB_FAULT) eq $name}]
}
set ::opened {}
proc need_opened {name} {
    if {$name ni $::opened} {
        error "the hardware manager has no open $name"
    }
}
if {[since 2019.2]} {
    stand_in open_hw_manager {} {0 0} {lappend ::opened manager}
} else {
    stand_in open_hw {} {0 0} {lappend ::opened manager}
}
stand_in connect_hw_server {-url *} {0 0} {
    need_opened manager
    lappend ::opened server
}
stand_in get_hw_targets {-quiet {}} {0 1} {
    need_opened server
    return [lsearch -all -inline [env_or FLOW_STUB_CABLES localhost:3121/xilinx_tcf/Digilent/210319] [lindex $words 0]]
}
stand_in open_hw_target {} {0 1} {
    need_opened server
    lappend ::opened target
}
stand_in close_hw_target {} {0 1} {need_opened target}
stand_in get_hw_devices {-quiet {}} {0 1} {
    need_opened target
    return [lsearch -all -inline [env_or FLOW_STUB_DEVICES xc7a100t_0] [lindex $words 0]]
}
stand_in current_hw_device {} {1 1} {lappend ::opened device}
proc set_program {path device} {
    need_opened device
    if {![file exists $path]} {
        error "set_property: there is no $path"
    }
    set ::program $path
}
stand_in program_hw_devices {} {1 1} {
    need_opened device
    if {![info exists ::program]} {
        error "program_hw_devices: no PROGRAM.FILE"
    }
    lappend ::opened programmed
}
stand_in refresh_hw_device {-update_hw_probes *} {0 1} {
    need_opened programmed
    lappend ::opened cores
}
stand_in get_hw_axis {-quiet {}} {0 1} {
    return [expr {"cores" in $::opened && ![fault no_core] ? "hw_axi_1" : ""}]
}
stand_in reset_hw_axi {} {0 1} {lappend ::opened axi}
stand_in create_hw_axi_txn {-force {} -type READ|WRITE -address * -len 1 -data *} {2 2} {
    need_opened axi
    if {[lindex $words 1] ne "hw_axi_1"} {
        error "create_hw_axi_txn: there is no [lindex $words 1]"
    }
    foreach name {-address -data} {
        if {[dict exists $given $name] && ![regexp {^[0-9A-Fa-f]{8}$} [dict get $given $name]]} {
            error "create_hw_axi_txn: $name [dict get $given $name]: expected eight hexadecimal digits"
        }
    }
    set ::transaction $given
    return [lindex $words 0]
}
stand_in run_hw_axi {} {1 1} {
    if {[fault error]} {
        error "run_hw_axi: \[Labtoolstcl 44-513\] HW Target shutdown."
    }
    set register [expr {"0x[dict get $::transaction -address]" - 0x44A00000}]
    if {[dict get $::transaction -type] eq "WRITE"} {
        fifo_write $register [string tolower [dict get $::transaction -data]]
    } else {
        dict set ::transaction DATA [fifo_read $register]
    }
}
proc transaction_property {name} {
    return [dict get $::transaction $name]
}

# the FIFO: words written and not sent, packets received, words of the one that is read; frames seen
set ::sent {}
set ::packets {}
set ::reading {}
set ::status 0
set ::seen 0
proc memory_words {name line} {
    set file [open ../driver/$name.hex]
    set bytes [binary decode hex [lindex [split [read $file] \n] $line]]
    close $file
    binary scan $bytes iu* numbers
    return [lmap number $numbers {format %08x $number}]
}
proc fifo_write {register data} {
    switch $register {
        0 {set ::status [expr {$::status & ~"0x$data"}]}
        16 {lappend ::sent $data}
        20 {
            if {"0x$data" != 4 * [llength $::sent]} {
                set ::status [expr {$::status | 0x02000000}]
            }
            if {$::sent ne [memory_words known_input $::seen]} {
                error "run_hw_axi: frame $::seen arrived as $::sent"
            }
            set result [memory_words known_output $::seen]
            incr ::seen
            set ::sent {}
            if {[fault silent]} {
                return
            }
            if {[fault wrong]} {
                lset result 0 [format %08x [expr {"0x[lindex $result 0]" ^ 1}]]
            }
            set ::packets [expr {[fault long] ? [list [lrange $result 0 0] [lrange $result 1 end]] : [list $result]}]
            set ::status [expr {$::status | 0x0C000000}]
        }
        40 {
            if {$data ne "000000a5"} {
                error "run_hw_axi: a reset is 0xA5"
            }
            set ::sent {}
            set ::packets {}
            # reset complete, of both directions
            set ::status 0x01800000
        }
        default {error "run_hw_axi: no register to write at $register"}
    }
}
proc fifo_read {register} {
    switch $register {
        0 {return [format %08x $::status]}
        28 {return [format %08x [llength [concat {*}$::packets]]]}
        36 {
            set ::packets [lassign $::packets ::reading]
            return [format %08x [expr {4 * [llength $::reading]}]]
        }
        32 {
            if {![llength $::reading]} {
                error "run_hw_axi: the FIFO is empty"
            }
            set ::reading [lassign $::reading word]
            return $word
        }
        default {error "run_hw_axi: no register to read at $register"}
    }
}
