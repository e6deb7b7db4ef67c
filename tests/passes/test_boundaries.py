# SPDX-License-Identifier: Apache-2.0
"""``find_step`` against the exact levels at every integer of the interval."""

import math
from fractions import Fraction

import numpy as np
import pytest
from pass_helpers import bipolar, ints, model, quant

from flow.ir.dataflow import NEVER
from flow.ir.graph import Graph
from flow.ir.model import BatchNorm, Binary, Clip, Constant, Input, LeakyRelu, Quant, Unary
from flow.ir.reference import Evaluation, Levels
from flow.ir.rounding import Rounding
from flow.passes import boundaries
from flow.passes.boundaries import LOWEST, find_lookup, find_step


def brute(segment, levels, lo, hi):
    """The exact level at every integer, (points, channels), each decided in rationals or intervals."""
    points = np.arange(int(lo.min()), int(hi.max()) + 1)
    x = np.broadcast_to(points.reshape(-1, *[1] * lo.ndim), (points.size, *lo.shape)).copy()
    run = Evaluation(segment, {"x": levels(x)})
    node = segment["q"]
    shape = run.decisions["q"].levels.shape
    exact = np.array([run.decide(node, at) for at in np.ndindex(shape)]).reshape(points.size, -1)
    return points, exact


def check(*nodes, lo, hi, scale=(1,), offset=(0,)):
    """Finds the step of ``nodes`` (from ``x`` to ``q``) and compares it everywhere; returns it."""
    lo, hi = np.atleast_1d(np.array(lo, np.int64)), np.atleast_1d(np.array(hi, np.int64))
    segment = model(Input("x", lo.shape), *nodes, outputs=("q",))

    def levels(x):
        return Levels(x, tuple(map(Fraction, scale)), tuple(map(Fraction, offset)))

    step = find_step(segment, "q", levels, lo, hi)
    points, exact = brute(segment, levels, lo, hi)
    for c in range(exact.shape[1]):
        a, b = lo.reshape(-1)[c], hi.reshape(-1)[c]
        inside = (points >= a) & (points <= b)
        found = step.start[c] + step.stride[c] * np.searchsorted(step.thresholds[c], points, side="right")
        assert found[inside].tolist() == exact[inside, c].tolist(), f"channel {c}"
        row = step.thresholds[c][step.thresholds[c] != NEVER]
        assert ((row > a) & (row <= b)).all()
        assert (np.diff(step.thresholds[c]) >= 0).all()
        assert step.start[c] == exact[inside, c][0]
    assert step.thresholds.shape[1] == np.abs(exact_height(exact, points, lo, hi)).max(initial=0) // (
        2 if abs(step.stride[0]) == 2 else 1
    )
    return step


def exact_height(exact, points, lo, hi):
    first = np.searchsorted(points, lo.reshape(-1))
    last = np.searchsorted(points, hi.reshape(-1))
    channel = np.arange(exact.shape[1])
    return exact[last, channel] - exact[first, channel]


@pytest.mark.parametrize("mode", list(Rounding))
@pytest.mark.parametrize("scale", [Fraction(1, 4), Fraction(-1, 4), Fraction(3, 7), Fraction(-5, 3)])
def test_every_rounding_rising_and_falling(mode, scale):
    check(quant("q", "x", rounding=mode, bits=4), lo=-50, hi=50, scale=[scale])


def test_exact_thresholds_at_half_even_ties():
    # x / 2: 0.5 -> 0, 1 -> 1, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4
    step = check(quant("q", "x", bits=8), lo=0, hi=9, scale=[Fraction(1, 2)])
    assert step.thresholds.tolist() == [[2, 3, 6, 7]]
    assert (step.start.tolist(), step.stride.tolist()) == ([0], [1])
    step = check(quant("q", "x", bits=8), lo=-9, hi=0, scale=[Fraction(-1, 2)])
    assert step.thresholds.tolist() == [[-6, -5, -2, -1]]
    assert (step.start.tolist(), step.stride.tolist()) == ([4], [-1])


