# SPDX-License-Identifier: Apache-2.0
# Packages the RTL that csynth.tcl made as an IP with two AXI-Stream ports, for the catalogue of a Vivado project.
#
# By hand, in the scripts/ folder of a build directory, after csynth.tcl:
#   vitis-run --mode hls --tcl export.tcl
# It writes hls_work/hls/<flow_design>/solution1/impl/ip/component.xml and what belongs to it.
# The exit code is 0 when it succeeded, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] hls.tcl]

proc flow_main {} {
    flow_open_project
    file delete -force $::flow_design/solution1/impl/ip
    flow_step export_design -format ip_catalog -rtl verilog
    close_project
    if {![file exists $::flow_design/solution1/impl/ip/component.xml]} {
        error "export_design made no impl/ip/component.xml"
    }
}

flow_run export.tcl flow_main
