# SPDX-License-Identifier: Apache-2.0
"""Products that share a DSP slice, against Python's integers: every operand of small widths, corners of wide ones."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.errors import PlanFileError
from flow.ir.dataflow import Dense, Source
from flow.ir.graph import Graph
from flow.ir.types import Bipolar, IntType
from flow.plan import board as boards
from flow.plan.board import Dsp
from flow.plan.cost_packing import packed_products
from flow.plan.estimate import layer_resources
from flow.plan.layers import layers_of
from flow.plan.options import layer_options
from flow.plan.packing import multiplier_options, pack, packing_for
from flow.plan.plan import LayerPlan

BOARD = boards.load("pynq-z2")


def signed(value, bits):
    """The low bits of a number, in two's complement."""
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def field(total, spacing, k):
    """What the C++ reads, step by step: an arithmetic shift, the low bits, the bit below."""
    borrowed = (total >> (spacing * k - 1)) & 1 if k else 0
    return signed(signed(total >> (spacing * k), spacing) + borrowed, spacing)


def in_slice(packing, columns, xs):
    """Sums of products in a slice; every operand and the sum must fit where the hardware holds it."""
    wide, narrow = packing.dsp.ports
    total = 0
    for weights, x in zip(columns, xs, strict=True):
        operand = sum(w << (packing.spacing * k) for k, w in enumerate(weights))
        assert signed(operand, packing.operand_bits) == operand
        fits = [signed(operand, a) == operand and signed(x, b) == x for a, b in ((wide, narrow), (narrow, wide))]
        assert any(fits)
        total += operand * x
    assert signed(total, 48) == total
    return [field(total, packing.spacing, k) for k in range(packing.count)]


TYPES = [IntType(bits, sign) for bits in (1, 2, 3) for sign in (False, True) if bits > sign]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("w", "x"), list(product(TYPES, TYPES)), ids=str)
def test_every_operand_of_small_widths(w, x, count):
    packing = pack((w.min, w.max), (x.min, x.max), Dsp.DSP48E1, count, 1)
    assert packing.chain == 1
    for weights in product(range(w.min, w.max + 1), repeat=count):
        for value in range(x.min, x.max + 1):
            assert in_slice(packing, [weights], [value]) == [weight * value for weight in weights]


@st.composite
def intervals(draw):
    element = IntType(draw(st.integers(1, 14)), True)
    lo = draw(st.integers(element.min, element.max))
    return lo, draw(st.integers(lo, element.max))


@given(intervals(), intervals(), st.sampled_from(list(Dsp)), st.integers(2, 6), st.integers(1, 40), st.data())
def test_chains_at_their_corners(w, x, dsp, count, terms, data):
    packing = pack(w, x, dsp, count, terms)
    if packing is None:
        return
    assert 1 <= packing.chain <= terms
    corner_w, corner_x = st.sampled_from(w) | st.integers(*w), st.sampled_from(x) | st.integers(*x)
    columns = [[data.draw(corner_w) for _ in range(count)] for _ in range(packing.chain)]
    xs = [data.draw(corner_x) for _ in range(packing.chain)]
    wanted = [sum(column[k] * v for column, v in zip(columns, xs, strict=True)) for k in range(count)]
    assert in_slice(packing, columns, xs) == wanted
    for weight, value in product(w, x):  # all alike
        assert in_slice(packing, [[weight] * count] * packing.chain, [value] * packing.chain) == (
            [weight * value * packing.chain] * count
        )


@pytest.mark.parametrize(
    ("w", "x", "dsp", "count", "found"),
    [
        # spacing and chain by hand: -128 * -128 = 2^14 takes 16 bits; 17 would need -128 * (1 + 2^17) < -2^24
        (IntType(8, True), IntType(8, True), Dsp.DSP48E1, 2, (16, 1)),
        (IntType(8, True), IntType(8, True), Dsp.DSP48E2, 2, (18, 7)),
        (IntType(8, True), IntType(8, False), Dsp.DSP48E1, 2, (16, 1)),
        (IntType(4, True), IntType(4, False), Dsp.DSP48E1, 3, (10, 4)),
        (IntType(4, True), IntType(4, False), Dsp.DSP48E1, 4, None),
        (IntType(2, True), IntType(2, False), Dsp.DSP48E1, 6, (4, 1)),
        (IntType(12, True), IntType(12, True), Dsp.DSP48E1, 2, None),
        (IntType(8, True), IntType(18, True), Dsp.DSP48E2, 2, None),
        (IntType(2, True), IntType(20, True), Dsp.DSP48E1, 2, None),
    ],
)
def test_known_packings(w, x, dsp, count, found):
    packing = pack((w.min, w.max), (x.min, x.max), dsp, count, 100)
    assert (None if packing is None else (packing.spacing, packing.chain)) == found


