# SPDX-License-Identifier: Apache-2.0
"""When the words of one frame leave a design that is otherwise empty: a first model of latency.

Every process works at II = 1 and waits where its next word has not come. A word that leaves in an iteration
appears behind the pipeline of its process, whose depth is assumed (below), not measured.
"""

import numpy as np

from flow.ir.types import Ints
from flow.plan.design import Design, Gearbox, LayerProcess, Process

_BASE_DEPTH = 4  # read, multiply or compare, accumulate, write
_STEP_DEPTH = {
    "wire": 0,
    "shift": 1,
    "multiply_shift": 4,
    "thresholds": 1,
    "search": 0,
    "table": 2,
    "none": 0,
}
ASSUMPTION = "II = 1 everywhere; pipeline depths assumed: 4 cycles, the adder tree, the step function"


def pipeline_depth(process: Process) -> int:
    """Cycles from an iteration's read to its write, assumed."""
    if isinstance(process, Gearbox):
        return 2
    depth = _BASE_DEPTH + max(process.plan.simd - 1, 0).bit_length() + _STEP_DEPTH[process.plan.form]
    if process.plan.form == "search" and process.layer.step is not None:
        depth += process.layer.step.thresholds.shape[1].bit_length()
    return depth


def frame_latency(design: Design) -> int:
    """Cycles from the first word in to the last word out, for one frame in an empty design."""
    times = np.arange(design.processes[0].in_words, dtype=np.int64)
    for process in design.processes:
        reads, writes = _schedule(process)
        # iteration i runs at i plus the longest wait of any word read up to then
        wait = np.maximum.accumulate(times + 1 - reads)
        place = np.searchsorted(reads, writes, side="right") - 1
        times = writes + np.maximum(wait[place], 0) + pipeline_depth(process)
    return int(times[-1]) + 1


def _schedule(process: Process) -> tuple[Ints, Ints]:
    """The iterations in which words are read, and those in which words are written."""
    match process:
        case Gearbox():
            return _gearbox_schedule(process)
        case LayerProcess():
            return _layer_schedule(process)


def _layer_schedule(process: LayerProcess) -> tuple[Ints, Ints]:
    layer, plan = process.layer, process.plan
    if layer.dense is None:
        every = np.arange(process.in_words, dtype=np.int64)
        return every, every
    synapses = layer.inputs // plan.simd
    neurons = layer.outputs // plan.pe
    position = np.arange(layer.positions, dtype=np.int64)[:, None] * (synapses * neurons)
    slices = process.in_lanes // plan.simd
    reads = (position + np.arange(0, synapses, slices)).reshape(-1)
    writes = (position + np.arange(neurons) * synapses + synapses - 1).reshape(-1)
    parts = process.out_lanes // plan.pe
    return reads[: process.in_words], writes[parts - 1 :: parts]


def _gearbox_schedule(box: Gearbox) -> tuple[Ints, Ints]:
    held = 0
    reads: list[int] = []
    writes: list[int] = []
    for iteration in range(box.cycles):
        if held < box.out_lanes and len(reads) < box.in_words:
            held += box.in_lanes
            reads.append(iteration)
        if held >= box.out_lanes or iteration == box.cycles - 1:
            held -= box.out_lanes
            writes.append(iteration)
    return np.array(reads, np.int64), np.array(writes, np.int64)
