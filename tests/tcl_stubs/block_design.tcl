# SPDX-License-Identifier: Apache-2.0
# The IP integrator for the stand-in of Vivado: cells of known IPs, with the pins and parameters that their product
# guides name; every net and address is checked, and validate_bd_design prints what came out, one "bd: " a line.
# PG082 (Zynq-7000 PS), PG201 (Zynq UltraScale+ PS), PG021 (AXI DMA), PG059 (AXI Interconnect), PG065 (Clocking Wizard),
# PG164 (Processor System Reset), PG174 (JTAG to AXI Master), PG080 (AXI4-Stream FIFO), UG994.

# name -> versions, parameters (name, values as a glob; * anything), pins (name, direction), bus pins (name, mode,
# protocol, width parameter or number), clocks and resets that must be driven, segments, spaces
set ::widths 32|64|128|256|512|1024
set ::streams 8|16|32|64|128|256|512|1024
set ::ips [dict create]
proc ip {name versions parameters pins buses {segments {}} {spaces {}}} {
    dict set ::ips $name [dict create versions $versions parameters $parameters pins $pins buses $buses \
        segments $segments spaces $spaces]
}
ip xilinx.com:ip:processing_system7 {5.5} {
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ * CONFIG.PCW_USE_M_AXI_GP0 0|1 CONFIG.PCW_USE_S_AXI_HP0 0|1
    CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 32|64 CONFIG.PCW_USE_FABRIC_INTERRUPT 0|1 CONFIG.PCW_IRQ_F2P_INTR 0|1
} {FCLK_CLK0 O FCLK_RESET0_N O M_AXI_GP0_ACLK I S_AXI_HP0_ACLK I IRQ_F2P I} {
    M_AXI_GP0 {Master aximm} S_AXI_HP0 {Slave aximm}
} {S_AXI_HP0/HP0_DDR_LOWOCM} {Data}
ip xilinx.com:ip:zynq_ultra_ps_e {3.3 3.4 3.5} {
    CONFIG.PSU__FPGA_PL0_ENABLE 0|1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ * CONFIG.PSU__USE__M_AXI_GP0 0|1
    CONFIG.PSU__USE__M_AXI_GP1 0|1 CONFIG.PSU__USE__M_AXI_GP2 0|1 CONFIG.PSU__MAXIGP0__DATA_WIDTH 32|64|128
    CONFIG.PSU__USE__S_AXI_GP2 0|1 CONFIG.PSU__SAXIGP2__DATA_WIDTH 32|64|128 CONFIG.PSU__USE__IRQ0 0|1
} {pl_clk0 O pl_resetn0 O maxihpm0_fpd_aclk I saxihp0_fpd_aclk I pl_ps_irq0 I} {
    M_AXI_HPM0_FPD {Master aximm} S_AXI_HP0_FPD {Slave aximm}
} {S_AXI_HP0_FPD/HP0_DDR_LOW S_AXI_HP0_FPD/HP0_DDR_HIGH} {Data}
ip xilinx.com:ip:axi_dma {7.1} [list \
    CONFIG.c_include_sg 0|1 CONFIG.c_sg_include_stscntrl_strm 0|1 CONFIG.c_sg_length_width 8|1?|2? \
    CONFIG.c_addr_width 32|40|64 CONFIG.c_m_axi_mm2s_data_width $::widths CONFIG.c_m_axis_mm2s_tdata_width $::streams \
    CONFIG.c_mm2s_burst_size 2|4|8|16|32|64|128|256 CONFIG.c_m_axi_s2mm_data_width $::widths \
    CONFIG.c_s_axis_s2mm_tdata_width $::streams CONFIG.c_s2mm_burst_size 2|4|8|16|32|64|128|256] {
    s_axi_lite_aclk I m_axi_mm2s_aclk I m_axi_s2mm_aclk I axi_resetn I mm2s_introut O s2mm_introut O
} {
    S_AXI_LITE {Slave aximm} M_AXI_MM2S {Master aximm} M_AXI_S2MM {Master aximm}
    M_AXIS_MM2S {Master axis} S_AXIS_S2MM {Slave axis}
} {S_AXI_LITE/Reg} {Data_MM2S Data_S2MM}
ip xilinx.com:ip:axi_interconnect {2.1} {CONFIG.NUM_SI 1|2 CONFIG.NUM_MI 1} {
    ACLK I ARESETN I S00_ACLK I S00_ARESETN I M00_ACLK I M00_ARESETN I
} {S00_AXI {Slave aximm} M00_AXI {Master aximm}}
ip xilinx.com:ip:clk_wiz {6.0} {
    CONFIG.PRIM_SOURCE No_buffer|Global_buffer|Single_ended_clock_capable_pin CONFIG.PRIM_IN_FREQ *
    CONFIG.CLKOUT1_REQUESTED_OUT_FREQ * CONFIG.USE_LOCKED true|false CONFIG.USE_RESET true|false
    CONFIG.RESET_TYPE ACTIVE_LOW|ACTIVE_HIGH
} {clk_in1 I resetn I clk_out1 O locked O} {}
ip xilinx.com:ip:proc_sys_reset {5.0} {} {
    slowest_sync_clk I ext_reset_in I dcm_locked I peripheral_aresetn O interconnect_aresetn O
} {}
ip xilinx.com:ip:xlconcat {2.1} {CONFIG.NUM_PORTS 2} {In0 I In1 I dout O} {}
ip xilinx.com:ip:jtag_axi {1.2} {CONFIG.PROTOCOL 0|2} {aclk I aresetn I} {M_AXI {Master aximm}} {} {Data}
ip xilinx.com:ip:axi_fifo_mm_s {4.2 4.3} {
    CONFIG.C_DATA_INTERFACE_TYPE 0 CONFIG.C_USE_TX_CTRL 0 CONFIG.C_HAS_AXIS_TKEEP true|false
    CONFIG.C_TX_FIFO_DEPTH 512|1024|2048|4096|8192|16384|32768|65536|131072
    CONFIG.C_RX_FIFO_DEPTH 512|1024|2048|4096|8192|16384|32768|65536|131072
} {s_axi_aclk I s_axi_aresetn I} {
    S_AXI {Slave aximm} AXI_STR_TXD {Master axis} AXI_STR_RXD {Slave axis}
} {S_AXI/Mem0}
ip xilinx.com:hls:network {1.0} {} {ap_clk I ap_rst_n I} {in_r {Slave axis} out_r {Master axis}}
# a module of the project (UG994, "Referencing a Module"): there when its file is; parameters and ports from the file
ip module:flow:flow_transfer {1.0} [list CONFIG.IN_BITS $::streams CONFIG.OUT_BITS $::streams \
    CONFIG.FRAME_WORDS *] {
    aclk I aresetn I
} {frames_in {Slave axis} frames_out {Master axis} results_in {Slave axis} results_out {Master axis}}

