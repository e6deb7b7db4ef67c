# SPDX-License-Identifier: Apache-2.0
"""The event model against a simulation of the bounded network, cycle by cycle."""

import collections

import numpy as np
import pytest
import test_random_networks as networks
from random_designs import random_case

from flow.plan.events import Deadlock, EventModel, piped
from flow.plan.processes import schedule


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
    expected = simulate(schedules, edges, depths, interval, 4)
    if isinstance(run, Deadlock):
        assert isinstance(expected, int)
        assert run.cycle <= expected
        assert model.deadlock(depths) == run
        return
    ends, _ = expected
    assert run.latency == ends[-1, 0] + 1
    for frame in run.frames[:4]:
        assert (frame.free == ends[:, frame.number] + 1).all()
