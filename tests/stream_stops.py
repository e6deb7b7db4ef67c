# SPDX-License-Identifier: Apache-2.0
"""Where C-simulation with bounded streams stops, held against the event model.

C-simulation knows no time, and its processes read before they write: the model gets their order.
"""

from bisect import bisect_left

import numpy as np
import pytest

from flow.errors import ExactnessError
from flow.plan.events import EventModel
from flow.plan.processes import Schedule, schedule


def program_model(design):
    """The event model of a design whose processes keep the order of their C++."""
    edges = [(s.producer, s.output, s.consumer, s.input) for s in design.streams]
    return EventModel([_program_order(schedule(process)) for process in design.processes], edges)


def _program_order(found):
    """In each iteration the reads, then the writes, one at a time."""
    ends = len(found.reads) + len(found.writes)
    reads = [ends * when + number for number, when in enumerate(found.reads)]
    writes = [ends * when + len(reads) + number for number, when in enumerate(found.writes)]
    return Schedule(tuple(reads), tuple(writes), ends * found.cycles)


def stops_as_modelled(model, planned, streams, place, run, expected):
    """One stream at the least depth with which the model runs gives what it should; with one less it stops.

    Args:
        model: Of the design, in the order of its C++.
        planned: The depth of each stream.
        streams: Their names.
        place: Which one.
        run: C-simulates with depths.
        expected: What it gives.

    Returns:
        Whether there is a depth with which it stops.
    """

    def with_depth(depth):
        return [*planned[:place], depth, *planned[place + 1 :]]

    depths = range(1, planned[place] + 1)
    least = depths[bisect_left(depths, True, key=lambda depth: not model.deadlock(with_depth(depth)))]
    assert np.array_equal(run(with_depth(least)), expected)
    if least == 1:
        return False
    stop = model.deadlock(with_depth(least - 1))
    with pytest.raises(ExactnessError) as caught:
        run(with_depth(least - 1))
    full, empty = caught.value.message.split("empty are")
    for wait in stop.circle:
        assert f"'{streams[wait.stream]}'" in (full if wait.full else empty)
    assert any(wait.full and wait.stream == place for wait in stop.circle)
    return True
