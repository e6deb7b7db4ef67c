# SPDX-License-Identifier: Apache-2.0
"""The latency of a frame, against a simulation of the design cycle by cycle."""

from collections import deque
from itertools import product

import numpy as np
import pytest
from test_design import chain, design_of

from flow.ir.dataflow import Source, Step
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.plan.layers import layers_of
from flow.plan.pipeline import pipeline_depth
from flow.plan.plan import divisors
from flow.plan.processes import Gearbox
from flow.plan.timing import frame_latency


def iterations(process):
    """For each iteration of a frame, in the words of the templates: whether it reads, whether it writes."""
    if isinstance(process, Gearbox):
        held = 0
        for word in range(process.cycles):
            reads = held < process.out_lanes and word < process.last_read
            held += process.in_lanes * reads
            writes = held >= process.out_lanes or word == process.cycles - 1
            held -= process.out_lanes * writes
            yield reads, writes
        return
    layer, plan = process.layer, process.plan
    if layer.dense is None:
        for _ in range(process.in_words):
            yield True, True
        return
    slices, parts = process.in_lanes // plan.simd, process.out_lanes // plan.pe
    taken = given = 0
    for _ in range(layer.positions):
        for neuron in range(layer.outputs // plan.pe):
            for synapse in range(layer.inputs // plan.simd):
                reads = neuron == 0 and taken % slices == 0
                taken += neuron == 0
                last = synapse == layer.inputs // plan.simd - 1
                writes = last and given % parts == parts - 1
                given += last
                yield reads, writes


def simulated_latency(design):
    """Cycle by cycle: a process runs its next iteration unless it must read a word that has not come."""
    streams = [deque(range(design.processes[0].in_words))]  # the cycle in which each word is there
    streams += [deque() for _ in design.processes]
    pending = [deque(iterations(process)) for process in design.processes]
    end = 0
    for cycle in range(100_000):
        for number, process in enumerate(design.processes):
            source, sink = streams[number], streams[number + 1]
            if not pending[number]:
                continue
            reads, writes = pending[number][0]
            if reads and not (source and source[0] <= cycle):
                continue
            pending[number].popleft()
            if reads:
                source.popleft()
            if writes:
                end = cycle + pipeline_depth(process)
                sink.append(end)
        if not any(pending):
            assert len(streams[-1]) == design.sink.words
            return end + 1
    raise AssertionError("the design does not end")


def test_latency_by_hand():
    """4 inputs in one word into 6 outputs in one cycle: reader 2, layer 4 + 2 (adder tree) + 1, writer 2."""
    design = design_of(chain(4, 6), [(6, 4)])
    assert [pipeline_depth(process) for process in design.processes] == [2, 7, 2]
    # each next process reads in the cycle behind that in which the word is there
    assert frame_latency(design) == simulated_latency(design) + latency_of_hand_overs(design)


def latency_of_hand_overs(design):
    """``frame_latency`` lets a word be read one cycle after it has come; the simulation in the same cycle."""
    return len(design.processes)


@pytest.mark.parametrize("axis_bits", [8, 64])
@pytest.mark.parametrize("sizes", [(6, 12), (6, 4, 9), (5, 7, 3)])
def test_latency_against_a_simulation(sizes, axis_bits):
    layers = chain(*sizes)
    every = [list(product(divisors(layer.outputs), divisors(layer.inputs))) for layer in layers]
    rng = np.random.default_rng(0)
    foldings = list(product(*every))
    for index in rng.permutation(len(foldings))[:60]:
        design = design_of(layers, foldings[index], axis_bits)
        difference = frame_latency(design) - simulated_latency(design)
        assert 0 <= difference <= latency_of_hand_overs(design), foldings[index]


def test_latency_is_at_least_the_interval():
    for folding in product(divisors(12), divisors(6)):
        design = design_of(chain(6, 12), [folding])
        assert frame_latency(design) >= design.interval


def test_latency_of_a_bare_step_function():
    one = np.ones(1, np.int64)
    u4 = IntType(4, signed=False)
    nodes = (
        Source("x", (16,), u4, 0 * one, 15 * one),
        Step("s", "x", np.array([[2, 5, 11]]), 0 * one, one, 0 * one, 15 * one, IntType(2, signed=False)),
    )
    layers = layers_of(Graph(nodes, ("s",)))
    for pe in divisors(16):
        design = design_of(layers, [(pe, 1)])
        difference = frame_latency(design) - simulated_latency(design)
        assert 0 <= difference <= latency_of_hand_overs(design)
