# SPDX-License-Identifier: Apache-2.0
"""Inputs made for boundaries: they are of the type, and give the sums that they say they give."""

import itertools

import numpy as np
import pytest

from flow.ir import boundary_inputs as module
from flow.ir.boundary_inputs import boundary_inputs
from flow.ir.dataflow import NEVER, Dense, Step, TensorType
from flow.ir.types import Bipolar, IntType, parse_type


def step(rows, lo, hi):
    thresholds = np.full((len(rows), max(map(len, rows))), NEVER, np.int64)
    for channel, row in enumerate(rows):
        thresholds[channel, : len(row)] = row
    ones = np.ones(len(rows), np.int64)
    return Step("y", "d", thresholds, 0 * ones, ones, np.array(lo), np.array(hi), IntType(8, signed=True))


def wanted_of(s):
    """Each boundary inside the interval and the number below it, by channel."""
    return {
        (c, int(t) - below)
        for c, row in enumerate(s.thresholds)
        for t in row
        if s.lo[c] < t <= s.hi[c]
        for below in (0, 1)
    }


def check(dense, s, x):
    """All batches: inputs of the type, sums as claimed, every boundary aimed at; the share that is reached."""
    pairs, reached = set(), []
    for batch in boundary_inputs(dense, s, x):
        lo, hi = np.broadcast_to(x.lo, batch.inputs.shape[1]), np.broadcast_to(x.hi, batch.inputs.shape[1])
        assert batch.inputs.dtype == np.int64
        assert (batch.inputs >= lo).all()
        assert (batch.inputs <= hi).all()
        if isinstance(x.element, Bipolar):
            assert (np.abs(batch.inputs) == 1).all()
        sums = (batch.inputs @ dense.weight)[np.arange(len(batch.inputs)), batch.channel]
        assert (batch.reached == (sums == batch.wanted)).all()
        pairs |= set(zip(batch.channel.tolist(), batch.wanted.tolist(), strict=True))
        reached += batch.reached.tolist()
    channels = range(dense.weight.shape[1]) if s.channels == 1 else None
    expected = wanted_of(s)
    if channels is not None:
        expected = {(c, w) for c in channels for _, w in expected}
    assert pairs == expected
    assert len(reached) == len(expected)
    return reached


def tensor(size, element, lo=None, hi=None):
    kind = parse_type(element)
    lo, hi = np.atleast_1d(kind.min if lo is None else lo), np.atleast_1d(kind.max if hi is None else hi)
    return TensorType((size,), kind, lo, hi)


def layer(rng, size, outputs, x, shared):
    weight = rng.integers(-7, 8, (size, outputs))
    weight[rng.integers(0, size, outputs), np.arange(outputs)] = 1  # some weight of size one
    dense = Dense("d", "x", weight, IntType(40, signed=True))
    lo, hi = dense.sum_range(x)
    lo, hi = (lo.min(keepdims=True), hi.max(keepdims=True)) if shared else (lo, hi)
    rows = [sorted(rng.integers(a - 3, b + 4, 9).tolist()) for a, b in zip(lo, hi, strict=True)]
    return dense, step(rows, lo, hi)


@pytest.mark.parametrize("element", ["u1", "u4", "i4", "i8", "b1"])
@pytest.mark.parametrize("shared", [False, True])
def test_random_layers(element, shared):
    total = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = tensor(8, element)
        total += check(*layer(rng, 8, 3, x, shared), x)
    if not shared:
        assert np.mean(total) > {"b1": 0.3, "u1": 0.5}.get(element, 0.9)


