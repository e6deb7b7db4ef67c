# SPDX-License-Identifier: Apache-2.0
# The processing system of a Zynq-7000, for zynq_system.tcl (names: PG082; address map: UG585).

# Makes the cell 'ps' with the board's preset, and says where the rest of the system connects.
proc flow_processing_system {} {
    set ps [flow_cell processing_system7 ps]
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config {
        make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"
    } $ps
    # 64 bits is what the port has after a reset: a bitstream loaded from Linux finds it so, whatever booted
    set_property -dict [list \
        CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ 100 \
        CONFIG.PCW_USE_M_AXI_GP0 1 \
        CONFIG.PCW_USE_S_AXI_HP0 1 \
        CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 64 \
        CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
        CONFIG.PCW_IRQ_F2P_INTR 1 \
    ] $ps
    return [dict create \
        clock ps/FCLK_CLK0 \
        reset ps/FCLK_RESET0_N \
        control ps/M_AXI_GP0 \
        memory ps/S_AXI_HP0 \
        interrupt ps/IRQ_F2P \
        clocked {ps/M_AXI_GP0_ACLK ps/S_AXI_HP0_ACLK} \
        port_bits 64 \
        address_bits 32 \
        registers 0x40400000 \
        segments [list [list ps/S_AXI_HP0/HP0_DDR_LOWOCM 0x00000000 $::flow_memory_bytes]] \
    ]
}
