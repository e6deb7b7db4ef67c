# SPDX-License-Identifier: Apache-2.0
"""How deep the pipelines of processes are: estimated from the reports of other generators (docs/cost_model.md)."""

from math import ceil

from flow.plan.processes import LayerProcess, Process, WindowProcess

_BASE_DEPTH = 2  # read and multiply or compare, accumulate and write: so in 830 of 871 csynth rows of folded products
_ADDER_LEVELS = 2
"""Levels of an adder tree in a cycle: in the csynth rows of dense layers that are unrolled whole (hls4ml), a layer of
2^k inputs takes k + 1 or k + 2 cycles at 3.33 ns, and k / 2 at 5 ns; docs/cost_model.md."""
_STEP_DEPTH = {
    "wire": 0,
    "shift": 1,
    "multiply_shift": 4,
    "thresholds": 1,
    "search": 0,
    "table": 2,
    "ranges": 2,
    "none": 0,
}
MOVE_DEPTH = 2  # read, write
_UNPACK_DEPTH = 1  # the borrowed bit
_BUFFER_DEPTH = 3  # read, store or load, write


def pipeline_depth(process: Process) -> int:
    """Cycles from an iteration's read to its write, assumed."""
    if not isinstance(process, LayerProcess):
        return _BUFFER_DEPTH if isinstance(process, WindowProcess) else MOVE_DEPTH
    match process.block:
        case "concatenate" | "select":
            return MOVE_DEPTH
        case "window" | "repeat" | "pixel_shuffle" | "channel_shuffle":
            return _BUFFER_DEPTH
        case _:
            pass
    levels = max(process.plan.simd - 1, 0).bit_length()
    depth = _BASE_DEPTH + ceil(levels / _ADDER_LEVELS) + _STEP_DEPTH[process.plan.form]
    if process.plan.multiplier == "packed":
        depth += _UNPACK_DEPTH
    if process.plan.form in ("search", "ranges") and process.layer.step is not None:
        depth += process.layer.step.thresholds.shape[1].bit_length()
    return depth


def pace(process: Process) -> int:
    """Cycles from frame to frame of a process that never waits: its iterations, and its pipeline running empty."""
    return process.cycles + pipeline_depth(process)
