# SPDX-License-Identifier: Apache-2.0
# Loads the test design of an Arty A7, sends it the frames with known answers over JTAG, and compares.
#
# By hand, in the scripts/ folder of a build directory, after system_build.tcl, with the board on USB:
#   vivado -mode batch -source jtag_test.tcl
# It reads hls_work/bitstream/<flow_design>.bit, driver/known_input.hex and driver/known_output.hex.
# FLOW_HW_TARGET in the environment names the cable where there are several, as a pattern: */Digilent/210319*
# The exit code is 0 when every word is as simulated, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] artix7.tcl]

# PG080: offsets of the registers, bits of the interrupt status
array set ::fifo {ISR 0x00 TDFD 0x10 TLR 0x14 RDFO 0x1C RDFD 0x20 RLR 0x24 SRR 0x28}
set ::received 0x04000000
set ::errors 0xF2000000

# The lines of a file of driver/, each as a list of words: its bytes are in the order of memory, the lowest first.
proc flow_frames {path} {
    if {![file exists ../$path]} {
        error "there is no $path in the build directory"
    }
    set file [open ../$path]
    set lines [split [string trim [read $file]] \n]
    close $file
    set frames {}
    foreach line $lines {
        set words {}
        foreach {all b0 b1 b2 b3} [regexp -all -inline {(..)(..)(..)(..)} $line] {
            lappend words $b3$b2$b1$b0
        }
        lappend frames $words
    }
    return $frames
}

# Opens the one cable, and gives the device on it that has the part's name, such as xc7a35t.
proc flow_open_device {} {
    # 2019.1 and before say open_hw
    if {[llength [info commands ::open_hw_manager]]} {
        open_hw_manager
    } else {
        open_hw
    }
    connect_hw_server
    set pattern *
    if {[info exists ::env(FLOW_HW_TARGET)]} {
        set pattern $::env(FLOW_HW_TARGET)
    }
    set targets [get_hw_targets -quiet $pattern]
    if {[llength $targets] != 1} {
        error "[llength $targets] cables match $pattern, not 1: is the board on USB? FLOW_HW_TARGET names one: $targets"
    }
    open_hw_target $targets
    regexp {^xc7a\d+t} $::flow_part name
    set devices [get_hw_devices -quiet ${name}*]
    if {[llength $devices] != 1} {
        error "the cable reaches [llength $devices] devices $name, not 1: the bitstream is for $::flow_part"
    }
    current_hw_device $devices
    return $devices
}

proc flow_write {name value} {
    set address [format %08X [expr {$::fifo_address + $::fifo($name)}]]
    set transaction [create_hw_axi_txn -force -type WRITE -address $address -len 1 -data $value flow_txn $::axi]
    run_hw_axi $transaction
}

proc flow_read {name} {
    set address [format %08X [expr {$::fifo_address + $::fifo($name)}]]
    set transaction [create_hw_axi_txn -force -type READ -address $address -len 1 flow_txn $::axi]
    run_hw_axi $transaction
    return [get_property DATA $transaction]
}

# Sends a frame as one packet, and gives the words of the packet that comes back.
proc flow_predict {words} {
    flow_write ISR FFFFFFFF
    foreach word $words {
        flow_write TDFD $word
    }
    flow_write TLR [format %08X [expr {4 * [llength $words]}]]
    for {set tries 0} {!([set status 0x[flow_read ISR]] & $::received)} {incr tries} {
        if {$tries == 100} {
            error "no result after a second: interrupt status $status"
        }
        after 10
    }
    if {$status & $::errors} {
        error "the FIFO reports an error: interrupt status $status"
    }
    # in this order: reading the length clears the occupancy
    scan [flow_read RDFO] %x occupancy
    scan [flow_read RLR] %x length
    if {$length != 4 * $occupancy} {
        error "$length bytes came back in $occupancy words: the result is not one packet"
    }
    set result {}
    for {set i 0} {$i < $occupancy} {incr i} {
        lappend result [flow_read RDFD]
    }
    return $result
}

proc flow_main {} {
    set bitstream ../hls_work/bitstream/$::flow_design.bit
    if {$::flow_family ne "artix7"} {
        error "the family $::flow_family has no JTAG test design: flow deploy runs the self test of a Zynq"
    }
    if {![file exists $bitstream]} {
        error "there is no hls_work/bitstream/$::flow_design.bit: run system_build.tcl first"
    }
    set frames [flow_frames driver/known_input.hex]
    set answers [flow_frames driver/known_output.hex]
    set device [flow_open_device]
    set_property PROGRAM.FILE $bitstream $device
    program_hw_devices $device
    refresh_hw_device $device
    set ::axi [get_hw_axis -quiet]
    if {[llength $::axi] != 1} {
        error "the device has [llength $::axi] JTAG to AXI masters, not 1: does its clock run?"
    }
    reset_hw_axi $::axi
    flow_write SRR 000000A5
    after 10
    set compared 0
    foreach frame $frames answer $answers {
        set result [flow_predict $frame]
        if {![string equal -nocase $result $answer]} {
            error "frame [expr {$compared / [llength $answer]}]: expected $answer, got $result"
        }
        incr compared [llength $answer]
    }
    close_hw_target
    puts "jtag_test.tcl: [llength $frames] frames, $compared words, all as simulated"
}

flow_run jtag_test.tcl flow_main
