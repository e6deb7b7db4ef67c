# SPDX-License-Identifier: Apache-2.0
"""Streams as deep as they must be, and what the event model says of the design that has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flow.errors import PlanFileError
from flow.plan import fifo
from flow.plan.design import Design
from flow.plan.events import Deadlock, EventModel, Frame, piped
from flow.plan.fifo import PIPELINES
from flow.plan.fifo_search import cheapest, worthwhile
from flow.plan.pipeline import pipeline_depth
from flow.plan.processes import schedule

MODEL = "flow event model"
ASSUMPTION = (
    "II = 1; pipeline depths assumed: 2 cycles, the adder tree, the step function; "
    "each pipeline runs empty between frames"
)
_WORK = 200_000_000
"""Words that may pass the model while cheaper depths are looked for: about ten seconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What the event model says of a design.

    Attributes:
        interval: The least number of cycles at which frames are proved to follow each other for ever.
        latency: Cycles from the first word in to the last word out, in an empty design.
        occupancy: The most words in each stream, frames arriving at the interval.
        minimal: For each stream whether no cheaper one would keep the interval, the others as they are; None
            where its depth was given.
        notes: What the user should know, a sentence each.
    """

    interval: int
    latency: int
    occupancy: tuple[int, ...]
    minimal: tuple[bool | None, ...]
    notes: tuple[str, ...]


def timed(
    design: Design,
    processes: Sequence[str],
    streams: Sequence[str],
    given: Mapping[str, int] | None = None,
    latency: int | None = None,
) -> tuple[Design, Timing]:
    """The design with the cheapest depths that keep its pace, and its timing.

    Args:
        design: With any depths.
        processes: What its processes are called.
        streams: What its streams are called.
        given: Depths that the user wants, by the names of the streams.
        latency: Cycles from end to end that shallower streams must keep, too; None for any.

    Raises:
        PlanFileError: There is no such stream, or the design would come to a stop.
    """
    wanted = dict(given or {})
    unknown = [name for name in wanted if name not in streams]
    if unknown:
        raise PlanFileError(
            f"the plan gives depths for streams that there are not: {', '.join(unknown)}",
            f"streams of this design: {', '.join(streams)}",
        )
    known = _Known(design)
    sufficient = known.depths()
    models = [known.model(times) for times in PIPELINES]  # of no depth, as deep as assumed, and deeper
    model = models[PIPELINES.index(1)]
    widths = [stream.bits for stream in design.streams]
    options = [
        [wanted[name]] if name in wanted else worthwhile(depth, width)
        for name, depth, width in zip(streams, sufficient, widths, strict=True)
    ]
    depths = [each[0] for each in options]
    notes = _check_given(models, depths, processes, streams, wanted)
    interval = model.interval(depths)
    assert isinstance(interval, int), "checked above"
    if interval > model.slowest:
        notes.append(
            f"the depths given in the plan ({_listed(wanted)}) slow the design: "
            f"a frame every {interval:,} cycles, where deeper streams would allow {model.slowest:,}"
        )
    judge = _Judge(models, depths, interval, latency)
    depths, settled = cheapest(options, widths, judge.holds, judge.going_on)
    run = model.run(depths, interval)
    assert not isinstance(run, Deadlock)
    assert run.steady, "each step of the search was proved"
    minimal = tuple(None if name in wanted else sure for name, sure in zip(streams, settled, strict=True))
    timing = Timing(interval, run.latency, tuple(model.occupancy(run)), minimal, tuple(notes))
    sized = tuple(replace(s, depth=depth) for s, depth in zip(design.streams, depths, strict=True))
    return replace(design, streams=sized), timing


def frame_latency(design: Design) -> int:
    """Cycles from the first word in to the last word out of a frame in an empty design, with streams that suffice."""
    known = _Known(design)
    found = known.model(1).latency(known.depths())
    assert isinstance(found, int), "the depths of the timetable suffice"
    return found


def described(deadlock: Deadlock, processes: Sequence[str], streams: Sequence[str], depths: Sequence[int]) -> str:
    """A stop in words: who waits for what in which stream."""
    waits = []
    for wait in deadlock.circle:
        state = f"full ('{streams[wait.stream]}', {_words(depths[wait.stream])})" if wait.full else None
        waits.append(f"'{processes[wait.process]}' finds {state or f'''empty ('{streams[wait.stream]}')'''}")
    when = f"in cycle {deadlock.cycle:,} of a frame" if deadlock.cycle >= 0 else "at once"
    return f"it stops {when}, in a circle: {', '.join(waits)}"


class _Judge:
    """Decides about depths that grow smaller; remembers the last frame of the last ones that held."""

    def __init__(self, models: Sequence[EventModel], depths: Sequence[int], interval: int, latency: int | None) -> None:
        self.interval, self.latency = interval, latency
        self.model = models[PIPELINES.index(1)]
        self.others = [m for m in models if m is not self.model and m.deadlock(depths) is None]
        run = self.model.run(depths, interval)
        assert not isinstance(run, Deadlock)
        self.frame: Frame = run.frames[-1]

    def holds(self, depths: Sequence[int]) -> bool:
        """Whether the pace is kept, and the design runs through with pipelines of other depths."""
        found = self.model.still_steady(depths, self.interval, self.frame)
        if found is None or any(other.deadlock(depths) is not None for other in self.others):
            return False
        if self.latency is not None:
            latency = self.model.latency(depths)
            assert isinstance(latency, int), "it keeps the pace"
            if latency > self.latency:
                return False
        self.frame = found
        return True

    def going_on(self) -> bool:
        return sum(m.frames_run for m in (self.model, *self.others)) * int(self.model.words.sum()) < _WORK


def depths_of(design: Design) -> list[int]:
    """Depths that suffice for every pace: those of the timetable."""
    return _Known(design).depths()


def event_model(design: Design, times: int = 1) -> EventModel:
    """A design with pipelines so many times as deep as assumed."""
    return _Known(design).model(times)


class _Known:
    """What the processes of a design do, worked out once: as much as a large frame has words."""

    def __init__(self, design: Design) -> None:
        self.schedules = [schedule(process) for process in design.processes]
        self.pipelines = [pipeline_depth(process) for process in design.processes]
        self.edges = [(s.producer, s.output, s.consumer, s.input) for s in design.streams]

    def depths(self) -> list[int]:
        return fifo.depths(self.schedules, self.edges, self.pipelines)

    def model(self, times: int) -> EventModel:
        """The design with pipelines so many times as deep as assumed."""
        pairs = zip(self.schedules, self.pipelines, strict=True)
        return EventModel([piped(found, times * pipeline) for found, pipeline in pairs], self.edges)


def _check_given(
    models: Sequence[EventModel],
    depths: Sequence[int],
    processes: Sequence[str],
    streams: Sequence[str],
    given: Mapping[str, int],
) -> list[str]:
    """Refuses depths with which the design stops; says where it would with deeper pipelines than assumed."""
    notes: list[str] = []
    for times, model in zip(PIPELINES, models, strict=True):
        stop = model.deadlock(depths)
        if stop is None:
            continue
        assert given, "the depths of the timetable suffice"
        why = described(stop, processes, streams, depths)
        if times <= 1:
            raise PlanFileError(
                f"with the depths given in the plan ({_listed(given)}) the design does not get a frame through: {why}",
                "make the streams that are full deeper, or leave them out of the plan to have them planned",
            )
        notes.append(
            f"with the depths given in the plan ({_listed(given)}) the design would stop "
            f"if pipelines were {times} times as deep as assumed: {why}"
        )
    return notes


def _listed(given: Mapping[str, int]) -> str:
    return ", ".join(f"'{name}': {depth}" for name, depth in given.items())


def _words(depth: int) -> str:
    return f"{depth} word{'s' if depth != 1 else ''}"
