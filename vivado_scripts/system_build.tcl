# SPDX-License-Identifier: Apache-2.0
# Synthesis, implementation and bitstream of the project that system_design.tcl made.
#
# By hand, in the scripts/ folder of a build directory, after system_design.tcl:
#   vivado -mode batch -source system_build.tcl
# It reads hls_work/system/, writes to hls_work/bitstream/, and empties that folder first:
#   <flow_design>.bit, <flow_design>.hwh    what is loaded, and its description
#   system_utilization.rpt, system_hierarchy.rpt, system_timing.rpt, system_power.rpt
# FLOW_JOBS in the environment says how many runs may go side by side (1).
# The exit code is 0 when the bitstream is written, and 1 otherwise. A design that does not meet its clock gets
# reports, but no bitstream.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] reports.tcl]

proc flow_wait {run} {
    wait_on_run $run
    if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
        error "$run failed: [get_property STATUS [get_runs $run]]; see hls_work/system/system.runs/$run/runme.log"
    }
}

proc flow_main {} {
    if {![file exists ../hls_work/system/system.xpr]} {
        error "there is no hls_work/system/system.xpr: run system_design.tcl first"
    }
    flow_empty_folder hls_work/bitstream
    open_project ../system/system.xpr
    reset_run synth_1
    flow_step launch_runs synth_1 -jobs [flow_jobs]
    flow_wait synth_1
    flow_step launch_runs impl_1 -to_step route_design -jobs [flow_jobs]
    flow_wait impl_1
    open_run impl_1
    flow_reports system
    flow_check_timing
    close_design
    flow_step launch_runs impl_1 -to_step write_bitstream -jobs [flow_jobs]
    flow_wait impl_1
    # .gen since 2020.2, .srcs before
    set description [glob -nocomplain ../system/system.{gen,srcs}/sources_1/bd/system/hw_handoff/system.hwh]
    if {[llength $description] != 1} {
        error "the project has [llength $description] files system.hwh, not 1: $description"
    }
    file copy $description $::flow_design.hwh
    file copy ../system/system.runs/impl_1/system_wrapper.bit $::flow_design.bit
    close_project
}

flow_run system_build.tcl flow_main