@pytest.mark.parametrize("kind", ["tanh", "sigmoid"])
@pytest.mark.parametrize("mode", [Rounding.HALF_EVEN, Rounding.FLOOR, Rounding.CEIL, Rounding.AWAY])
def test_flat_ends(kind, mode):
    # tanh(x) < 1 for every x: its floor never reaches 1, though float64 says that it does from 19.06 on
    step = check(Unary("a", kind, "x"), quant("q", "a", rounding=mode, bits=3), lo=-60, hi=60)
    if mode is Rounding.FLOOR:
        assert step.thresholds.tolist() == ([[0]] if kind == "tanh" else np.empty((1, 0)).tolist())
    check(Unary("a", kind, "x"), quant("q", "a", 0.125, rounding=mode, bits=6), lo=-60, hi=60, scale=["1/8"])


def test_far_flat_ends_reach_their_limit_only_in_float():
    # tanh(x) - 1 is near -2**-70 at about 24.6, where float64 has long said 0
    one = Constant("c", np.array(1.0))
    nodes = [one, Unary("a", "tanh", "x"), Binary("b", "sub", "a", "c")]
    check(*nodes, quant("q", "b", 2.0**-70, bits=3, rounding=Rounding.FLOOR), lo=0, hi=60)
    check(*nodes, bipolar("q", "b"), lo=0, hi=60)


def test_a_boundary_that_float64_puts_on_the_wrong_side():
    # scale 1/3: three thirds are one exactly, but not in float64 where the scale is rounded
    for numerator in range(1, 30):
        check(quant("q", "x", 1.0, bits=8, rounding=Rounding.FLOOR), lo=-90, hi=90, scale=[Fraction(numerator, 49)])
        check(quant("q", "x", 1.0, bits=8, rounding=Rounding.CEIL), lo=-90, hi=90, scale=[Fraction(numerator, 49)])
        check(quant("q", "x", 1.0, bits=8), lo=-90, hi=90, scale=[Fraction(numerator, 98)], offset=["1/7"])


def test_float64_is_corrected_where_the_first_look_is_wrong(monkeypatch):
    """Without decisions every level is a step too high, or too low: the proof on both sides finds it."""

    class Wrong(Evaluation):
        shift = 0

        def __init__(self, *arguments, decide=True, **keywords):
            super().__init__(*arguments, decide=decide, **keywords)
            if not decide:
                for name, decision in self.decisions.items():
                    wrong = np.clip(decision.levels + self.shift, -8, 7)
                    self.decisions[name] = type(decision)(wrong, decision.position, decision.error)

    monkeypatch.setattr(boundaries, "Evaluation", Wrong)
    for shift in (-3, -1, 1, 3):
        monkeypatch.setattr(Wrong, "shift", shift)
        for scale in ("1/3", "-1/3"):
            check(quant("q", "x", bits=4), lo=-40, hi=40, scale=[scale])
        check(quant("q", "x", bits=4), lo=-8, hi=7)  # a boundary behind every integer


@pytest.mark.parametrize("scale", [1, -1])
def test_bipolar(scale):
    step = check(bipolar("q", "x"), lo=-5, hi=6, scale=[scale])
    assert step.stride.tolist() == [2 * scale]
    assert step.thresholds.tolist() == ([[0]] if scale > 0 else [[1]])


def test_channels_with_unlike_directions_intervals_and_heights():
    slope = Constant("c", np.array([0.5, -2.0, 0.0, 0.0625, 3.0]))
    lo, hi = [-9, -4, -9, 0, 2], [9, 5, 9, 3, 2]
    step = check(slope, Binary("a", "mul", "x", "c"), quant("q", "a", bits=4), lo=lo, hi=hi)
    assert step.stride.tolist() == [1, -1, 1, 1, 1]
    assert step.thresholds.shape == (5, 15)
    assert (step.thresholds[2:] == NEVER).all()


def test_encodings_for_each_channel_and_two_axes():
    scale, offset = ["1/3", "-1/2", 2], [0, "1/5", -1]
    lo, hi = np.full((2, 3), -7), np.arange(6).reshape(2, 3)
    check(quant("q", "x", bits=3), lo=lo, hi=hi, scale=scale, offset=offset)


