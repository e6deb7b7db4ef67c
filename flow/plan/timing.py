# SPDX-License-Identifier: Apache-2.0
"""When the words of one frame leave a design that is otherwise empty: a first model of latency.

Every process works at II = 1 and waits where its next word has not come. A word that leaves in an iteration
appears behind the pipeline of its process, whose depth is assumed (``flow.plan.pipeline``), not measured. Streams
hold what is written to them.
"""

import numpy as np

from flow.ir.types import Ints
from flow.plan.design import Design
from flow.plan.pipeline import pipeline_depth
from flow.plan.processes import Process, schedule

ASSUMPTION = "II = 1 everywhere; pipeline depths assumed: 4 cycles, the adder tree, the step function"


def frame_latency(design: Design) -> int:
    """Cycles from the first word in to the last word out, for one frame in an empty design."""
    first = np.arange(design.processes[0].in_words, dtype=np.int64)
    times: dict[tuple[int, int], Ints] = {}  # of each word of each output: when it is there
    last = first
    for place, process in enumerate(design.processes):
        arrivals = [times.pop((s.producer, s.output)) for s in design.inputs[place]] or [first]
        found = _departures(process, arrivals)
        times |= {(place, output): when for output, when in enumerate(found)}
        last = found[0]
    return int(last[-1]) + 1


def _departures(process: Process, arrivals: list[Ints]) -> list[Ints]:
    """When the words of each output are there, from when those of each input are."""
    planned = schedule(process)
    reads = np.concatenate(planned.reads)
    waits = np.concatenate(arrivals) + 1 - reads
    order = np.argsort(reads, kind="stable")
    # iteration i runs at i plus the longest wait of any word read up to then
    wait = np.maximum.accumulate(np.concatenate([[0], waits[order]]))
    behind = pipeline_depth(process)
    return [w + wait[np.searchsorted(reads[order], w, side="right")] + behind for w in planned.writes]
