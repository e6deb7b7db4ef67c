# SPDX-License-Identifier: Apache-2.0
# The block design of a whole system: what the family of the board has around the accelerator, clock, reset.
#
# By hand, in the scripts/ folder of a build directory, after export.tcl:
#   vivado -mode batch -source system_design.tcl
# It reads the IP in hls_work/hls/<flow_design>/solution1/impl/ip/, and writes the project hls_work/system/, which
# it empties first. system_build.tcl makes the bitstream of it.
# The exit code is 0 when the design is valid, and 1 otherwise.
#
# Each family brings flow_prepare_project (board files, sources) and flow_create_system (the cells and their nets):
# zynq_system.tcl with zynq7000.tcl or zynqmp.tcl a system that runs by itself, artix7.tcl a test design.
source [file join [file dirname [info script]] common.tcl]
set ::flow_folder [file normalize [file dirname [info script]]]

# The newest version of an IP of the catalogue: versions differ between the tools, names and ports do not.
proc flow_ip {pattern} {
    set found [lsort -dictionary [get_ipdefs -all $pattern]]
    if {![llength $found]} {
        error "the catalogue has no IP $pattern"
    }
    return [lindex $found end]
}

proc flow_cell {name cell} {
    return [create_bd_cell -type ip -vlnv [flow_ip xilinx.com:ip:$name:*] $cell]
}

# CELL/PIN, or a port of the whole design.
proc flow_end {path} {
    if {[string first / $path] < 0} {
        return [get_bd_ports $path]
    }
    return [get_bd_pins $path]
}

proc flow_net {source args} {
    foreach sink $args {
        connect_bd_net [flow_end $source] [get_bd_pins $sink]
    }
}

proc flow_bus {master slave} {
    connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $slave]
}

# The clock that was planned for, from the one that there is; buffer: how that enters (PRIM_SOURCE of PG065).
proc flow_create_clock {buffer source reset} {
    set clock [flow_cell clk_wiz clock]
    set_property -dict [list \
        CONFIG.PRIM_SOURCE $buffer \
        CONFIG.PRIM_IN_FREQ [expr {[get_property CONFIG.FREQ_HZ [flow_end $source]] / 1e6}] \
        CONFIG.CLKOUT1_REQUESTED_OUT_FREQ $::flow_clock_mhz \
        CONFIG.USE_LOCKED true \
        CONFIG.USE_RESET true \
        CONFIG.RESET_TYPE ACTIVE_LOW \
    ] $clock
    flow_cell proc_sys_reset reset
    flow_net $source clock/clk_in1
    flow_net $reset clock/resetn reset/ext_reset_in
    flow_net clock/clk_out1 reset/slowest_sync_clk
    flow_net clock/locked reset/dcm_locked
}

# The stream of the accelerator: HLS renames ports that are keywords of VHDL (in becomes in_r).
proc flow_stream_pin {mode} {
    set pins [get_bd_intf_pins -of_objects [get_bd_cells accelerator] -filter \
        "MODE == $mode && VLNV =~ xilinx.com:interface:axis_rtl:*"]
    if {[llength $pins] != 1} {
        error "the IP has [llength $pins] streams as $mode, not 1: $pins"
    }
    return $pins
}

proc flow_main {} {
    set families {zynq7000 {zynq_system zynq7000} zynqmp {zynq_system zynqmp} artix7 artix7}
    if {![dict exists $families $::flow_family]} {
        error "there is no system for the family $::flow_family, only for [join [dict keys $families] {, }]"
    }
    set ip hls_work/hls/$::flow_design/solution1/impl/ip
    if {![file exists ../$ip/component.xml]} {
        error "there is no IP in $ip: run export.tcl first"
    }
    foreach name [dict get $families $::flow_family] {
        uplevel #0 [list source [file join $::flow_folder $name.tcl]]
    }
    flow_empty_folder hls_work/system
    create_project system . -part $::flow_part
    flow_prepare_project
    set_property ip_repo_paths [list ../../$ip] [current_project]
    update_ip_catalog
    create_bd_design system
    flow_create_system
    flow_step validate_bd_design
    save_bd_design
    set wrapper [make_wrapper -files [get_files system.bd] -top]
    add_files -norecurse $wrapper
    set_property top system_wrapper [current_fileset]
    close_project
}

flow_run system_design.tcl flow_main