def test_a_constant_function_has_no_threshold():
    step = check(quant("q", "x", 1000.0), lo=[-9, 5], hi=[9, 5])
    assert step.thresholds.shape == (2, 0)
    assert (step.start.tolist(), step.stride.tolist()) == ([0, 0], [1, 1])


def test_all_activations_in_one_chain():
    rng = np.random.default_rng(3)
    for seed in range(25):
        norm = BatchNorm(
            "n", "x", *(np.round(rng.normal(size=3) * 8) / 8 for _ in range(3)), rng.uniform(0.1, 2, 3), 1e-5
        )
        activation = [
            Unary("a", "relu", "n"),
            LeakyRelu("a", "n", np.array(0.125)),
            Clip("a", "n", -1.0, 1.0),
            Clip("a", "n", -math.inf, 0.5),
            Unary("a", "sigmoid", "n"),
        ][seed % 5]
        q = quant("q", "a", 0.125, float(rng.integers(-2, 3)), 5, rounding=list(Rounding)[seed % 7])
        check(norm, activation, q, lo=[-30] * 3, hi=[30] * 3, scale=["1/16"])


def test_batches_are_split(monkeypatch):
    monkeypatch.setattr(boundaries, "_BATCH", 7)
    check(quant("q", "x", bits=5), lo=[-50] * 3, hi=[50] * 3, scale=["1/3"])


def test_a_wide_interval_is_bisected():
    segment = model(Input("x", (1,)), quant("q", "x", bits=3, signed=False))

    def levels(x):
        return Levels(x, (Fraction(1, 2**40 + 1),), (Fraction(0),))

    step = find_step(segment, "q", levels, ints(-(2**46)), ints(2**46))
    unit = 2**40 + 1  # odd: half of it is no integer, so every boundary is rounded up
    assert step.thresholds.tolist() == [[-(-(2 * k + 1) * unit // 2) for k in range(7)]]


@pytest.mark.parametrize("kind", sorted(LOWEST))
@pytest.mark.parametrize("seed", range(6))
def test_functions_that_fall_and_rise(kind, seed):
    """Every integer of every channel, against the reference itself."""
    rng = np.random.default_rng(seed)
    channels = 5
    scale = rng.choice([-1, 1], channels) * 2.0 ** rng.integers(-6, 1, channels) * rng.uniform(0.7, 1.3, channels)
    if seed == 0:  # the turn lies on an integer, or next to one
        scale[:2] = LOWEST[kind] / 8, -LOWEST[kind] / 8
    offset = np.where(np.arange(channels) < 3, 0, rng.normal(size=channels))
    lo = np.array([-64, -64, -64, 3, -64])
    hi = np.array([63, 63, 63, 63, -20])
    if seed == 1:
        lo[0], hi[0], scale[0] = 0, 0, 1.0
        offset[0] = LOWEST[kind]  # the first integer, and the only one, is the turn
        lo[1], scale[1], offset[1] = 0, 0.25, LOWEST[kind] + 1e-9
    segment = Graph(
        (
            Input("x", (channels,)),
            Constant("s", scale),
            Binary("m", "mul", "x", "s"),
            Constant("o", offset),
            Binary("a", "add", "m", "o"),
            Unary("u", kind, "a"),
            Quant("q", "u", np.array(0.05), np.array(0.0), 6, True, False, Rounding.HALF_EVEN),
        ),
        ("q",),
    )
    one = (Fraction(1),)

    def levels(x):
        return Levels(x, one, (Fraction(0),))

    pieces = find_lookup(segment, "q", levels, lo, hi)
    for c in range(channels):
        points = np.arange(lo[c], hi[c] + 1)
        whole = np.broadcast_to(points[:, None], (points.size, channels))
        expected = Evaluation(segment, {"x": levels(whole)}).decisions["q"].levels[:, c]
        found = pieces.values[c][np.searchsorted(pieces.thresholds[c], points, side="right")]
        assert np.array_equal(found, expected)
        inside = pieces.thresholds[c][pieces.thresholds[c] <= hi[c]]
        assert (np.diff(pieces.values[c][: inside.size + 1]) != 0).all(), "a threshold without a change"
