# SPDX-License-Identifier: Apache-2.0
# The system of a Zynq, for system_design.tcl: processing system, AXI DMA in both directions, the accelerator.
#
#   ps.control -> control -> dma.S_AXI_LITE                     registers
#   dma.M_AXI_MM2S, dma.M_AXI_S2MM -> data -> ps.memory         frames
#   dma.M_AXIS_MM2S -> transfer -> accelerator -> transfer -> dma.S_AXIS_S2MM
#                                                               streams; transfer (flow_transfer.v) ends them
#   dma interrupts -> interrupts -> ps.interrupt                0: frames sent, 1: results received
#   ps.clock -> clock -> everything

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

proc flow_prepare_project {} {
    flow_set_board
    # a copy in the project: it must not change behind the project's back
    import_files -norecurse [file join $::flow_folder flow_transfer.v]
    update_compile_order -fileset sources_1
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
    flow_create_clock No_buffer [dict get $ps clock] [dict get $ps reset]
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
