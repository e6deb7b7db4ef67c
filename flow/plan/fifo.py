# SPDX-License-Identifier: Apache-2.0
"""Depths of streams with which every design keeps the pace of its slowest process: an upper bound, by a timetable.

Every process does a fixed sequence of steps, each with its reads and writes (``flow.plan.events``). Give each of
them a rigid timetable: step k of frame f, of c steps, at ``start + f * I + floor(k * span / c)``, where I is the
interval of the slowest process, ``span`` lies between c and I, and ``start`` is the least number with which every
word is there a cycle before it is read. (As span any number would do; what arrives within a short time is best
handled in as short a time, and the rest over the whole interval.) The timetable repeats itself every I cycles, so
that the words that wait in each stream can be counted; let each stream be as deep as the most that ever wait.

With these depths the timetable is an execution of the bounded network: no read finds a stream empty and no write
finds one full. Whether a network of such processes can end in a deadlock, and how fast it runs, does not depend on
the order in which they are run (they are Kahn processes, and a bounded stream is a pair of unbounded ones, of
words and of free places); each event of the self-timed execution comes no later than in any other execution. So
the design does not deadlock, and takes no longer than I cycles a frame.

How deep the pipelines are is assumed, not known. So the timetable is laid out for pipelines of no depth (as in
C-simulation), as deep as assumed, and four times as deep, and each stream gets the greatest of its three depths.
"""

from collections.abc import Sequence

import numpy as np

from flow.ir.types import Ints
from flow.plan.events import Edge, piped
from flow.plan.layers import Layer
from flow.plan.processes import LayerProcess, Process, Schedule, WindowProcess
from flow.plan.window_fifo import values_behind, values_for_others, values_in_front

LEAST_DEPTH = 2
"""Words of the shallowest stream: a place to write to while the other is read."""
PIPELINES = (0, 1, 4)
"""How many times as deep as assumed pipelines may be without a design coming to a stop."""


def depths(schedules: Sequence[Schedule], edges: Sequence[Edge], pipelines: Sequence[int]) -> list[int]:
    """The depth of each stream, in words.

    Args:
        schedules: What each process does, in topological order.
        edges: The streams between them.
        pipelines: The depth of the pipeline of each process, in cycles.
    """
    found = []
    for times in PIPELINES:
        steps = [piped(s, times * pipeline) for s, pipeline in zip(schedules, pipelines, strict=True)]
        found.append(occupancies(steps, edges))
    return [max(LEAST_DEPTH, *each) for each in zip(*found, strict=True)]


def planned_depths(processes: Sequence[Process], edges: Sequence[Edge], layers: Sequence[Layer]) -> list[int]:
    """The depths that the search for a folding reckons with. What the finished design needs (``flow.plan.timing``)
    differs.

    Two words decouple two processes that work evenly. A stream at a window unit, which does not, and one whose words
    wait for another operand hold what follows from the network (``flow.plan.window_fifo``).
    """
    for_others = values_for_others(layers)
    found = []
    for producer, _, consumer, number in edges:
        before, behind = processes[producer], processes[consumer]
        values = 0
        if isinstance(behind, WindowProcess):
            values = values_in_front(behind.layer)
        elif isinstance(behind, LayerProcess):
            values = for_others.get((behind.layer.name, number), 0)
            if isinstance(before, WindowProcess):
                values = values_behind(behind.layer, behind.plan.pe)
        found.append(max(LEAST_DEPTH, -(-values // before.out_lanes)))
    return found


def occupancies(schedules: Sequence[Schedule], edges: Sequence[Edge]) -> list[int]:
    """The most words that wait in each stream under the timetable."""
    interval = max(found.cycles for found in schedules)
    written: dict[tuple[int, int], Ints] = {}  # when each word of each output is there, in the first frame
    read: dict[tuple[int, int], Ints] = {}
    for process, found in enumerate(schedules):
        arrivals = {number: written[source, output] for source, output, to, number in edges if to == process}
        width = max((int(when[-1] - when[0]) + 1 for when in arrivals.values()), default=interval)
        span = min(max(width, found.cycles), interval)
        waits = [when + 1 - found.reads[number] * span // found.cycles for number, when in arrivals.items()]
        start = max((int(wait.max()) for wait in waits), default=0)
        for number in arrivals:
            read[process, number] = start + found.reads[number] * span // found.cycles
        for output, places in enumerate(found.writes):
            written[process, output] = start + places * span // found.cycles
    return [_most_waiting(written[edge[:2]], read[edge[2:]], interval) for edge in edges]


def _most_waiting(written: Ints, read: Ints, interval: int) -> int:
    """The most words in a stream in which each frame repeats what the one before does an interval later.

    Args:
        written: (words,): when each word of the first frame is written.
        read: (words,): when it is read; it leaves its place a cycle later.
        interval: Cycles from frame to frame.
    """
    words = len(written)
    # Look at a frame before which so many others have passed that all that are still in the stream are counted.
    frames = int(read.max() - written.min()) // interval + 1
    total = frames * words + np.arange(words) + 1  # written when word w of that frame is there
    gone = np.zeros(words, np.int64)
    for frame in range(frames + 1):
        gone += np.searchsorted(read + (frame - frames) * interval, written, side="left")
    return int((total - gone).max())
