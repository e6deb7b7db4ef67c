# SPDX-License-Identifier: Apache-2.0
"""What the latency of a design cannot fall below, as a sum over its layers: ``flow.plan.timing`` for the solver.

Of every process only three times count, in cycles: from its first word to the first that it writes, from its first
to its last, and from its last word to its last. In between it may wait longer than this for a word.
"""

from collections.abc import Sequence
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
        fill: (choices,): from the first word in to the first out; None where that does not wait for it.
        whole: (choices,): from the first word in to the last out.
        drain: (choices,): from the last word in to the last out; None where the last one out does not wait for it.
    """

    fill: Ints | None
    whole: Ints
    drain: Ints | None


@dataclass(frozen=True, slots=True)
class _Times:
    """The same of one process, or of one behind the other."""

    fill: int | None
    whole: int
    drain: int | None

    def then(self, behind: "_Times") -> "_Times":
        """Of two processes, one behind the other, both with one operand."""
        assert self.fill is not None
        assert behind.fill is not None
        whole = self.fill + behind.whole
        if behind.drain is None:
            return _Times(self.fill + behind.fill, whole, None)
        drain = self.drain + behind.drain if self.drain is not None else None
        return _Times(self.fill + behind.fill, max(whole, self.whole + behind.drain), drain)


def iterations(node: Node) -> Ints:
    """(choices,): the cycles that a frame takes at least from end to end: of a product, which writes in its last."""
    if node.layer is None or node.layer.product is None:
        return np.zeros(len(node.given), np.int64)
    return np.array([node.layer.macs // (plan.pe * plan.simd) for plan in node.plans], np.int64)


def port_delays(values: int, given: Ints, taken: Ints) -> Delays:
    """Of the gearbox at a port, for each pair of widths."""
    times = []
    for a, b in zip(given.tolist(), taken.tolist(), strict=True):
        box = gearbox("between", None, Bipolar(), values, a, b)
        times.append(_of(schedule(box), 0, pipeline_depth(box)))
    return _stacked(times, np.zeros(len(times), np.int64))


@cache
def hop() -> int:
    """What a fork or a gearbox between two layers adds at least."""
    return 1 + pipeline_depth(gearbox("between", None, Bipolar(), 1, 1, 1))


def node_delays(node: Node, places: Ints, number: int) -> Delays | None:
    """Of a layer, from one of its operands; None where nothing that it writes waits for that operand.

    Args:
        node: The layer.
        places: The choices that are of interest.
        number: Which operand.
    """
    assert node.layer is not None
    known: dict[tuple[int, int], _Times | None] = {}
    times = []
    for place in places.tolist():
        plan = node.plans[place]
        lanes = (plan.pe, plan.simd)
        if lanes not in known:
            known[lanes] = _layer(node.layer, plan, number)
        found = known[lanes]
        if found is None:
            return None
        times.append(found)
    return _stacked(times, node.depths[places])


def _stacked(times: Sequence[_Times | None], depths: Ints) -> Delays:
    found = [each for each in times if each is not None]
    fills = [each.fill for each in found if each.fill is not None]
    drains = [each.drain for each in found if each.drain is not None]
    return Delays(
        np.array(fills, np.int64) + depths if len(fills) == len(found) else None,
        np.array([each.whole for each in found], np.int64) + depths,
        np.array(drains, np.int64) + depths if len(drains) == len(found) else None,
    )


def _layer(layer: Layer, plan: LayerPlan, number: int) -> _Times | None:
    """Without the pipeline of the layer itself."""
    core = LayerProcess(layer, plan, None, None, lanes_in(layer, plan), plan.pe)
    found = _of(schedule(core), number, 0)
    unit = window_unit(layer, plan)
    if found is None or unit is None or core.block == "window":
        return found
    window = WindowProcess(layer, unit)
    first = _of(schedule(window), 0, pipeline_depth(window))
    assert first is not None
    return first.then(found)


def _of(times: Schedule, number: int, behind: int) -> _Times | None:
    reads, writes = times.reads[number], times.writes[0]
    if reads[0] > writes[-1]:
        return None
    fill, whole, drain = (
        int(n) + 1 + behind for n in (writes[0] - reads[0], writes[-1] - reads[0], writes[-1] - reads[-1])
    )
    return _Times(fill if reads[0] <= writes[0] else None, whole, drain if reads[-1] <= writes[-1] else None)
