# SPDX-License-Identifier: Apache-2.0
"""The event model of a design: in which cycle each word passes each stream, the streams being bounded.

Words carry no data here. A process runs through the steps of a frame in order, one a cycle; in step k it reads the
words of iteration k and writes those of iteration k - d, where d is the depth of its pipeline, so that a frame of c
iterations takes c + d steps. A step waits until all its words are there and all its places are free: HLS stalls a
pipeline as a whole. A word can be read in the cycle after that in which it was written, and a place written to in
the cycle after that in which its word was read. The next frame begins when the pipeline is empty. The input port
always has a word, and the output port always takes one.

What follows exactly from these rules:

* Whether a design comes to a stop. At the end of a frame each stream is empty and each process where it began;
  when one frame gets through, so does every other. When one does not, the processes that wait for each other in a
  circle are found. (That words pass in an order of their own, whatever the timing, is Kahn's theorem.)
* Whether frames can follow each other at an interval I. Let frame f arrive in cycle f * I. Seen from its arrival,
  no frame is earlier than the one before it: cycles are maxima of sums, and the first frame meets an empty design.
  Once every word of as many frames as lie in the deepest stream passes exactly I cycles behind that of the frame
  before, the same holds for all later ones, and the interval is proved.
* The latency of a frame: of the first one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from flow.ir.types import Ints
from flow.plan.event_engine import compiled, run_frame
from flow.plan.processes import Schedule

Edge: TypeAlias = tuple[int, int, int, int]
"""A stream: producer, number among its outputs, consumer, number among its inputs."""

_SMALL = 2000
"""Words of a frame up to which it takes less time to interpret the engine than to load it compiled."""
_FRAMES = 64
"""Frames after which an interval that is not reached yet is given up; a few suffice where it is reached."""
_ALIKE = 2
"""Frames that fall behind by the same number of cycles before an interval is given up."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A process that can not go on.

    Attributes:
        process: Which, by its place in the design.
        stream: What it waits for, by its place among the streams.
        full: Whether it waits to write; else to read.
    """

    process: int
    stream: int
    full: bool


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A design that comes to a stop.

    Attributes:
        cycle: The last in which a process of the circle does a step; -1 where none does any.
        circle: Processes of which each waits for the next one, and the last for the first.
    """

    cycle: int
    circle: tuple[Wait, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """When things happen in a frame.

    Attributes:
        number: The frame.
        written: The cycle in which each word is written, stream by stream.
        read: The cycle in which it is read.
        free: (processes,): the first cycle in which each process could begin its next frame.
    """

    number: int
    written: Ints
    read: Ints
    free: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Frames through a design, arriving at an interval.

    Attributes:
        steady: Whether they are proved to follow each other at that interval for ever.
        frames: Those that were looked at; in a steady run all later ones are like the last.
    """

    steady: bool
    frames: tuple[Frame, ...]

    @property
    def latency(self) -> int:
        """Cycles from the first word in to the last word out of the first frame."""
        return int(self.frames[0].free[-1])


class EventModel:
    """The processes of a design, and the streams between them."""

    def __init__(self, schedules: Sequence[Schedule], edges: Sequence[Edge]) -> None:
        """Takes what each process does in which step; the first reads the input port, the last writes the output.

        Args:
            schedules: In topological order; see ``piped``.
            edges: The streams.
        """
        self.steps = np.array([found.cycles for found in schedules], np.int64)
        ports: list[list[tuple[int, int, Ints]]] = [[] for _ in schedules]
        words = []
        for stream, (producer, output, consumer, number) in enumerate(edges):
            given, taken = schedules[producer].writes[output], schedules[consumer].reads[number]
            assert len(given) == len(taken), "a stream carries what is read"
            ports[producer].append((stream, 1, given))
            ports[consumer].append((stream, 0, taken))
            words.append(len(given))
        flat = [port for process in ports for port in process]
        self._first_port = _starts([len(process) for process in ports])
        self._port_stream = np.array([port[0] for port in flat], np.int64)
        self._port_writes = np.array([port[1] for port in flat], np.int64)
        self._first_step = _starts([len(port[2]) for port in flat])
        self._steps = np.concatenate([np.zeros(0, np.int64), *(port[2] for port in flat)])
        self._producer = np.array([edge[0] for edge in edges], np.int64)
        self._consumer = np.array([edge[2] for edge in edges], np.int64)
        self.words = np.array(words, np.int64)
        self._first_word = _starts(words)
        self.frames_run = 0
        self._run_frame: Callable[..., Ints] = compiled() if len(self._steps) > _SMALL else run_frame

    @property
    def slowest(self) -> int:
        """The steps of the slowest process: no interval is shorter."""
        return int(self.steps.max())

    def latency(self, depths: Sequence[int]) -> int | Deadlock:
        """Cycles from the first word in to the last word out of one frame, with streams of these depths."""
        found = _State(self, depths).next_frame(0)
        return found if isinstance(found, Deadlock) else int(found.free[-1])

    def deadlock(self, depths: Sequence[int]) -> Deadlock | None:
        """What brings the design to a stop with streams of these depths, in words; None where nothing does."""
        found = _State(self, depths).next_frame(0)
        return found if isinstance(found, Deadlock) else None

    def run(self, depths: Sequence[int], interval: int) -> Run | Deadlock:
        """Frames that arrive each ``interval`` cycles, with streams of these depths, in words."""
        words = np.maximum(self.words, 1)
        return self._follow(_State(self, depths), interval, int(np.max(-(-np.array(depths) // words), initial=1)))

    def still_steady(self, depths: Sequence[int], interval: int, before: Frame) -> Frame | None:
        """Whether the pace is kept with shallower streams, found from where it is known to be kept.

        With fewer places everything is as early as before, or later. So the frames of the steady run with fewer
        places can be sought from those of the one with more, and are found in fewer frames; a frame that repeats
        the one before is the proof, as all words before it are supposed to have passed at the interval.

        Args:
            depths: Of the streams, in words.
            interval: In cycles.
            before: The last frame of a steady run at this interval with streams that are no shallower.

        Returns:
            The last frame; None where the pace was not proved to be kept.
        """
        found = self._follow(_State(self, depths, before, interval), interval, 1)
        return found.frames[-1] if isinstance(found, Run) and found.steady else None

    def interval(self, depths: Sequence[int]) -> int | Deadlock:
        """The least whole number of cycles at which frames are proved to follow each other for ever."""
        low = self.slowest
        found = self.run(depths, low)
        if isinstance(found, Deadlock):
            return found
        if found.steady:
            return low
        high = int(found.frames[0].free.max())  # a frame is through before the next one comes
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.run(depths, middle)
            assert isinstance(tried, Run)
            low, high = (low, middle) if tried.steady else (middle, high)
        return high

    def occupancy(self, run: Run) -> list[int]:
        """For each stream the most words that it ever holds in a run."""
        found = []
        for first, end in zip(self._first_word, self._first_word[1:], strict=False):
            written = np.concatenate([frame.written[first:end] for frame in run.frames])
            read = np.concatenate([frame.read[first:end] for frame in run.frames])
            # a word leaves its place in the cycle behind that in which it is read
            waiting = np.arange(1, len(written) + 1) - np.searchsorted(read, written, side="left")
            found.append(int(waiting.max()))
        return found

    def _follow(self, state: "_State", interval: int, lasting: int) -> Run | Deadlock:
        """Frame after frame, until so many have repeated the one before, or it is given up."""
        frames: list[Frame] = []
        steady = alike = behind = 0
        before = state.last
        while steady < lasting and alike < _ALIKE and len(frames) < _FRAMES + lasting:
            found = state.next_frame(interval)
            if isinstance(found, Deadlock):
                return found
            if before is not None:
                late = max(int((x - y).max(initial=interval)) for x, y in _pairs(found, before)) - interval
                same = all(bool((x - y == interval).all()) for x, y in _pairs(found, before))
                steady = steady + 1 if same else 0
                alike = alike + 1 if late == behind > 0 else 0
                behind = late
            frames.append(found)
            before = found
        return Run(steady == lasting, tuple(frames))


def _pairs(later: Frame, earlier: Frame) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """What of a frame decides about the next one."""
    return (later.free, earlier.free), (later.read, earlier.read)


def piped(found: Schedule, pipeline: int) -> Schedule:
    """The steps of a process whose results leave so many cycles after the reads of their iteration."""
    return Schedule(found.reads, tuple(places + pipeline for places in found.writes), found.cycles + pipeline)


def _starts(sizes: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)


class _State:
    """A design between two frames."""

    def __init__(self, model: EventModel, depths: Sequence[int], last: Frame | None = None, interval: int = 0) -> None:
        """Before the first frame; or behind ``last``, all words before it having passed at that interval."""
        self.model = model
        self.last = last
        self.depth = np.array(depths, np.int64)
        assert (self.depth > 0).all()
        self.first_place = _starts(depths)[:-1]
        self.freed = np.full(int(self.depth.sum()), -1, np.int64)
        self.slot_written, self.slot_read = np.zeros(len(self.depth), np.int64), np.zeros(len(self.depth), np.int64)
        if last is None:
            return
        for place, first, depth, words in zip(
            self.first_place, model._first_word, self.depth, model.words, strict=False
        ):
            back = np.arange(depth)[::-1]  # how many words the one in a place lies before the last
            read = last.read[first : first + words]
            self.freed[place : place + depth] = read[words - 1 - back % words] - back // words * interval

    def next_frame(self, interval: int) -> Frame | Deadlock:
        """Runs the next frame; each arrives so many cycles after the one before it."""
        model = self.model
        number = self.last.number + 1 if self.last is not None else 0
        lag = self.last.free.copy() if self.last is not None else np.zeros(len(model.steps), np.int64)
        lag[0] = max(lag[0], number * interval)
        model.frames_run += 1
        written, read = (np.full(int(model.words.sum()), -1, np.int64) for _ in range(2))
        blocked = model._run_frame(
            model._first_port,
            model._port_stream,
            model._port_writes,
            model._first_step,
            model._steps,
            model._producer,
            model._consumer,
            self.depth,
            model._first_word[:-1],
            self.first_place,
            lag,
            self.freed,
            self.slot_written,
            self.slot_read,
            written,
            read,
        )
        self.last = Frame(number, written, read, lag + model.steps)
        return self._circle(blocked) if (blocked >= 0).any() else self.last

    def _circle(self, blocked: Ints) -> Deadlock:
        """Processes that wait for each other, found by going from one to that which it waits for."""
        model, frame = self.model, self.last
        assert frame is not None
        process = int(np.flatnonzero(blocked >= 0)[0])
        waits: dict[int, Wait] = {}
        while process not in waits:
            port = int(blocked[process])
            stream, full = int(model._port_stream[port]), bool(model._port_writes[port])
            waits[process] = Wait(process, stream, full)
            process = int((model._consumer if full else model._producer)[stream])
        order = list(waits)
        circle = tuple(waits[p] for p in order[order.index(process) :])
        cycle = -1
        for wait in circle:
            for port in range(model._first_port[wait.process], model._first_port[wait.process + 1]):
                first, end = model._first_word[model._port_stream[port] :][:2]
                times = frame.written if model._port_writes[port] else frame.read
                cycle = max(cycle, int(times[first:end].max()))
        return Deadlock(cycle, circle)