set ::cells [dict create]
set ::nets [dict create]
set ::buses [dict create]
set ::segments {}
set ::properties [dict create]

proc cell_of {path} {
    set cell [lindex [split $path /] 0]
    if {![dict exists $::cells $cell]} {
        error "there is no cell '$cell'"
    }
    return $cell
}
proc described {path what} {
    return [dict get $::ips [dict get $::cells [cell_of $path]] $what]
}

stand_in get_ipdefs {-all {} -quiet {} -filter *} {1 1} {
    set found {}
    dict for {name description} $::ips {
        foreach one [dict get $description versions] {
            if {[string match [lindex $words 0] $name:$one]} {
                lappend found $name:$one
            }
        }
    }
    return $found
}
stand_in get_board_parts {-quiet {}} {1 1} {
    if {[info exists ::env(FLOW_STUB_NO_BOARDS)]} {
        return {}
    }
    return [list [string map {* 1.0} [lindex $words 0]] [string map {* 1.10} [lindex $words 0]]]
}
stand_in update_ip_catalog {-rebuild {}} {0 0} {
    if {![dict exists $::properties project ip_repo_paths]} {
        error "update_ip_catalog: no repository is set"
    }
}
stand_in create_bd_design {} {1 1}
stand_in create_bd_cell {-type ip|module|hier -vlnv * -reference *} {1 1} {
    if {[dict get $given -type] eq "module"} {
        set module [dict get $given -reference]
        if {$module ni $::modules} {
            error "create_bd_cell: no source of the project holds the module $module"
        }
        dict set given -vlnv module:flow:$module:1.0
    }
    set vlnv [dict get $given -vlnv]
    set name [join [lrange [split $vlnv :] 0 2] :]
    if {![dict exists $::ips $name] || [lindex [split $vlnv :] 3] ni [dict get $::ips $name versions]} {
        error "create_bd_cell: there is no IP $vlnv"
    }
    if {[dict exists $::cells [lindex $words 0]]} {
        error "create_bd_cell: [lindex $words 0] is there already"
    }
    dict set ::cells [lindex $words 0] $name
    return [lindex $words 0]
}
# ports of the whole design: name -> type, frequency
set ::ports [dict create]
stand_in create_bd_port {-dir I -type clk|rst -freq_hz *} {1 1} {
    if {([dict get $given -type] eq "clk") != [dict exists $given -freq_hz]} {
        error "create_bd_port: a clock, and nothing else, has a frequency"
    }
    dict set ::ports [lindex $words 0] [list [dict get $given -type] [lindex [dict values $given] end]]
    return [lindex $words 0]
}
stand_in get_bd_ports {-quiet {}} {1 1} {
    if {![dict exists $::ports [lindex $words 0]]} {
        error "get_bd_ports: there is no port '[lindex $words 0]'"
    }
    return [lindex $words 0]
}
stand_in get_bd_cells {-quiet {}} {1 1} {return [cell_of [lindex $words 0]]}
stand_in apply_bd_automation {-rule xilinx.com:bd_rule:* -config *} {1 1} {
    set kind [lindex [split [dict get $given -rule] :] 2]
    if {[dict get $::cells [lindex $words 0]] ne "xilinx.com:ip:$kind"} {
        error "apply_bd_automation: the rule is not for [lindex $words 0]"
    }
    set allowed {processing_system7 {make_external apply_board_preset Master Slave} zynq_ultra_ps_e apply_board_preset}
    foreach {name value} [dict get $given -config] {
        if {$name ni [dict get $allowed $kind]} {
            error "apply_bd_automation: unknown setting '$name'"
        }
    }
    dict set ::properties [lindex $words 0] preset [dict get [dict get $given -config] apply_board_preset]
}
# The width of an interconnect shows by its pins: S01 only where NUM_SI is 2.
proc pins_of {cell} {
    set pins [described $cell pins]
    if {[string match *axi_interconnect [dict get $::cells $cell]] && [bd_value $cell CONFIG.NUM_SI] == 2} {
        lappend pins S01_ACLK I S01_ARESETN I
    }
    return $pins
}
proc buses_of {cell} {
    set buses [described $cell buses]
    if {[string match *axi_interconnect [dict get $::cells $cell]] && [bd_value $cell CONFIG.NUM_SI] == 2} {
        lappend buses S01_AXI {Slave aximm}
    }
    return $buses
}
stand_in get_bd_pins {-quiet {}} {1 1} {
    set path [lindex $words 0]
    if {![dict exists [pins_of [cell_of $path]] [lindex [split $path /] 1]]} {
        error "get_bd_pins: there is no pin '$path'"
    }
    return $path
}
stand_in get_bd_intf_pins {-quiet {} -of_objects * -filter *} {0 1} {
    if {[dict exists $given -of_objects]} {
        if {![regexp {^MODE == (\w+) && VLNV =~ xilinx.com:interface:(axis|aximm)_rtl:\*$} [dict get $given -filter] \
                all mode protocol]} {
            error "get_bd_intf_pins: filter [dict get $given -filter]"
        }
        set found {}
        dict for {name description} [buses_of [dict get $given -of_objects]] {
            if {$description eq [list $mode $protocol]} {
                lappend found [dict get $given -of_objects]/$name
            }
        }
        return $found
    }
    set path [lindex $words 0]
    if {![dict exists [buses_of [cell_of $path]] [lindex [split $path /] 1]]} {
        error "get_bd_intf_pins: there is no pin '$path'"
    }
    return $path
}
proc direction {path} {
    if {[dict exists $::ports $path]} {
        return O
    }
    return [dict get [pins_of [cell_of $path]] [lindex [split $path /] 1]]
}
stand_in connect_bd_net {} {2 2} {
    lassign $words source sink
    if {[direction $source] ne "O" || [direction $sink] ne "I"} {
        error "connect_bd_net: $source -> $sink is not an output to an input"
    }
    if {[dict exists $::nets $sink]} {
        error "connect_bd_net: $sink is driven already"
    }
    dict set ::nets $sink $source
}
stand_in connect_bd_intf_net {} {2 2} {
    lassign $words master slave
    foreach {path mode} [list $master Master $slave Slave] {
        if {[lindex [dict get [buses_of [cell_of $path]] [lindex [split $path /] 1]] 0] ne $mode} {
            error "connect_bd_intf_net: $path is not a $mode"
        }
        if {$path in [dict keys $::buses] || $path in [dict values $::buses]} {
            error "connect_bd_intf_net: $path is connected already"
        }
    }
    if {[lindex [dict get [buses_of [cell_of $master]] [lindex [split $master /] 1]] 1] ne
        [lindex [dict get [buses_of [cell_of $slave]] [lindex [split $slave /] 1]] 1]} {
        error "connect_bd_intf_net: $master and $slave are not of one kind"
    }
    dict set ::buses $master $slave
}
stand_in get_bd_addr_spaces {-quiet {}} {1 1} {
    set path [lindex $words 0]
    if {[lindex [split $path /] 1] ni [described $path spaces]} {
        error "get_bd_addr_spaces: there is no space '$path'"
    }
    return $path
}
stand_in get_bd_addr_segs {-quiet {}} {1 1} {
    set path [lindex $words 0]
    if {[join [lrange [split $path /] 1 end] /] ni [described $path segments]} {
        error "get_bd_addr_segs: there is no segment '$path'"
    }
    return $path
}
stand_in create_bd_addr_seg {-range * -offset *} {3 3} {
    set range [expr {[dict get $given -range]}]
    set offset [expr {[dict get $given -offset]}]
    if {$range < 4096 || ($range & ($range - 1)) || $offset % $range} {
        error "create_bd_addr_seg: [lindex $words 2] of $range bytes at $offset is no power of two, or not aligned"
    }
    foreach one $::segments {
        lassign $one space segment begin size
        if {$space eq [lindex $words 0] && $offset < $begin + $size && $begin < $offset + $range} {
            error "create_bd_addr_seg: [lindex $words 2] overlaps $segment"
        }
    }
    lappend ::segments [list {*}[lrange $words 0 1] $offset $range]
}
proc bd_value {cell name} {
    if {[dict exists $::properties $cell $name]} {
        return [dict get $::properties $cell $name]
    }
    return {}
}
proc bd_set {name value object} {
    if {$name eq "PROGRAM.FILE"} {
        set_program $value $object
        return
    }
    if {$object in {project sources_1}} {
        if {$name ni {board_part ip_repo_paths top}} {
            error "set_property: $object has no property $name"
        }
        if {$name eq "ip_repo_paths" && ![file exists [file join $::project_folder $value component.xml]]} {
            error "set_property: there is no IP in $value"
        }
    } elseif {[dict exists $::ports $object]} {
        if {$name ne "CONFIG.POLARITY" || [lindex [dict get $::ports $object] 0] ne "rst"
            || $value ni {ACTIVE_LOW ACTIVE_HIGH}} {
            error "set_property: the port $object has no $name $value"
        }
    } else {
        set parameters [described $object parameters]
        if {![dict exists $parameters $name]} {
            error "set_property: $object has no parameter $name"
        }
        set found 0
        foreach one [split [dict get $parameters $name] |] {
            incr found [string match $one $value]
        }
        if {!$found} {
            error "set_property: $name $value: expected [dict get $parameters $name]"
        }
    }
    dict set ::properties $object $name $value
}
proc bd_property {name object} {
    if {$name eq "CONFIG.FREQ_HZ" && $object in {ps/FCLK_CLK0 ps/pl_clk0}} {
        # what a PLL of the processing system gives for 100 MHz
        return [expr {$object eq "ps/pl_clk0" ? 99999001 : 100000000}]
    }
    if {$name eq "CONFIG.FREQ_HZ" && [dict exists $::ports $object]} {
        return [lindex [dict get $::ports $object] 1]
    }
    error "get_property: $object has no property $name"
}
stand_in validate_bd_design {-force {}} {0 0} {
    dict for {port description} $::ports {
        if {$port ni $::placed} {
            error "validate_bd_design: the constraints give the port $port no pin"
        }
        if {$port ni [dict values $::nets]} {
            error "validate_bd_design: the port $port drives nothing"
        }
        puts "bd: port $port $description [expr {[dict exists $::properties $port] ? [dict get $::properties $port] : {}}]"
    }
    dict for {cell name} $::cells {
        foreach {pin direction} [pins_of $cell] {
            if {$direction eq "I" && ![dict exists $::nets $cell/$pin]} {
                error "validate_bd_design: $cell/$pin is not driven"
            }
        }
        foreach {bus description} [buses_of $cell] {
            if {"$cell/$bus" ni [concat [dict keys $::buses] [dict values $::buses]]} {
                error "validate_bd_design: $cell/$bus is not connected"
            }
        }
        foreach space [described $cell spaces] {
            if {[lsearch -index 0 $::segments $cell/$space] < 0} {
                error "validate_bd_design: the space $cell/$space has no segment"
            }
        }
        puts "bd: cell $cell $name [expr {[dict exists $::properties $cell] ? [dict get $::properties $cell] : {}}]"
    }
    dict for {sink source} $::nets {
        puts "bd: net $source $sink"
    }
    dict for {master slave} $::buses {
        puts "bd: bus $master $slave"
    }
    foreach one $::segments {
        puts "bd: segment [lindex $one 0] [lindex $one 1] [format 0x%x [lindex $one 2]] [format 0x%x [lindex $one 3]]"
    }
}
stand_in save_bd_design {} {0 0}
