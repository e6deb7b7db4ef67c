# SPDX-License-Identifier: Apache-2.0
"""What the latency of a design cannot fall below, as a sum over its layers: ``flow.plan.timing`` for the solver.

Of every process only three times count, in cycles: from its first word to the first that it writes, from its first
to its last, and from its last word to its last. In between it may wait longer than this for a word.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from flow.ir.types import Bipolar, Ints
from flow.plan.choices import Node
from flow.plan.layers import Layer
from flow.plan.pipeline import pipeline_depth
from flow.plan.plan import LayerPlan
from flow.plan.processes import (
    LayerProcess,
    Process,
    Schedule,
    WindowProcess,
    gearbox,
    lanes_in,
    schedule,
    window_unit,
)


@dataclass(frozen=True, slots=True)
class Delays:
    """Times of a node, for each of its choices.

    Attributes:
        fill: (choices,): from the first word in to the first out.
        whole: (choices,): from the first word in to the last out.
        drain: (choices,): from the last word in to the last out.
    """

    fill: Ints
    whole: Ints
    drain: Ints


def port_delays(values: int, given: Ints, taken: Ints) -> Delays:
    """Of the gearbox at a port, for each pair of widths."""
    rows = []
    for a, b in zip(given.tolist(), taken.tolist(), strict=True):
        box = gearbox("between", None, Bipolar(), values, a, b)
        rows.append(_of(schedule(box), 0, pipeline_depth(box)))
    return Delays(*np.array(rows, np.int64).T)


@cache
def hop() -> int:
    """What a fork or a gearbox between two layers adds at least."""
    return 1 + pipeline_depth(gearbox("between", None, Bipolar(), 1, 1, 1))


def node_delays(node: Node, places: Ints, number: int) -> Delays | None:
    """Of a layer, from one of its operands; None where what it writes first or last does not wait for that operand.

    Args:
        node: The layer.
        places: The choices that are of interest.
        number: Which operand.
    """
    assert node.layer is not None
    known: dict[tuple[int, int], tuple[int, int, int] | None] = {}
    rows = []
    for place in places.tolist():
        plan = node.plans[place]
        key = (plan.pe, plan.simd)
        if key not in known:
            known[key] = _layer(node.layer, plan, number)
        found = known[key]
        if found is None:
            return None
        rows.append(np.array(found) + node.depths[place])
    return Delays(*np.array(rows, np.int64).T)


def _layer(layer: Layer, plan: LayerPlan, number: int) -> tuple[int, int, int] | None:
    """Without the pipeline of the layer itself."""
    core = LayerProcess(layer, plan, None, None, lanes_in(layer, plan), plan.pe)
    found = _of(schedule(core), number, 0)
    unit = window_unit(layer, plan)
    if found is None or unit is None or core.block == "window":
        return found
    process: Process = WindowProcess(layer, unit)
    first = _of(schedule(process), 0, pipeline_depth(process))
    assert first is not None
    return first[0] + found[0], max(first[1] + found[2], first[0] + found[1]), first[2] + found[2]


def _of(times: Schedule, number: int, behind: int) -> tuple[int, int, int] | None:
    reads, writes = times.reads[number], times.writes[0]
    before = reads[reads <= writes[-1]]
    if reads[0] > writes[0]:
        return None
    fill, whole, drain = writes[0] - reads[0], writes[-1] - reads[0], writes[-1] - before[-1]
    return int(fill) + behind + 1, int(whole) + behind + 1, int(drain) + behind + 1
