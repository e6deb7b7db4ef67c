# SPDX-License-Identifier: Apache-2.0
"""Designs: how lanes join, how gearboxes run word by word, and how frames lie in the words of a port."""

from itertools import pairwise, product
from math import gcd

import numpy as np
import pytest

from flow.errors import PlanFileError
from flow.ir.dataflow import Dense, Source, Step, TensorType
from flow.ir.graph import Graph
from flow.ir.types import Bipolar, IntType
from flow.plan.design import build_design, port
from flow.plan.layers import layers_of
from flow.plan.pipeline import pipeline_depth
from flow.plan.plan import LayerPlan, Plan, divisors
from flow.plan.processes import Gearbox, LayerProcess, gearbox, schedule

U4 = IntType(4, signed=False)
ONE = np.ones(1, np.int64)


def chain(*sizes):
    """Products of these sizes, each with a step function of 15 boundaries."""
    rng = np.random.default_rng(1)
    nodes = [Source("x", (sizes[0],), U4, 0 * ONE, 15 * ONE)]
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        before = nodes[-1].name
        nodes.append(Dense(f"p{number}", before, rng.integers(-7, 8, (inputs, outputs)), IntType(14, signed=True)))
        thresholds = np.array([[3 * t * t - 40 for t in range(15)]])
        nodes.append(Step(f"h{number}", f"p{number}", thresholds, 0 * ONE, ONE, -5000 * ONE, 5000 * ONE, U4))
    return layers_of(Graph(tuple(nodes), (nodes[-1].name,)))


def design_of(layers, foldings, axis_bits=64):
    plans = tuple(
        LayerPlan(layer.name, pe, simd, "lut", "lut", "thresholds")
        for layer, (pe, simd) in zip(layers, foldings, strict=True)
    )
    return build_design(layers, Plan("pynq-z2", 100.0, plans), axis_bits)


# -------------------------------------------------------------------------------------------------- gearboxes


def run_gearbox(box, values):
    """The template hls/gearbox.hpp.j2 in Python: the words that leave, and the iteration of each."""
    words_in = [list(values[i : i + box.in_lanes]) for i in range(0, len(values), box.in_lanes)]
    words_in[-1] += [None] * (box.in_lanes - len(words_in[-1]))
    waiting = iter(words_in)
    held = [None] * box.capacity
    count, out, reads = 0, [], []
    for word in range(box.cycles):
        if count < box.out_lanes and word < box.last_read:
            assert count % box.step == 0
            assert count // box.step < box.places
            held[count : count + box.in_lanes] = next(waiting)
            assert len(held) == box.capacity
            count += box.in_lanes
            reads.append(word)
        if count >= box.out_lanes or word == box.cycles - 1:
            given = held[: box.out_lanes] + [None] * max(0, box.out_lanes - box.capacity)
            out.append((word, given[: box.out_lanes]))
            held = held[box.out_lanes :] + [None] * min(box.out_lanes, box.capacity)
            count -= box.out_lanes
    assert len(reads) == len(words_in) == box.in_words
    assert next(waiting, None) is None
    found = schedule(box)
    assert (found.reads[0].tolist(), found.writes[0].tolist()) == (reads, [word for word, _ in out])
    assert found.cycles == box.cycles
    return out