def test_the_sums_that_can_be_reached_are():
    """With a weight of one and small ones, every sum within reach is hit (each second one by -1 and +1)."""
    weight = np.array([[5, -3, 2, 1, 1, 1]]).T
    for element, unit in (("u2", 1), ("i3", 1), ("b1", 2)):
        x = tensor(6, element)
        dense = Dense("d", "x", weight, IntType(20, signed=True))
        (lo,), (hi,) = dense.sum_range(x)
        s = step([list(range(lo + 1, hi + 1))], [lo], [hi])
        kinds = [-1, 1] if element == "b1" else range(x.element.min, x.element.max + 1)
        possible = {int(np.dot(weight[:, 0], v)) for v in itertools.product(kinds, repeat=6)}
        for batch in boundary_inputs(dense, s, x):
            hit = dict(zip(batch.wanted.tolist(), batch.reached.tolist(), strict=True))
        assert {w for w, r in hit.items() if r} == {w for w in hit if w in possible}
        assert sum(hit.values()) >= (hi - lo) // unit


def test_an_interval_for_each_input_and_zero_weights():
    x = tensor(4, "i6", [-3, 0, 5, -8], [2, 9, 5, -1])
    dense = Dense("d", "x", np.array([[0, 1, 2, -3], [1, 0, 0, 0]]).T, IntType(20, signed=True))
    (a, b), (c, d) = dense.sum_range(x)
    s = step([list(range(a + 1, c + 1)), list(range(b + 1, d + 1))], [a, b], [c, d])
    reached = check(dense, s, x)
    assert all(reached)


def test_batches_are_split(monkeypatch):
    rng = np.random.default_rng(0)
    x = tensor(8, "i4")
    dense, s = layer(rng, 8, 3, x, False)
    (whole,) = boundary_inputs(dense, s, x)
    monkeypatch.setattr(module, "_ELEMENTS", 40)
    parts = list(boundary_inputs(dense, s, x))
    assert all(len(part.inputs) <= 5 for part in parts)
    for field in ("inputs", "wanted", "channel", "reached"):
        assert np.concatenate([getattr(p, field) for p in parts]).tolist() == getattr(whole, field).tolist()


def test_no_boundary_inside_gives_nothing():
    dense = Dense("d", "x", np.ones((2, 1), np.int64), IntType(20, signed=True))
    outside = step([[-4, 7]], [-4], [6])
    assert sum(len(b.inputs) for b in boundary_inputs(dense, outside, tensor(2, "i3"))) == 0


# ------------------------------------------------------------------------------------------ without a product


def test_a_step_function_alone_gets_the_values_themselves():
    x = tensor(3, "u4")
    s = step([[0, 1, 7, 15, 16]], [0], [15])
    (batch,) = boundary_inputs(None, s, x)
    assert batch.wanted.tolist() == [0, 1, 6, 7, 14, 15]
    assert batch.inputs.tolist() == [[w] * 3 for w in (0, 1, 6, 7, 14, 15)]
    assert batch.reached.all()


def test_channels_of_a_step_function_alone():
    x = tensor(2, "i4", [-8, 0], [7, 3])
    s = step([[-2], [1, 3]], [-8, 0], [7, 3])
    (batch,) = boundary_inputs(None, s, x)
    assert list(zip(batch.channel.tolist(), batch.wanted.tolist(), strict=True)) == [
        (0, -3), (0, -2), (1, 0), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip
    for row, channel, wanted in zip(batch.inputs, batch.channel, batch.wanted, strict=True):
        assert row[channel] == wanted
        assert (row >= x.lo).all()
        assert (row <= x.hi).all()


def test_batches_of_a_step_function_alone(monkeypatch):
    monkeypatch.setattr(module, "_ELEMENTS", 6)
    parts = list(boundary_inputs(None, step([[1, 3, 5]], [0], [15]), tensor(3, "u4")))
    assert [p.wanted.tolist() for p in parts] == [[0, 1], [2, 3], [4, 5]]
    assert all(p.inputs.tolist() == [[w] * 3 for w in p.wanted.tolist()] for p in parts)


def test_bipolar_values_that_do_not_exist():
    (batch,) = boundary_inputs(None, step([[0]], [-1], [1]), tensor(2, "b1"))
    assert (batch.reached == (batch.inputs == batch.wanted[:, None]).all(1)).all()
