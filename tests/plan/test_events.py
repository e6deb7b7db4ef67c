# SPDX-License-Identifier: Apache-2.0
"""The event model against a simulation of the bounded network, cycle by cycle."""

import collections

import numpy as np
import pytest
import test_random_networks as networks
from random_designs import random_case

from flow.plan.event_engine import compiled, run_frame
from flow.plan.events import Deadlock, EventModel, Wait, piped
from flow.plan.processes import Schedule, schedule


def simulate(schedules, edges, depths, interval, frames):
    """Each process does its next step in a cycle if all words are there, and all places free, at its beginning.

    Returns for each frame the cycles in which each process ends it, and the most words in each stream; or the
    cycle in which the last thing happens, and for each process that is left what its next step lacks.
    """
    steps = []
    for found in schedules:
        of_step = collections.defaultdict(lambda: ([], []))
        for side, ends in enumerate((found.reads, found.writes)):
            for number, when in enumerate(ends):
                for step in when.tolist():
                    of_step[step][side].append(number)
        steps.append(of_step)
    ins = [{number: s for s, (_, _, to, number) in enumerate(edges) if to == p} for p in range(len(schedules))]
    outs = [{number: s for s, (of, number, _, _) in enumerate(edges) if of == p} for p in range(len(schedules))]
    held, most = [0] * len(edges), [0] * len(edges)
    done, ends = [0] * len(schedules), [[] for _ in schedules]
    last = -1
    for cycle in range(10_000_000):
        before, after = list(held), list(held)
        moved = lacking = False
        for p, found in enumerate(schedules):
            frame, step = divmod(done[p], found.cycles)
            if frame == frames or (p == 0 and cycle < frame * interval):
                continue
            reads, writes = steps[p].get(step, ((), ()))
            taken = [ins[p][number] for number in reads if number in ins[p]]
            given = [outs[p][number] for number in writes if number in outs[p]]
            if any(before[s] == 0 for s in taken) or any(before[s] == depths[s] for s in given):
                lacking = True
                continue
            for s in taken:
                after[s] -= 1
            for s in given:
                after[s] += 1
                most[s] = max(most[s], before[s] + 1)
            done[p] += 1
            moved = True
            if done[p] % found.cycles == 0:
                ends[p].append(cycle)
        held = after
        last = cycle if moved else last
        if all(d == frames * found.cycles for d, found in zip(done, schedules, strict=True)):
            return np.array(ends), most
        if not moved and lacking:
            waiting = cycle < min(interval * (done[0] // schedules[0].cycles), interval * (frames - 1))
            if not waiting:
                return last
    raise AssertionError("it does not end")


def case(seed):
    """The steps and the streams of a random design, with pipelines of random depths."""
    design = random_case(seed, networks.layer_network(seed), collections.Counter()).design
    rng = np.random.default_rng(seed)
    schedules = [piped(schedule(process), int(rng.integers(0, 9))) for process in design.processes]
    return schedules, [(s.producer, s.output, s.consumer, s.input) for s in design.streams], rng


def random_depths(rng, model):
    return [int(rng.integers(1, 1 + rng.integers(1, 2 + words // 2))) for words in model.words]


@pytest.mark.parametrize("seed", range(40))
def test_every_cycle_and_every_word(seed):
    schedules, edges, rng = case(seed)
    model = EventModel(schedules, edges)
    depths = random_depths(rng, model)
    interval = int(model.slowest * rng.choice([1, 1, 1.3]))
    run = model.run(depths, interval)
    if isinstance(run, Deadlock):
        assert isinstance(simulate(schedules, edges, depths, interval, 2), int)
        assert model.deadlock(depths) == run
        return
    ends, most = simulate(schedules, edges, depths, interval, len(run.frames))
    assert run.latency == ends[-1, 0] + 1
    for frame in run.frames:
        assert (frame.free == ends[:, frame.number] + 1).all()
    assert model.occupancy(run) == most


def pace(schedules, edges, depths, frames=60):
    """Cycles a frame in the long run of a simulation that gets its words without a pause."""
    ends, _ = simulate(schedules, edges, depths, 0, frames)
    half = frames // 2
    return -(-int(ends[-1, -1] - ends[-1, half - 1]) // (frames - half))


@pytest.mark.parametrize("seed", range(80))
def test_interval_is_the_pace_of_a_simulation(seed):
    schedules, edges, rng = case(seed)
    if max(found.cycles for found in schedules) > 120:
        return  # sixty frames of it would take the simulation too long
    model = EventModel(schedules, edges)
    depths = random_depths(rng, model)
    found = model.interval(depths)
    if isinstance(found, Deadlock):
        assert isinstance(simulate(schedules, edges, depths, 0, 2), int)
    else:
        assert found == pace(schedules, edges, depths)


def test_small_cases_are_of_all_kinds():
    """Of the designs above some stop, some keep the pace of their slowest process, and some are slower."""
    kinds = collections.Counter()
    for seed in range(80):
        schedules, edges, rng = case(seed)
        model = EventModel(schedules, edges)
        found = model.interval(random_depths(rng, model))
        kinds["stops" if isinstance(found, Deadlock) else "slower" if found > model.slowest else "keeps"] += 1
    assert min(kinds[kind] for kind in ("stops", "slower", "keeps")) >= 5, kinds


@pytest.mark.parametrize("seed", range(0, 80, 2))
def test_shallower_streams_from_the_frames_of_deeper_ones(seed):
    """The pace is kept from there if and only if it is from an empty design, and in the same cycles of a frame."""
    schedules, edges, rng = case(seed)
    model = EventModel(schedules, edges)
    deep = [int(words) + 2 for words in model.words]
    interval = model.slowest
    run = model.run(deep, interval)
    if isinstance(run, Deadlock) or not run.steady:
        return
    for _ in range(8):
        depths = [int(rng.integers(1, depth + 1)) for depth in deep]
        found = model.still_steady(depths, interval, run.frames[-1])
        expected = model.run(depths, interval)
        assert (found is not None) == (not isinstance(expected, Deadlock) and expected.steady)
        if found is not None:
            last = expected.frames[-1]
            late = (found.number - last.number) * interval
            assert (found.read == last.read + late).all()
            assert (found.free == last.free + late).all()


def test_compiled_engine_is_the_interpreted_one():
    schedules, edges, _ = case(0)
    model = EventModel(schedules, edges)
    depths = [int(words) for words in model.words]
    runs = []
    for engine in (run_frame, compiled()):
        model._run_frame = engine
        runs.append(model.run(depths, model.slowest))
    for one, other in zip(runs[0].frames, runs[1].frames, strict=True):
        for field in ("written", "read", "free"):
            assert np.array_equal(getattr(one, field), getattr(other, field))


def diamond():
    """A fork, eight words through a process that needs four before it gives one, four copied past it, and a join."""
    every = np.arange(8)
    fork = Schedule((every,), (every, every), 8)
    slow = Schedule((every,), (np.arange(4, 12),), 12)
    join = Schedule((every, every), (every,), 8)
    head = Schedule((every,), (every,), 8)
    schedules = [head, fork, slow, join]
    edges = [(0, 0, 1, 0), (1, 0, 2, 0), (1, 1, 3, 1), (2, 0, 3, 0)]
    return EventModel(schedules, edges)


def test_stop_by_hand():
    """The short branch must hold what has passed the fork before the long one gives a word: five words.

    Word w is forked in cycle w + 1, read by the slow process in w + 2; its step 4 comes in cycle 6, and reads the
    fifth word. With four places on the short branch, the fork stops before it: it has done four words, the last in
    cycle 4, and the slow process its step 3 in cycle 5.
    """
    model = diamond()
    assert model.deadlock([2, 2, 5, 2]) is None
    found = model.deadlock([2, 2, 4, 2])
    assert found == Deadlock(5, (Wait(1, 2, True), Wait(3, 3, False), Wait(2, 1, False)))


def test_interval_by_hand():
    """12 steps of the slow process; with the least depths it goes on once the join has freed the fork."""
    model = diamond()
    assert model.slowest == 12
    assert model.interval([2, 2, 8, 2]) == 12
    run = model.run([2, 2, 8, 2], 12)
    # a word passes head and fork in cycles 0 and 1, and leaves the slow process in cycle 6; it is joined in cycle 7,
    # in which the seventh comes to the short branch
    assert run.latency == 7 + 8
    assert model.occupancy(run)[2] == 7
