# SPDX-License-Identifier: Apache-2.0
"""The depths of streams: against a simulation of the bounded network, and by hand."""

import collections
from dataclasses import replace

import numpy as np
import test_random_networks as networks
from random_designs import random_case

from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan import fifo
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.processes import schedule


def finishes(design, depths, frames=4):
    """The interval of the last frames, each process doing an iteration a cycle where it can; None where it stops."""
    operations = []
    for process in design.processes:
        found = schedule(process)
        steps = collections.defaultdict(lambda: ([], []))
        for side, ends in enumerate((found.reads, found.writes)):
            for number, when in enumerate(ends):
                for iteration in when.tolist():
                    steps[iteration][side].append(number)
        operations.append((found.cycles, steps))
    held = [0] * len(design.streams)
    place = {id(stream): number for number, stream in enumerate(design.streams)}
    done = [0] * len(design.processes)
    ends = []
    for cycle in range(1_000_000):
        moved = False
        before = list(held)
        for number, (cycles, steps) in enumerate(operations):
            frame, iteration = divmod(done[number], cycles)
            if frame == frames:
                continue
            reads, writes = steps.get(iteration, ((), ()))
            ins = [place[id(design.inputs[number][i])] for i in reads if design.inputs[number]]
            outs = [place[id(design.outputs[number][i])] for i in writes if design.outputs[number]]
            if all(before[i] > 0 for i in ins) and all(before[o] < depths[o] for o in outs):
                for i in ins:
                    held[i] -= 1
                for o in outs:
                    held[o] += 1
                done[number] += 1
                moved = True
                if number == len(operations) - 1 and done[number] % cycles == 0:
                    ends.append(cycle)
        if all(d == frames * c for d, (c, _) in zip(done, operations, strict=True)):
            return ends[-1] - ends[-2]
        if not moved:
            return None
    raise AssertionError("it does not end")


def branched(count):
    """Random designs with a fork."""
    used, seed, kinds = collections.Counter(), 0, len(networks.KINDS)
    wanted = [networks.KINDS.index(k) for k in (networks.joined, networks.excited, networks.residual)]
    while count:
        if seed % kinds in wanted:
            yield random_case(seed, networks.layer_network(seed), used).design
            count -= 1
        seed += 1


def test_planned_depths_never_stop():
    for design in branched(12):
        assert finishes(design, [stream.depth for stream in design.streams]) is not None


def test_timetable_holds_the_interval():
    """With every stream as deep as the timetable says, bridges too, frames follow each other at the interval."""
    for design in branched(6):
        edges = [(s.producer, s.output, s.consumer, s.input) for s in design.streams]
        schedules = [schedule(process) for process in design.processes]
        depths = fifo._occupancies(schedules, edges, [0] * len(schedules))
        assert finishes(design, depths) == design.interval


def test_chain_of_convolutions_keeps_its_interval():
    """While a window unit reads the first rows of a frame, its core works on windows that wait in the stream."""
    used = collections.Counter()
    rng = np.random.default_rng(0)
    net = networks.Network(rng, (10, 10, 4), IntType(4, signed=False))
    same = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))
    last = net.step(net.convolution(net.step(net.convolution("x", window=same, outputs=4)), window=same, outputs=4))
    design = random_case(0, net.graph(last), used).design
    plan = replace(design.plan, layers=tuple(replace(p, pe=2, simd=4) for p in design.plan.layers))
    design = build_design(layers_of(net.graph(last)), plan, 64)
    depths = [stream.depth for stream in design.streams]
    assert finishes(design, depths, 5) == design.interval
    assert finishes(design, [2] * len(depths), 5) > 1.2 * design.interval


def test_bridges():
    """Two diamonds, one behind the other, and a tail."""
    pairs = [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (4, 5), (5, 6), (5, 6), (6, 7)]
    edges = [(a, 0, b, 0) for a, b in pairs]
    found = fifo._bridges(8, edges)
    assert [pair for pair, bridge in zip(pairs, found, strict=True) if bridge] == [(0, 1), (4, 5), (6, 7)]


def test_most_waiting_by_hand():
    """Four words, written at once one after the other, read late: all four wait; read in the next frame, seven."""
    written = np.arange(4)
    assert fifo._most_waiting(written, np.array([1, 2, 3, 4]), 10) == 2  # a place is free a cycle after the read
    assert fifo._most_waiting(written, np.array([5, 6, 7, 8]), 10) == 4
    assert fifo._most_waiting(written, np.array([13, 14, 15, 16]), 10) == 8
    assert fifo._most_waiting(written, np.array([12, 13, 14, 15]), 10) == 7
