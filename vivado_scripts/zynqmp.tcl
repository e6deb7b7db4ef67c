# SPDX-License-Identifier: Apache-2.0
# The processing system of a Zynq UltraScale+, for zynq_system.tcl (names: PG201; address map: UG1085).

# Makes the cell 'ps' with the board's preset, and says where the rest of the system connects.
proc flow_processing_system {} {
    set ps [flow_cell zynq_ultra_ps_e ps]
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $ps
    # 128 bits is what both ports have after a reset: a bitstream loaded from Linux finds it so, whatever booted
    set_property -dict [list \
        CONFIG.PSU__FPGA_PL0_ENABLE 1 \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 100 \
        CONFIG.PSU__USE__M_AXI_GP0 1 \
        CONFIG.PSU__USE__M_AXI_GP1 0 \
        CONFIG.PSU__USE__M_AXI_GP2 0 \
        CONFIG.PSU__MAXIGP0__DATA_WIDTH 128 \
        CONFIG.PSU__USE__S_AXI_GP2 1 \
        CONFIG.PSU__SAXIGP2__DATA_WIDTH 128 \
        CONFIG.PSU__USE__IRQ0 1 \
    ] $ps
    # the first 2 GiB of the memory lie at 0, the rest from 32 GiB on
    set low [expr {min($::flow_memory_bytes, 0x80000000)}]
    set segments [list [list ps/S_AXI_HP0_FPD/HP0_DDR_LOW 0x00000000 $low]]
    if {$::flow_memory_bytes > $low} {
        lappend segments [list ps/S_AXI_HP0_FPD/HP0_DDR_HIGH 0x800000000 [expr {$::flow_memory_bytes - $low}]]
    }
    return [dict create \
        clock ps/pl_clk0 \
        reset ps/pl_resetn0 \
        control ps/M_AXI_HPM0_FPD \
        memory ps/S_AXI_HP0_FPD \
        interrupt ps/pl_ps_irq0 \
        clocked {ps/maxihpm0_fpd_aclk ps/saxihp0_fpd_aclk} \
        port_bits 128 \
        address_bits 40 \
        registers 0xA0000000 \
        segments $segments \
    ]
}
