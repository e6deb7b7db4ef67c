# SPDX-License-Identifier: Apache-2.0
"""Adder graphs against the matrices that they stand for, and their sizes against ones counted by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import ExactnessError
from flow.ir.types import IntType
from flow.plan import adder_solver
from flow.plan.adder_graph import Adder, AdderGraph, GraphBuilder, Term
from flow.plan.adder_solver import by_da4ml, by_signed_digits, count_digits, signed_digits, solve

needs_da4ml = pytest.mark.skipif(not adder_solver.has_da4ml(), reason="da4ml is not installed")
SOLVERS = [
    pytest.param(lambda m, lo, hi: by_signed_digits(m), id="digits"),
    pytest.param(by_da4ml, id="da4ml", marks=needs_da4ml),
]


@given(st.integers(-(2**20), 2**20))
def test_signed_digits(value):
    digits = signed_digits(value)
    assert sum(sign << place for place, sign in digits) == value
    places = [place for place, _ in digits]
    assert all(b - a >= 2 for a, b in itertools.pairwise(places))
    assert count_digits(np.array([value])) == len(digits)


@st.composite
def matrices(draw):
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    bits = draw(st.integers(1, 8))
    entries = st.just(0) | st.integers(-(2**bits), 2**bits) | st.sampled_from([2**k for k in range(bits)])
    rows = [[draw(entries) << 2 * draw(st.booleans()) for _ in range(shape[1])] for _ in range(shape[0])]
    lo = [draw(st.integers(-8, 0)) for _ in range(shape[0])]
    hi = [draw(st.integers(0, 15)) for _ in range(shape[0])]
    return np.array(rows, np.int64), tuple(lo), tuple(hi)


@pytest.mark.parametrize("solver", SOLVERS)
@settings(max_examples=150, deadline=None)
@given(matrices())
def test_graph_is_its_matrix(solver, case):
    matrix, lo, hi = case
    graph = solver(matrix, lo, hi)
    graph.prove(matrix)
    corners = np.array(list(itertools.product(*zip(lo, hi, strict=True))), np.int64)
    assert np.array_equal(graph.evaluate(corners), corners @ matrix)
    # every adder is read, and its type is the narrowest: both ends of its interval are reached
    read = {n for a in graph.adders for n in (a.left, a.right)} | {t.node for t in graph.outputs if t is not None}
    assert read >= set(range(graph.inputs, graph.inputs + len(graph.adders)))
    every = tuple(Term(graph.inputs + place, 0, 1) for place in range(len(graph.adders)))
    if every:
        values = replace(graph, outputs=every).evaluate(corners)
        types = graph.types(np.array(lo), np.array(hi))
        assert types == [IntType.holding(min(0, int(v.min())), max(0, int(v.max()))) for v in values.T]


@pytest.mark.parametrize("solver", SOLVERS)
def test_zeros_and_powers_of_two_are_free(solver):
    matrix = np.diag([1, 2, 0, 16])
    graph = solver(matrix, (-8,) * 4, (7,) * 4)
    assert graph.adders == ()
    assert graph.outputs == (Term(0, 0, 1), Term(1, 1, 1), None, Term(3, 4, 1))
    assert graph.depth == 0
    assert graph.stages(4) == 0
    assert graph.bits(np.full(4, -8), np.full(4, 7)) == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_equal_outputs_share_all(solver):
    column = np.array([[3], [-5], [9]])
    alone = solver(column, (0,) * 3, (7,) * 3)
    assert len(solver(np.repeat(column, 4, axis=1), (0,) * 3, (7,) * 3).adders) == len(alone.adders)
    assert len(solver(column * [[1, 4, 8]], (0,) * 3, (7,) * 3).adders) == len(alone.adders)


@needs_da4ml
def test_da4ml_shares_more():
    matrix = np.random.default_rng(0).integers(-32, 32, (16, 24))
    lo, hi = np.zeros(16, np.int64), np.full(16, 63)
    shared, apart = by_da4ml(matrix, tuple(lo), tuple(hi)), by_signed_digits(matrix)
    assert shared.bits(lo, hi) < 0.85 * apart.bits(lo, hi)
    assert by_da4ml(matrix, tuple(lo), tuple(hi)) == shared


@needs_da4ml
def test_bits_are_about_those_that_da4ml_counts():
    """Ours hold the bits of a sum above its operands, too: one more for most adders, of ten or so."""
    from da4ml.cmvm import solve as theirs

    matrix = np.random.default_rng(1).integers(-32, 32, (24, 16))
    lo, hi = np.zeros(24, np.int64), np.full(24, 63)
    counted = theirs(
        matrix.astype(np.float32), qintervals=[(0.0, 63.0, 1.0)] * 24, adder_size=1, carry_size=-1, hard_dc=2
    ).cost
    ours = by_da4ml(matrix, tuple(lo), tuple(hi)).bits(lo, hi)
    assert 1.0 <= ours / counted <= 1.2


def test_digits_stand_in_where_da4ml_is_absent_or_would_take_too_long(monkeypatch):
    lo, hi = np.zeros(3, np.int64), np.full(3, 7)
    monkeypatch.setattr(adder_solver, "has_da4ml", lambda: False)
    matrix = np.array([[11, 7], [-5, 3], [1, 13]])
    assert solve(matrix, lo, hi).solver == "canonical signed digits"
    monkeypatch.undo()
    monkeypatch.setattr(adder_solver, "MOST_DIGITS", 3)
    assert solve(matrix + 16, lo, hi).solver == "canonical signed digits"
    wide = np.array([[(1 << 24) + 1], [1], [0]])  # float32 does not hold it
    assert solve(wide, lo, hi).solver == "canonical signed digits"


@pytest.mark.parametrize(
    "change",
    [
        lambda g: replace(g, outputs=(replace(g.outputs[0], sign=-1), *g.outputs[1:])),
        lambda g: replace(g, outputs=(replace(g.outputs[0], shift=1), *g.outputs[1:])),
        lambda g: replace(g, adders=(replace(g.adders[0], subtract=not g.adders[0].subtract), *g.adders[1:])),
    ],
)
def test_wrong_graph_is_refused(change):
    matrix = np.array([[3, 1], [5, 0]])
    graph = by_signed_digits(matrix)
    with pytest.raises(ExactnessError, match="is not the matrix that it was made for"):
        change(graph).prove(matrix)


# 7 a = (a << 3) - a, then (7 a << 1) + b, then - b: by hand
BY_HAND = AdderGraph(
    2,
    (Adder(0, 3, 0, 0, True), Adder(2, 1, 1, 0, False)),
    (Term(3, 0, 1), Term(2, 2, -1), Term(1, 0, 1)),
    "hand",
)
LO, HI = np.array([0, 0]), np.array([3, 3])


def test_sizes_by_hand():
    BY_HAND.prove(np.array([[14, -28, 0], [1, 0, 1]]))
    assert BY_HAND.types(LO, HI) == [IntType(5, False), IntType(6, False)]  # 21 and 45
    assert BY_HAND.levels == (0, 0, 1, 2)
    # 5 bits; of 6 the lowest is that of b; the negation of 5 bits takes 6
    assert BY_HAND.bits(LO, HI) == 5 + 5 + 6
    # a subtracted operand's low bits are no wires, those of the other are
    above = AdderGraph(2, (Adder(0, 0, 1, 3, True), Adder(0, 3, 1, 0, True)), (Term(2, 0, 1), Term(3, 0, 1)), "hand")
    assert above.types(LO, HI) == [IntType(6, True), IntType(6, True)]  # -24 to 3, -3 to 24
    assert above.bits(LO, HI) == (6 - 3) + 6


def test_registers_by_hand():
    # one level a stage: 7 a is kept at the end of stage 1 and 2, the sum at the end of 2, b at the end of both
    assert BY_HAND.register_bits([2, 2], LO, HI, 1) == 2 * 5 + 6 + 2 * 2
    # both in one stage: the three outputs at its end
    assert BY_HAND.register_bits([2, 2], LO, HI, 2) == 5 + 6 + 2
    assert (BY_HAND.stages(1), BY_HAND.stages(2), BY_HAND.stages(9)) == (2, 1, 1)


def test_builder_shares_sums_in_any_order():
    builder = GraphBuilder(2)
    first = builder.add(Term(0, 1, 1), Term(1, 0, 1))
    assert builder.add(Term(1, 2, -1), Term(0, 3, -1)) == replace(first, shift=2, sign=-1)
    assert builder.add(None, first) == builder.add(first, None) == first
    assert builder.add(None, None) is None
    assert len(builder.adders) == 1