@given(intervals(), intervals(), st.sampled_from(list(Dsp)), st.integers(2, 6), st.integers(1, 40))
def test_no_bit_of_spacing_too_many_and_no_term_too_few(w, x, dsp, count, terms):
    packing = pack(w, x, dsp, count, terms)
    if packing is None:
        return
    most = packing.chain * packing.reach
    assert most >= 1 << (packing.spacing - 2)  # one bit less would not hold it
    if packing.chain < terms:  # one more term would need a bit that is not there
        wider = (most + packing.reach).bit_length() + 1
        ends = [bound * sum(1 << wider * k for k in range(count)) for bound in w]
        bits = IntType.holding(min(*ends, -1), max(ends)).bits
        room = dsp.ports[0] if IntType.holding(min(x[0], -1), x[1]).bits <= dsp.ports[1] else dsp.ports[1]
        assert bits > room or wider * count > 48


def layer_with(weights, element):
    one = np.ones(1, np.int64)
    source = Source("x", (len(weights),), element, element.min * one, element.max * one)
    (layer,) = layers_of(Graph((source, Dense("d", "x", weights, IntType(30, signed=True))), ("d",)))
    return layer


INT8 = layer_with(np.random.default_rng(0).integers(-127, 128, (6, 4)), IntType(8, True))


def test_weights_without_their_least_value_leave_a_bit_for_sums():
    packing = pack((-127, 127), (-128, 127), Dsp.DSP48E1, 2, 100)
    assert (packing.spacing, packing.chain, packing.operand_bits) == (17, 4, 25)
    assert str(packing) == (
        "2 products in each DSP48E1, 17 bits apart: proved by bounds (sums of 4 within +-65024, a field holds +-65535)"
    )


def test_as_many_outputs_as_divide_pe():
    nibbles = layer_with(np.array([[-8, 7, 0, 1, 2, 3, 4, 5, 6]] * 2), IntType(4, False))
    assert [getattr(packing_for(nibbles, pe, 1, BOARD.dsp), "count", None) for pe in (1, 3, 9)] == [None, 3, 3]
    assert packing_for(INT8, 4, 1, BOARD.dsp).count == 2


def test_bipolar_operands_are_not_packed():
    signs = np.array([[1, -1], [-1, 1]])
    assert packing_for(layer_with(signs, IntType(4, True)), 2, 1, BOARD.dsp) is None
    assert packing_for(layer_with(signs * 3, Bipolar()), 2, 1, BOARD.dsp) is None
    assert multiplier_options(layer_with(signs, Bipolar()), 2, BOARD) == ["lut", "dsp"]


def test_options_of_a_board():
    assert multiplier_options(INT8, 2, BOARD) == ["lut", "dsp", "packed"]
    none = replace(BOARD, resources=replace(BOARD.resources, dsp=0))
    assert multiplier_options(INT8, 2, none) == ["lut"]
    packed = [o for o in layer_options(INT8, BOARD) if o.plan.multiplier == "packed"]
    assert packed
    assert all(o.plan.pe % 2 == 0 for o in packed)


def test_price_counts_slices():
    plan = LayerPlan("d", 4, 6, "lut", "packed", "none")
    terms = layer_resources(INT8, plan, BOARD)
    assert terms["product"].dsp == 4 * 6 // 2
    apart = layer_resources(INT8, replace(plan, multiplier="dsp"), BOARD)
    assert apart["product"].dsp == 4 * 6
    assert terms["packing"].lut > 0
    packing = packing_for(INT8, 4, 6, BOARD.dsp)
    single = packed_products(replace(packing, chain=1), 4, 6, 8)
    assert single["packing"].lut > packed_products(packing, 4, 6, 8)["packing"].lut


def test_plan_that_cannot_be_packed():
    with pytest.raises(PlanFileError, match="its products cannot share a DSP48E1 at pe = 1") as caught:
        layer_resources(INT8, LayerPlan("d", 1, 6, "lut", "packed", "none"), BOARD)
    assert "another pe" in caught.value.remedy
