# SPDX-License-Identifier: Apache-2.0
"""How deep the pipelines of processes are: assumed, not measured."""

from flow.plan.processes import LayerProcess, Process, WindowProcess

_BASE_DEPTH = 4  # read, multiply or compare, accumulate, write
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
    depth = _BASE_DEPTH + max(process.plan.simd - 1, 0).bit_length() + _STEP_DEPTH[process.plan.form]
    if process.plan.multiplier == "packed":
        depth += _UNPACK_DEPTH
    if process.plan.form in ("search", "ranges") and process.layer.step is not None:
        depth += process.layer.step.thresholds.shape[1].bit_length()
    return depth


def pace(process: Process) -> int:
    """Cycles from frame to frame of a process that never waits: its iterations, and its pipeline running empty."""
    return process.cycles + pipeline_depth(process)
