# SPDX-License-Identifier: Apache-2.0
"""Inputs made for boundaries: they are of the type, and give the sums that they say they give."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from flow.ir import boundary_inputs as module
from flow.ir.boundary_inputs import boundary_inputs, gate_inputs, terms_of
from flow.ir.dataflow import NEVER, Convolution, Dense, Gate, Pooling, Step, Sum, TensorType
from flow.ir.types import Bipolar, IntType, parse_type
from flow.ir.window import Window


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


def batches(dense, s, x, channels=1):
    """Those of an operation whose inputs are one group, without that axis."""
    for batch in boundary_inputs(terms_of(dense, (x,), channels), s):
        assert batch.aimed.all()
        yield replace(
            batch,
            inputs=batch.inputs[:, 0],
            **{field: getattr(batch, field)[:, 0] for field in ("wanted", "channel", "aimed", "reached")},
        )


def check(dense, s, x):
    """All batches: inputs of the type, sums as claimed, every boundary aimed at; the share that is reached."""
    pairs, reached = set(), []
    for batch in batches(dense, s, x):
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
        for batch in batches(dense, s, x):
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
    (whole,) = batches(dense, s, x)
    monkeypatch.setattr(module, "_ELEMENTS", 40)
    parts = list(batches(dense, s, x))
    assert all(len(part.inputs) <= 5 for part in parts)
    for field in ("inputs", "wanted", "channel", "reached"):
        assert np.concatenate([getattr(p, field) for p in parts]).tolist() == getattr(whole, field).tolist()


def test_no_boundary_inside_gives_nothing():
    dense = Dense("d", "x", np.ones((2, 1), np.int64), IntType(20, signed=True))
    outside = step([[-4, 7]], [-4], [6])
    assert sum(len(b.inputs) for b in batches(dense, outside, tensor(2, "i3"))) == 0


# ------------------------------------------------------------------------------------------ without a product


def test_a_step_function_alone_gets_the_values_themselves():
    x = tensor(3, "u4")
    s = step([[0, 1, 7, 15, 16]], [0], [15])
    (batch,) = batches(None, s, x)
    assert batch.wanted.tolist() == [0, 1, 6, 7, 14, 15]
    assert batch.inputs.tolist() == [[w] for w in (0, 1, 6, 7, 14, 15)]
    assert batch.reached.all()


def test_channels_of_a_step_function_alone():
    x = tensor(2, "i4", [-8, 0], [7, 3])
    s = step([[-2], [1, 3]], [-8, 0], [7, 3])
    (batch,) = boundary_inputs(terms_of(None, (x,), 2), s)
    assert batch.wanted[batch.aimed[:, 0], 0].tolist() == [-3, -2]
    assert batch.wanted[:, 1].tolist() == [0, 1, 2, 3]
    assert (batch.inputs[..., 0] == batch.wanted)[batch.aimed].all()
    assert (batch.inputs[..., 0] >= x.lo).all()
    assert (batch.inputs[..., 0] <= x.hi).all()


def test_bipolar_values_that_do_not_exist():
    (batch,) = batches(None, step([[0]], [-1], [1]), tensor(2, "b1"))
    assert (batch.reached == (batch.inputs[:, 0] == batch.wanted)).all()


# ------------------------------------------------------------------------------------------------ in groups

SQUARE = Window((2, 2), (1, 1), (1, 1), (0, 0), (0, 0))


def image(channels, element, rng):
    """One window of an image, with an interval for each channel."""
    kind = parse_type(element)
    ends = np.sort(rng.integers(kind.min, kind.max + 1, (2, channels)), axis=0)
    if isinstance(kind, Bipolar):
        ends = np.array([[-1] * channels, [1] * channels])
    return TensorType((2, 2, channels), kind, ends[0], ends[1])


def every_boundary(lo, hi):
    """A step function with a boundary at each sum of each channel."""
    return step([list(range(a + 1, b + 1)) for a, b in zip(lo, hi, strict=True)], lo, hi)


def check_groups(batch, sums, s):
    """What is said of the sums is so, and every boundary is aimed at once."""
    found = np.take_along_axis(sums, batch.channel, 1)
    assert ((found == batch.wanted) == batch.reached).all()
    pairs = list(zip(batch.channel[batch.aimed].tolist(), batch.wanted[batch.aimed].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == wanted_of(s)
    return batch.reached[batch.aimed]


@pytest.mark.parametrize("element", ["u2", "i4", "b1"])
@pytest.mark.parametrize(("groups", "outputs"), [(2, 4), (3, 3), (6, 6), (3, 6), (1, 2)])
def test_convolutions_in_groups(element, groups, outputs):
    rng = np.random.default_rng(groups)
    x = image(6, element, rng)
    weight = rng.integers(-3, 4, (2, 2, 6 // groups, outputs))
    op = Convolution("c", "x", weight, SQUARE, groups, 0, IntType(20, signed=True))
    s = every_boundary(*op.sum_range(x))
    (batch,) = boundary_inputs(terms_of(op, (x,), outputs), s)
    pixels = batch.inputs.reshape(-1, groups, 4, 6 // groups).transpose(0, 2, 1, 3).reshape(-1, 2, 2, 6)
    assert (pixels >= x.lo).all()
    assert (pixels <= x.hi).all()
    assert check_groups(batch, op.evaluate(pixels).reshape(-1, outputs), s).mean() > (0.3 if element == "b1" else 0.6)


@pytest.mark.parametrize("element", ["u2", "i4", "b1"])
def test_sums_of_windows_and_of_operands(element):
    rng = np.random.default_rng(0)
    x, y = image(3, element, rng), image(3, "i3", rng)
    pool = Pooling("p", "x", "sum", SQUARE, 0)
    s = every_boundary(pool.infer(x).lo, pool.infer(x).hi)
    (batch,) = boundary_inputs(terms_of(pool, (x,), 3), s)
    pixels = batch.inputs.swapaxes(1, 2).reshape(-1, 2, 2, 3)
    reached = check_groups(batch, pool.evaluate(pixels).reshape(-1, 3), s)
    assert reached.mean() == pytest.approx(0.5, abs=0.2) if element == "b1" else reached.all()

    total = Sum("s", ("x", "y"), np.array([[2, 3, -1], [1, -1, 1]]), IntType(20, signed=True))
    s = every_boundary(*total.ranges(x, y))
    (batch,) = boundary_inputs(terms_of(total, (x, y), 3), s)
    if element == "b1":
        assert (np.abs(batch.inputs[..., 0]) == 1).all()
    assert check_groups(batch, total.evaluate(batch.inputs[..., 0], batch.inputs[..., 1]), s).mean() > 0.2


@pytest.mark.parametrize("element", ["u2", "i4", "b1"])
def test_gates(element):
    rng = np.random.default_rng(1)
    x, gate = image(3, "i4", rng), image(3, element, rng)
    op = Gate("g", "x", "gate", 1, -2, IntType(20, signed=True))
    s = every_boundary(*op.ranges(x, gate))
    batch = gate_inputs(op, (x, gate), s, 3)
    pairs = batch.inputs
    assert (pairs >= np.stack([x.lo, gate.lo], 1)).all()
    assert (pairs <= np.stack([x.hi, gate.hi], 1)).all()
    check_groups(batch, op.evaluate(pairs[..., 0], pairs[..., 1]), s)
    inputs = [[range(int(t.lo[c]), int(t.hi[c]) + 1) for t in (x, gate)] for c in range(3)]
    for c, (xs, gates) in enumerate(inputs):
        gates = [-1, 1] if element == "b1" else gates
        possible = {int(op.evaluate(np.int64(a), np.int64(b))) for a in xs for b in gates}
        aimed = batch.aimed[:, c]
        assert [w in possible for w in batch.wanted[aimed, c].tolist()] == batch.reached[aimed, c].tolist()
