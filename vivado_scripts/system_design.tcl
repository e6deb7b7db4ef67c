# SPDX-License-Identifier: Apache-2.0
# The block design of a whole system: processing system, AXI DMA in both directions, clock, reset, the accelerator.
#
# By hand, in the scripts/ folder of a build directory, after export.tcl:
#   vivado -mode batch -source system_design.tcl
# It reads the IP in hls_work/hls/<flow_design>/solution1/impl/ip/, and writes the project hls_work/system/, which
# it empties first. system_build.tcl makes the bitstream of it.
# The exit code is 0 when the design is valid, and 1 otherwise.
#
#   ps.control -> control -> dma.S_AXI_LITE                     registers
#   dma.M_AXI_MM2S, dma.M_AXI_S2MM -> data -> ps.memory         frames
#   dma.M_AXIS_MM2S -> transfer -> accelerator -> transfer -> dma.S_AXIS_S2MM
#                                                               streams; transfer (flow_transfer.v) ends them
#   dma interrupts -> interrupts -> ps.interrupt                0: frames sent, 1: results received
#   ps.clock -> clock -> everything
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

proc flow_net {source args} {
    foreach sink $args {
        connect_bd_net [get_bd_pins $source] [get_bd_pins $sink]
    }
}

proc flow_bus {master slave} {
    connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $slave]
}

# The board files must be there: without its preset the memory controller of the processing system is not set up.
proc flow_set_board {} {
    if {$::flow_board_part eq ""} {
        error "flow_board_part is empty: no board files are known for this board, so there is no preset"
    }
    # any version of them
    set pattern [join [lrange [split $::flow_board_part :] 0 2] :]:*
    set found [lsort -dictionary [get_board_parts -quiet $pattern]]
    if {![llength $found]} {
        error "Vivado has no board files $pattern: install them (Tools > Vivado Store > Boards, or xhub::install)"
    }
    set_property board_part [lindex $found end] [current_project]
}

proc flow_create_dma {port_bits address_bits} {
    foreach bits [list $::flow_axis_in_bits $::flow_axis_out_bits] {
        if {$bits > $port_bits} {
            error "a stream of $bits bits does not fit the memory port of $port_bits bits: see stream.axis_bits"
        }
    }
    # PG021: simple mode, transfers of up to 64 MiB, no realignment (buffers begin at a word)
    set dma [flow_cell axi_dma dma]
    set_property -dict [list \
        CONFIG.c_include_sg 0 \
        CONFIG.c_sg_include_stscntrl_strm 0 \
        CONFIG.c_sg_length_width 26 \
        CONFIG.c_addr_width $address_bits \
        CONFIG.c_m_axi_mm2s_data_width $port_bits \
        CONFIG.c_m_axis_mm2s_tdata_width $::flow_axis_in_bits \
        CONFIG.c_mm2s_burst_size 16 \
        CONFIG.c_m_axi_s2mm_data_width $port_bits \
        CONFIG.c_s_axis_s2mm_tdata_width $::flow_axis_out_bits \
        CONFIG.c_s2mm_burst_size 16 \
    ] $dma
}

# The clock that was planned for, from the one of the processing system.
proc flow_create_clock {source reset} {
    set clock [flow_cell clk_wiz clock]
    set_property -dict [list \
        CONFIG.PRIM_SOURCE No_buffer \
        CONFIG.PRIM_IN_FREQ [expr {[get_property CONFIG.FREQ_HZ [get_bd_pins $source]] / 1e6}] \
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

proc flow_create_interconnect {name slaves} {
    set cell [flow_cell axi_interconnect $name]
    set_property -dict [list CONFIG.NUM_SI $slaves CONFIG.NUM_MI 1] $cell
    set pins [list M00]
    for {set i 0} {$i < $slaves} {incr i} {
        lappend pins [format S%02d $i]
    }
    flow_net clock/clk_out1 $name/ACLK
    flow_net reset/interconnect_aresetn $name/ARESETN
    foreach pin $pins {
        flow_net clock/clk_out1 $name/${pin}_ACLK
        flow_net reset/peripheral_aresetn $name/${pin}_ARESETN
    }
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

# Between DMA and accelerator: one transfer holds many frames.
proc flow_create_transfer {} {
    set transfer [create_bd_cell -type module -reference flow_transfer transfer]
    set_property -dict [list \
        CONFIG.IN_BITS $::flow_axis_in_bits \
        CONFIG.OUT_BITS $::flow_axis_out_bits \
        CONFIG.FRAME_WORDS $::flow_frame_words \
    ] $transfer
}

proc flow_create_system {} {
    set ps [flow_processing_system]
    flow_create_clock [dict get $ps clock] [dict get $ps reset]
    flow_create_dma [dict get $ps port_bits] [dict get $ps address_bits]
    create_bd_cell -type ip -vlnv [flow_ip xilinx.com:hls:$::flow_top:*] accelerator
    flow_create_transfer
    flow_create_interconnect control 1
    flow_create_interconnect data 2
    set interrupts [flow_cell xlconcat interrupts]
    set_property CONFIG.NUM_PORTS 2 $interrupts

    flow_net clock/clk_out1 {*}[dict get $ps clocked] accelerator/ap_clk transfer/aclk \
        dma/s_axi_lite_aclk dma/m_axi_mm2s_aclk dma/m_axi_s2mm_aclk
    flow_net reset/peripheral_aresetn accelerator/ap_rst_n transfer/aresetn dma/axi_resetn
    flow_net dma/mm2s_introut interrupts/In0
    flow_net dma/s2mm_introut interrupts/In1
    flow_net interrupts/dout [dict get $ps interrupt]

    flow_bus [dict get $ps control] control/S00_AXI
    flow_bus control/M00_AXI dma/S_AXI_LITE
    flow_bus dma/M_AXI_MM2S data/S00_AXI
    flow_bus dma/M_AXI_S2MM data/S01_AXI
    flow_bus data/M00_AXI [dict get $ps memory]
    flow_bus dma/M_AXIS_MM2S transfer/frames_in
    flow_bus transfer/frames_out [flow_stream_pin Slave]
    flow_bus [flow_stream_pin Master] transfer/results_in
    flow_bus transfer/results_out dma/S_AXIS_S2MM

    create_bd_addr_seg -range 0x10000 -offset [dict get $ps registers] \
        [get_bd_addr_spaces ps/Data] [get_bd_addr_segs dma/S_AXI_LITE/Reg] dma_registers
    foreach segment [dict get $ps segments] {
        foreach {path offset range} $segment {}
        foreach space {Data_MM2S Data_S2MM} {
            create_bd_addr_seg -range $range -offset $offset [get_bd_addr_spaces dma/$space] \
                [get_bd_addr_segs $path] ${space}_[file tail $path]
        }
    }
}

proc flow_main {} {
    if {$::flow_family ni {zynq7000 zynqmp}} {
        error "there is no system for the family $::flow_family: only zynq7000 and zynqmp have a processing system"
    }
    set ip hls_work/hls/$::flow_design/solution1/impl/ip
    if {![file exists ../$ip/component.xml]} {
        error "there is no IP in $ip: run export.tcl first"
    }
    uplevel #0 [list source [file join $::flow_folder $::flow_family.tcl]]
    flow_empty_folder hls_work/system
    create_project system . -part $::flow_part
    flow_set_board
    set_property ip_repo_paths [list ../../$ip] [current_project]
    update_ip_catalog
    # a copy in the project: it must not change behind the project's back
    import_files -norecurse [file join $::flow_folder flow_transfer.v]
    update_compile_order -fileset sources_1
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
