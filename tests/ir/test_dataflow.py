# SPDX-License-Identifier: Apache-2.0
"""What the operations compute, and that inferred intervals are the reached ones, by trying every input."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from flow.errors import VerifyError
from flow.ir import dataflow, parts
from flow.ir.dataflow import (
    NEVER,
    Dense,
    Flatten,
    Lookup,
    Source,
    Step,
    TensorType,
    execute,
    infer_types,
    verify_dataflow,
)
from flow.ir.graph import Graph
from flow.ir.parts import over_parts
from flow.ir.types import Bipolar, IntType, parse_type


def ints(*values):
    return np.array(values, np.int64)


def tensor(shape, element, lo, hi):
    return TensorType(shape, parse_type(element), np.atleast_1d(lo), np.atleast_1d(hi))


def source(shape, element, lo, hi):
    return Source("x", shape, parse_type(element), np.atleast_1d(lo), np.atleast_1d(hi))


def step(rows, start, stride, lo, hi, element="i8", name="y", x="x"):
    arrays = [np.atleast_1d(np.array(a, np.int64)) for a in (start, stride, lo, hi)]
    return Step(name, x, np.array(rows, np.int64).reshape(len(rows), -1), *arrays, parse_type(element))


def all_inputs(t):
    unit = 2 if isinstance(t.element, Bipolar) else 1
    lo, hi = np.resize(t.lo, t.size), np.resize(t.hi, t.size)
    ranges = [range(a, b + 1, unit) for a, b in zip(lo.tolist(), hi.tolist(), strict=True)]
    return np.array(list(itertools.product(*ranges)), np.int64).reshape(-1, *t.shape)


def assert_reached(found, values):
    """The interval of each channel is exactly the least and greatest value of that channel."""
    rows = values.reshape(-1, found.lo.size)
    assert (found.lo.tolist(), found.hi.tolist()) == (rows.min(0).tolist(), rows.max(0).tolist())


# ----------------------------------------------------------------------------------------------------- Dense


@pytest.mark.parametrize("seed", range(12))
def test_dense_sums_and_intervals(seed):
    rng = np.random.default_rng(seed)
    shape = [(3,), (2, 2)][seed % 2]
    x = tensor(shape, "b1", -1, 1) if seed % 3 == 0 else tensor(shape, "i4", *sorted(rng.integers(-3, 4, 2)))
    if seed % 5 == 4:
        lo = rng.integers(-2, 1, shape[-1])
        x = tensor(shape, "i4", lo, lo + rng.integers(0, 3, shape[-1]))
    weight = rng.integers(-4, 5, (shape[-1], 3))
    node = Dense("d", "x", weight, IntType(12, signed=True))
    inputs = all_inputs(x)
    sums = node.evaluate(inputs)
    by_hand = [
        [sum(int(v) * int(w) for v, w in zip(row, column, strict=True)) for column in weight.T]
        for row in inputs.reshape(-1, shape[-1])
    ]
    assert sums.reshape(-1, 3).tolist() == by_hand
    found = node.infer(x)
    assert (found.shape, found.element) == ((*shape[:-1], 3), node.acc)
    assert_reached(found, sums)
    # every partial sum, in any order: every subset of the terms
    terms = inputs.reshape(-1, shape[-1], 1) * weight
    subsets = np.array(list(itertools.product([0, 1], repeat=shape[-1])))
    partial = np.einsum("sk,nkc->nsc", subsets, terms)
    assert node.partial_range(x) == (partial.min(), partial.max())


@pytest.mark.parametrize(
    ("x", "w"),
    [
        (2**11, 2**11),
        (2**12, 2**12 - 1),
        (2**12 + 1, 2**12 + 1),
        (2**26 + 1, 2**26 + 1),
        (2**27 + 1, 2**27 + 1),
        (2**31 - 1, 2**30 + 1),
    ],
)
def test_dense_is_exact_at_every_size(x, w):
    weight = np.array([[w, 1, -w], [w, -1, 1], [1, 0, -1]], np.int64)
    inputs = ints(x, -x, 1, x, x - 1, -1, -x, 3, x - 2).reshape(3, 3)
    expected = [[sum(int(a) * int(b) for a, b in zip(r, c, strict=True)) for c in weight.T] for r in inputs]
    assert Dense("d", "x", weight, IntType(48, signed=True)).evaluate(inputs).tolist() == expected


def test_dense_of_nothing():
    assert Dense("d", "x", np.zeros((2, 0), np.int64), IntType(1, False)).evaluate(
        np.zeros((0, 2), np.int64)
    ).shape == (0, 0)


def test_the_type_of_stored_weights():
    acc = IntType(9, signed=True)
    assert str(Dense("d", "x", ints(-1, 1).reshape(2, 1), acc).weight_type) == "b1"
    assert str(Dense("d", "x", ints(-3, 1).reshape(2, 1), acc).weight_type) == "i3"


# ------------------------------------------------------------------------------------------------------ Step


def test_step_counts_thresholds():
    x = ints(-3, -2, -1, 0, 1, 2, 3).reshape(-1, 1)
    assert step([[-1, 2, 2]], 5, 1, -3, 3).evaluate(x)[:, 0].tolist() == [5, 5, 6, 6, 6, 8, 8]
    assert step([[-1, 2, NEVER]], 5, -1, -3, 3).evaluate(x)[:, 0].tolist() == [5, 5, 4, 4, 4, 3, 3]
    assert step([[0]], -1, 2, -3, 3, "b1").evaluate(x)[:, 0].tolist() == [-1, -1, -1, 1, 1, 1, 1]


@pytest.mark.parametrize("boundaries", [1, 32, 33, 300])
@pytest.mark.parametrize("channels", [1, 3])
def test_step_and_lookup_at_many_thresholds(boundaries, channels):
    """More elements than are worked on at once; few thresholds are compared, many are searched."""
    rng = np.random.default_rng(boundaries)
    thresholds = np.sort(rng.integers(-60, 60, (channels, boundaries)), axis=1)
    values = rng.integers(-99, 99, (channels, boundaries + 1))
    x = rng.integers(-70, 70, (4, 3, 5000, channels))
    start, stride = rng.integers(-9, 9, channels), rng.choice(np.array([-1, 1]), channels)
    node = step(thresholds, start, stride, [-70] * channels, [70] * channels, "i16")
    lookup = Lookup("l", "x", thresholds, values, node.lo, node.hi, node.element)
    stepped, looked_up = node.evaluate(x), lookup.evaluate(x)
    for value, c in itertools.product(range(-70, 70), range(channels)):
        reached = sum(int(t) <= value for t in thresholds[c])
        here = x[..., c] == value
        assert (stepped[..., c][here] == start[c] + stride[c] * reached).all()
        assert (looked_up[..., c][here] == values[c, reached]).all()


def test_step_channels_run_along_the_last_axis_and_around_the_frame():
    node = step([[0], [10], [20]], [0, 0, 0], [1, 1, -1], [-99] * 3, [99] * 3)
    x = np.array([[[0, 9, 19], [-1, 10, 20]]])
    assert node.evaluate(x).tolist() == [[[1, 0, 0], [0, 1, -1]]]
    whole = step([[0], [1], [2], [3], [4], [5]], [0] * 6, [1] * 6, [-9] * 6, [9] * 6)
    assert whole.evaluate(np.full((1, 2, 3), 3)).tolist() == [[[1, 1, 1], [1, 0, 0]]]


@pytest.mark.parametrize("seed", range(20))
def test_step_intervals(seed):
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 4))
    lo = rng.integers(-6, 1, channels)
    hi = lo + rng.integers(0, 7, channels)
    stride = rng.choice([-1, 1], channels)
    node = step(np.sort(rng.integers(-8, 9, (channels, 4)), axis=1), rng.integers(-5, 5, channels), stride, lo, hi)
    x = tensor((channels,), "i4", lo, hi)
    node.verify(x)
    found = node.infer(x)
    assert (found.shape, found.element) == ((channels,), node.element)
    for c in range(channels):
        values = node.evaluate(np.arange(lo[c], hi[c] + 1)[:, None].repeat(channels, 1))[:, c]
        assert (found.lo[c], found.hi[c]) == (values.min(), values.max())
        assert (node.ends()[0][c], node.ends()[1][c]) == (values[0], values[-1])


# --------------------------------------------------------------------------------------- Flatten and Source


@pytest.mark.parametrize(
    ("shape", "target", "lo", "expected"),
    [
        ((2, 3), (6,), [-3], [-3]),
        ((2, 3), (6,), [-3, -2, -1], [-3, -2, -1, -3, -2, -1]),
        ((2, 3), (2, 3), [-3, -2, -1], [-3, -2, -1]),
        ((4, 3), (2, 2, 3), [-3, -2, -1], [-3, -2, -1]),
        ((2, 3), (3, 2), [-3, -2, -1], [-3]),
        ((2, 3), (6, 1), [-3, -2, -1], [-3]),
    ],
)
def test_flatten(shape, target, lo, expected):
    x = tensor(shape, "i4", np.array(lo), np.array(lo) + 4)
    node = Flatten("f", "x", target)
    found = node.infer(x)
    assert (found.shape, found.element) == (target, x.element)
    assert found.lo.tolist() == expected
    assert found.hi.tolist() == ([e + 4 for e in expected] if len(expected) > 1 or len(lo) == 1 else [3])
    values = np.arange(12 * 2).reshape(2, *shape) if np.prod(shape) == 12 else np.arange(12).reshape(2, *shape)
    assert node.evaluate(values).reshape(-1).tolist() == values.reshape(-1).tolist()
    assert node.evaluate(values).shape == (2, *target)


def test_source_says_what_it_is_told():
    node = source((2,), "u4", ints(0, 3), ints(5, 9))
    found = node.infer()
    assert (found.shape, str(found.element), found.lo.tolist(), found.hi.tolist()) == ((2,), "u4", [0, 3], [5, 9])
    assert found.size == 2


def test_arrays_are_read_only():
    for node in (
        step([[0]], 0, 1, -1, 1),
        Dense("d", "x", np.ones((1, 1), np.int64), IntType(2, True)),
        source((1,), "u1", 0, 1),
    ):
        for array in (v for v in vars(node).values() if isinstance(v, np.ndarray)):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


# ------------------------------------------------------------------------------------------------- the graph

X = source((2,), "i3", -4, 3)
D = Dense("d", "x", ints(1, -2, 3, 0).reshape(2, 2), IntType(5, signed=True))  # sums in [-16, 12] and [-6, 8]
Y = step([[0], [1]], [0, 0], [1, 1], [-16, -6], [12, 8], "u1", x="d")
GOOD = Graph((X, D, Flatten("f", "d", (1, 2)), replace(Y, x="f")), ("y",))


def test_execute_and_infer():
    verify_dataflow(GOOD)
    x = ints(1, -1, 3, 2).reshape(2, 2)
    values = execute(GOOD, {"x": x}, keep=True)
    assert list(values) == ["x", "d", "f", "y"]
    assert values["d"].tolist() == [[-2, -2], [9, -6]]
    assert values["y"].tolist() == [[[0, 0]], [[1, 0]]]
    assert list(execute(GOOD, {"x": x})) == ["y"]
    assert list(infer_types(GOOD)) == ["x", "d", "f", "y"]


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    monkeypatch.setattr(dataflow, "_ELEMENTS", 40)  # the tensors of a frame have 8 elements: five frames in a part
    taken = []

    def recorded(work, *sizes):
        def part_of_work(part):
            taken.append(part)
            work(part)

        over_parts(part_of_work, *sizes)

    monkeypatch.setattr(dataflow, "over_parts", recorded)
    monkeypatch.setattr(parts, "cores", lambda: 2)
    x = np.random.default_rng(1).integers(-4, 4, (23, 2))
    frame_by_frame = [execute(GOOD, {"x": frame[None]}, keep=True) for frame in x]
    for keep in (False, True):
        found = execute(GOOD, {"x": x}, keep=keep)
        assert list(found) == (["x", "d", "f", "y"] if keep else ["y"])
        for name, values in found.items():
            assert np.array_equal(values, np.concatenate([frame[name] for frame in frame_by_frame]))
    assert sorted((part.start, part.stop) for part in taken) == sorted(
        2 * [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    )
    assert execute(GOOD, {"x": x[:0]})["y"].shape == (0, 1, 2)


def test_what_a_part_raises_is_raised():
    def work(part):
        if part.start == 4:
            raise ValueError("in the third part")

    with pytest.raises(ValueError, match="in the third part"):
        over_parts(work, 7, 1, 2)


WRONG = {
    "source": ((source((2,), "u2", 0, 4),), "'x': values in [0, 4] do not fit u2"),
    "source below": ((source((2,), "u2", ints(-1, 0), ints(3, 3)),), "'x': values in [-1, 3] do not fit u2"),
    "rows": ((source((3,), "u2", 0, 3), D), "'d': 2 rows of weights for an input of shape (3,)"),
    "no axis": ((source((), "u2", 0, 3), D), "'d': 2 rows of weights for an input of shape ()"),
    "overflow": (
        (X, replace(D, acc=IntType(4, signed=True))),
        "'d': accumulator i4 overflows: sums reach [-16, 12], which needs i5",
    ),
    "overflow below": (
        (X, replace(D, acc=IntType(5, signed=False))),
        "'d': accumulator u5 overflows: sums reach [-16, 12], which needs i5",
    ),
    "overflow above": (
        (X, replace(D, weight=ints(-4, 0).reshape(2, 1))),
        "'d': accumulator i5 overflows: sums reach [-12, 16], which needs i6",
    ),
    "overflow on the way": (
        (source((2,), "u1", 1, 1), Dense("d", "x", ints(2, -2).reshape(2, 1), IntType(2, True))),
        "'d': accumulator i2 overflows: sums reach [-2, 2], which needs i3",
    ),
    "channels": (
        (X, step([[0]] * 3, [0] * 3, [1] * 3, [-9] * 3, [9] * 3)),
        "'y': 3 channels for an input of shape (2,)",
    ),
    "channels of another axis": (
        (source((2, 3), "i3", -4, 3), step([[0]] * 2, [0] * 2, [1] * 2, [-9] * 2, [9] * 2)),
        "'y': 2 channels for an input of shape (2, 3)",
    ),
    "order": ((X, step([[0, 1, 0]], 0, 1, -4, 3)), "'y': thresholds are not in order"),
    "stride": ((X, step([[0]], 0, 2, -4, 3)), "'y': strides must be 1 or -1 for i8"),
    "stride of zero": ((X, step([[0]], 0, 0, -4, 3)), "'y': strides must be 1 or -1 for i8"),
    "bipolar stride": ((X, step([[0]], -1, 1, -4, 3, "b1")), "'y': strides must be 2 or -2 for b1"),
    "interval below": ((X, step([[0]], 0, 1, -3, 3)), "'y': its input leaves the interval for which it is known"),
    "interval above": ((X, step([[0]], 0, 1, -4, 2)), "'y': its input leaves the interval for which it is known"),
    "interval of a channel": (
        (X, D, replace(Y, lo=ints(-16, -5))),
        "'y': its input leaves the interval for which it is known",
    ),
    "interval of the other channel": (
        (X, D, replace(Y, hi=ints(11, 8))),
        "'y': its input leaves the interval for which it is known",
    ),
    "one interval for all channels": (
        (X, D, step([[0]], 0, 1, -15, 99, x="d")),
        "'y': its input leaves the interval for which it is known",
    ),
    "one interval above": (
        (X, D, step([[0]], 0, 1, -16, 11, x="d")),
        "'y': its input leaves the interval for which it is known",
    ),
    "result": ((X, step([[0, 1]], 2, 1, -4, 3, "u2")), "'y': values in [2, 4] do not fit u2"),
    "falling result": ((X, step([[0, 1]], 1, -1, -4, 3, "u2")), "'y': values in [-1, 1] do not fit u2"),
    "flatten": ((X, Flatten("f", "x", (3,))), "'f': (2,) cannot become (3,)"),
    "width": (
        (source((1,), "i49", 0, 1),),
        "'x': i49 is wider than 48 bits",
    ),
    "twice": ((X, X), "'x' is defined twice"),
    "order of nodes": ((D, X), "'d' reads 'x', which is not defined before it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_violations_whole(case):
    nodes, message = WRONG[case]
    with pytest.raises(VerifyError) as error:
        verify_dataflow(Graph(nodes, (nodes[-1].name,)))
    assert str(error.value) == message


def test_several_violations_are_listed():
    with pytest.raises(VerifyError) as error:
        verify_dataflow(Graph((D, D), ("z",)))
    reads = "'d' reads 'x', which is not defined before it"
    assert str(error.value) == f"{reads}\n{reads}\n'd' is defined twice\noutput 'z' is not defined"
    wide = IntType(50, signed=True)
    graph = Graph((source((2,), "i49", -4, 3), replace(D, acc=wide), replace(Y, lo=ints(0, 0))), ("y",))
    with pytest.raises(VerifyError) as error:
        verify_dataflow(graph)
    assert str(error.value) == (
        "'x': i49 is wider than 48 bits\n'd': i50 is wider than 48 bits\n"
        "'y': its input leaves the interval for which it is known"
    )


def test_valid_ones():
    verify_dataflow(Graph((X, D, Y), ("y", "d")))
    verify_dataflow(Graph((X, D, step([[0]], 0, 1, -16, 12, x="d")), ("y",)))
    verify_dataflow(Graph((X, step([[0, 3]], 0, 1, -4, 3, "u2"), step([[2]], 1, -2, 0, 2, "b1", "z", "y")), ("z",)))
    verify_dataflow(Graph((source((2, 3), "i3", -4, 3), step([[0]] * 6, [0] * 6, [1] * 6, [-9] * 6, [9] * 6)), ("y",)))
    verify_dataflow(Graph((source((2,), "i48", -(2**47), 2**47 - 1),), ("x",)))
