# SPDX-License-Identifier: Apache-2.0
# A test design for a board without a processor, for system_design.tcl: frames come and go over JTAG, one at a time.
# jtag_test.tcl drives it. It shows that the accelerator is right on the device; it says nothing about its speed.
#
#   jtag.M_AXI -> fifo.S_AXI                        registers, from Vivado (PG174)
#   fifo.AXI_STR_TXD -> accelerator -> fifo.AXI_STR_RXD
#                                                   streams of 32 bits; a packet is a frame (PG080)
#   sys_clock -> clock -> everything
set ::fifo_address 0x44A00000

proc flow_prepare_project {} {
    if {![string match digilentinc.com:arty-a7-* $::flow_board_part]} {
        error "the pins of clock and reset are known for Arty A7 only, not for '$::flow_board_part':\
            export.tcl makes an IP for a design of your own"
    }
    import_files -fileset constrs_1 -norecurse [file join $::flow_folder arty_a7.xdc]
}

# The FIFO holds a whole packet before it passes it on, and keeps four words for itself (PG080: TDFV after a reset).
proc flow_fifo_depth {words} {
    set depth 512
    while {$depth < $words + 4} {
        set depth [expr {2 * $depth}]
    }
    if {$depth > 131072} {
        error "a frame of $words words does not fit the AXI4-Stream FIFO, which has 131072 at most"
    }
    return $depth
}

proc flow_create_system {} {
    foreach bits [list $::flow_axis_in_bits $::flow_axis_out_bits] {
        if {$bits != 32} {
            error "a stream of $bits bits does not fit the AXI4-Stream FIFO, which has 32: see stream.axis_bits"
        }
    }
    create_bd_port -dir I -type clk -freq_hz 100000000 sys_clock
    create_bd_port -dir I -type rst resetn
    set_property CONFIG.POLARITY ACTIVE_LOW [get_bd_ports resetn]
    flow_create_clock Single_ended_clock_capable_pin sys_clock resetn

    # AXI4-Lite: a word at a time, so that no order of words in a burst has to be known
    set jtag [flow_cell jtag_axi jtag]
    set_property CONFIG.PROTOCOL 2 $jtag
    set fifo [flow_cell axi_fifo_mm_s fifo]
    set_property -dict [list \
        CONFIG.C_DATA_INTERFACE_TYPE 0 \
        CONFIG.C_USE_TX_CTRL 0 \
        CONFIG.C_HAS_AXIS_TKEEP true \
        CONFIG.C_TX_FIFO_DEPTH [flow_fifo_depth $::flow_frame_words] \
        CONFIG.C_RX_FIFO_DEPTH [flow_fifo_depth $::flow_result_words] \
    ] $fifo
    create_bd_cell -type ip -vlnv [flow_ip xilinx.com:hls:$::flow_top:*] accelerator

    flow_net clock/clk_out1 jtag/aclk fifo/s_axi_aclk accelerator/ap_clk
    flow_net reset/peripheral_aresetn jtag/aresetn fifo/s_axi_aresetn accelerator/ap_rst_n
    flow_bus jtag/M_AXI fifo/S_AXI
    flow_bus fifo/AXI_STR_TXD [flow_stream_pin Slave]
    flow_bus [flow_stream_pin Master] fifo/AXI_STR_RXD
    create_bd_addr_seg -range 0x10000 -offset $::fifo_address \
        [get_bd_addr_spaces jtag/Data] [get_bd_addr_segs fifo/S_AXI/Mem0] fifo_registers
}