def fewest_cycles(values, in_lanes, out_lanes):
    """A gearbox can do no better than to read, or to write, in every iteration."""
    return max(-(-values // in_lanes), -(-values // out_lanes))


@pytest.mark.parametrize("values", [1, 2, 3, 5, 7, 8, 12, 30, 49, 64])
def test_gearbox_word_by_word(values):
    """Every value leaves once, in order; only the last word may hold fewer; no iteration is idle."""
    for in_lanes, out_lanes in product(range(1, 13), range(1, 13)):
        if in_lanes > values or out_lanes > values:
            continue
        box = gearbox("between", "a", U4, values, in_lanes, out_lanes)
        out = run_gearbox(box, range(values))
        assert len(out) == box.out_words
        flat = [value for _, word in out for value in word]
        assert flat[:values] == list(range(values))
        assert len(flat) - values < out_lanes
        assert out[-1][0] == box.cycles - 1
        assert box.cycles >= fewest_cycles(values, in_lanes, out_lanes)
        if in_lanes % out_lanes == 0 or out_lanes % in_lanes == 0:
            assert box.cycles == fewest_cycles(values, in_lanes, out_lanes)


def test_gearbox_of_7_into_5():
    """By hand: 14 values; 7 in, 5 out (2 left); 7 in, 5 out (4 left); the rest of 4 with the end of the frame."""
    box = gearbox("between", "a", U4, 14, 7, 5)
    assert (box.cycles, box.last_read) == (3, 2)
    assert (box.step, box.places, box.capacity) == (1, 5, 11)
    assert run_gearbox(box, range(14)) == [
        (0, [0, 1, 2, 3, 4]),
        (1, [5, 6, 7, 8, 9]),
        (2, [10, 11, 12, 13, None]),
    ]


def test_gearbox_of_one_into_many():
    box = gearbox("output", "a", U4, 10, 1, 8)
    assert [at for at, _ in run_gearbox(box, range(10))] == [7, 9]
    assert (box.in_words, box.out_words, box.cycles, box.last_read) == (10, 2, 10, 10)


def test_gearbox_holds_no_more_than_its_capacity():
    for in_lanes, out_lanes in product(range(1, 20), range(1, 20)):
        box = gearbox("between", "a", U4, in_lanes * out_lanes, in_lanes, out_lanes)
        step = gcd(in_lanes, out_lanes)
        assert box.capacity == out_lanes - step + in_lanes
        run_gearbox(box, range(in_lanes * out_lanes))  # asserts it on the way


# ------------------------------------------------------------------------------------------------------ joining


def test_lanes_that_divide_join_without_a_gearbox():
    layers = chain(4, 12, 12)
    for pe, simd in product(divisors(12), divisors(12)):
        design = design_of(layers, [(pe, 4), (3, simd)])
        first, second = design.layers
        between = [p for p in design.processes if isinstance(p, Gearbox) and p.role == "between"]
        if pe % simd == 0 or simd % pe == 0:
            assert between == []
            assert first.out_lanes == second.in_lanes == max(pe, simd)
        else:
            (box,) = between
            assert (box.in_lanes, box.out_lanes, box.values, box.after) == (pe, simd, 12, "h0")
            assert (first.out_lanes, second.in_lanes) == (pe, simd)


def test_words_between_processes_agree():
    """What one process writes is what the next reads: as many words, of as many lanes."""
    layers = chain(6, 12, 8, 5)
    foldings = product(divisors(12), divisors(6), divisors(8), divisors(12), divisors(5), divisors(8))
    for pe0, simd0, pe1, simd1, pe2, simd2 in list(foldings)[::7]:
        design = design_of(layers, [(pe0, simd0), (pe1, simd1), (pe2, simd2)], axis_bits=32)
        processes = design.processes
        assert (processes[0].role, processes[-1].role) == ("input", "output")
        for left, right in pairwise(processes):
            assert (left.out_lanes, left.out_words) == (right.in_lanes, right.in_words)
        assert processes[0].in_words == design.source.words
        assert processes[-1].out_words == design.sink.words
        for process in design.layers:
            assert process.in_lanes % process.plan.simd == 0
            assert process.out_lanes % process.plan.pe == 0
            assert process.layer.y.size % process.out_lanes == 0
            assert process.layer.x.size % process.in_lanes == 0
        assert design.interval == max(process.cycles + pipeline_depth(process) for process in processes)


def test_cycles_of_a_layer():
    layers = chain(6, 12)
    for pe, simd in product(divisors(12), divisors(6)):
        (process,) = design_of(layers, [(pe, simd)]).layers
        assert process.cycles == (12 // pe) * (6 // simd)


def test_bare_step_function_takes_its_pe_from_the_stream():
    nodes = (
        Source("x", (6,), U4, 0 * ONE, 15 * ONE),
        Step("s", "x", np.array([[2, 5, 11]]), 0 * ONE, ONE, 0 * ONE, 15 * ONE, IntType(2, signed=False)),
    )
    layers = layers_of(Graph(nodes, ("s",)))
    design = design_of(layers, [(3, 1)])
    (process,) = design.layers
    assert isinstance(process, LayerProcess)
    assert (process.in_lanes, process.out_lanes, process.in_words, process.cycles) == (3, 3, 2, 2)


def test_form_that_cannot_serve():
    layers = chain(4, 6)
    plan = Plan("pynq-z2", 100.0, (LayerPlan("h0", 6, 4, "lut", "lut", "wire"),))
    with pytest.raises(PlanFileError) as caught:
        build_design(layers, plan, 64)
    assert caught.value.message == "layer 'h0': its step function has no form 'wire'"
    assert caught.value.remedy == f"possible here: {', '.join(layers[0].forms)}"


def test_form_and_certificate_are_those_of_the_plan():
    (process,) = design_of(chain(4, 6), [(6, 4)]).layers
    assert process.form.name == process.certificate.form == "thresholds"


# -------------------------------------------------------------------------------------------------------- ports


@pytest.mark.parametrize(
    ("element", "values", "axis_bits", "container", "per_word", "words", "width"),
    [
        (Bipolar(), 100, 64, 1, 64, 2, 64),
        (IntType(2, signed=False), 100, 64, 2, 32, 4, 64),
        (IntType(3, signed=True), 10, 64, 4, 16, 1, 64),
        (IntType(5, signed=True), 10, 64, 8, 8, 2, 64),
        (IntType(9, signed=True), 10, 128, 16, 8, 2, 128),
        (IntType(17, signed=True), 3, 32, 32, 1, 3, 32),
        (IntType(33, signed=True), 3, 32, 64, 1, 3, 64),
        (IntType(16, signed=True), 3, 8, 16, 1, 3, 16),
    ],
)
def test_port(element, values, axis_bits, container, per_word, words, width):
    found = port(TensorType((values,), element, ONE, ONE), axis_bits)
    assert (found.container, found.per_word, found.words, found.axis_bits) == (container, per_word, words, width)
    assert found.lanes == min(per_word, values)
