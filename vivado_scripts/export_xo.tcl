# SPDX-License-Identifier: Apache-2.0
# Packages the RTL that csynth.tcl made as a kernel for the linker of Vitis: an Alveo's counterpart of export.tcl.
#
# By hand, in the scripts/ folder of a build directory, after csynth.tcl:
#   vitis-run --mode hls --tcl export_xo.tcl
# It writes hls_work/hls/<flow_design>/solution1/impl/<flow_top>.xo.
# The exit code is 0 when it succeeded, and 1 otherwise.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] hls.tcl]

proc flow_main {} {
    if {$::flow_family ne "alveo"} {
        error "the family $::flow_family has no kernels: export.tcl makes an IP"
    }
    flow_open_project
    set kernel [file join [pwd] $::flow_design solution1 impl $::flow_top.xo]
    file delete -force $kernel
    file mkdir [file dirname $kernel]
    flow_step export_design -format xo -rtl verilog -output $kernel
    close_project
    if {![file exists $kernel]} {
        error "export_design made no impl/$::flow_top.xo"
    }
}

flow_run export_xo.tcl flow_main
