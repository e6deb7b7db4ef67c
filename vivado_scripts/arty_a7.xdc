# SPDX-License-Identifier: Apache-2.0
# Clock and reset of the Arty A7 (35T and 100T: Digilent's Arty-A7-*-Master.xdc), for artix7.tcl.
# The clocking wizard brings the constraint of the clock itself.
set_property -dict {PACKAGE_PIN E3 IOSTANDARD LVCMOS33} [get_ports sys_clock]
set_property -dict {PACKAGE_PIN C2 IOSTANDARD LVCMOS33} [get_ports resetn]
set_false_path -from [get_ports resetn]
set_property CFGBVS VCCO [current_design]
set_property CONFIG_VOLTAGE 3.3 [current_design]
