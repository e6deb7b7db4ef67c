# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from pass_helpers import assert_becomes, assert_contract, dataflow, dense, ints, source, step

from flow.ir.dataflow import verify_dataflow
from flow.passes.orient_channels import mirrored, orient_channels

X = source("x", (2,), -2, 2)
W = [[1, -2, 1], [-1, 1, 1]]  # sums in [-4, 4], [-6, 6], [-4, 4]; stored as i2
LO, HI = [-4, -6, -4], [4, 6, 4]


def test_falling_channels_are_negated_where_the_type_allows():
    d = dense("d", "x", W, "i5")
    s = step("y", "d", [[-1, 3], [0, 2], [0, 1]], [5, 0, 0], [-1, 1, -1], LO, HI, "i4")
    d2 = dense("d", "x", [[-1, -2, -1], [1, 1, -1]], "i6")
    # f(x) falls 5 4 3 at -1 and 3; of -x it rises from 3 at 1 - 3 and 1 + 1
    s2 = step("y", "d", [[-2, 2], [0, 2], [0, 1]], [3, 0, -2], [1, 1, 1], [-4, -6, -4], [4, 6, 4], "i4")
    assert_becomes(orient_channels, dataflow(X, d, s), dataflow(X, d2, s2))


def test_a_negation_that_needs_a_wider_type_is_left():
    d = dense("d", "x", W, "i5")
    s = step("y", "d", [[0], [0], [0]], [0, 0, 0], [1, -1, 1], LO, HI, "i4")
    graph = dataflow(X, d, s)  # -2 is stored as i2, +2 cannot be
    assert orient_channels(graph) is graph
    unsigned = dataflow(X, dense("d", "x", [[1], [3]]), step("y", "d", [[0]], [0], [-1], [-8], [8], "i4"))
    assert orient_channels(unsigned) is unsigned


def test_bipolar_weights_and_results():
    d = dense("d", "x", [[1], [-1]], "i5")
    s = step("y", "d", [[1]], 1, -2, -4, 4, "b1")
    after = dataflow(X, dense("d", "x", [[-1], [1]], "i6"), step("y", "d", [[0]], -1, 2, -4, 4, "b1"))
    assert_becomes(orient_channels, dataflow(X, d, s), after)


def test_thresholds_outside_and_unlike_ends():
    x = source("x", (1,), 0, 3)
    d = dense("d", "x", [[-1, 1]], "i5")
    s = step("y", "d", [[-9, -4, -1, 0, 1, 9], [2]], [5, 0], [-1, 1], [-4, 0], [1, 3], "i4")
    # channel 0 is known on [-4, 1]: 3 there (two thresholds passed), falling at -1, 0 and 1 to 0
    d2 = dense("d", "x", [[1, 1]], "i6")
    rows = [[0, 1, 2], [2]]
    s2 = step("y", "d", rows, [0, 0], [1, 1], [-1, 0], [4, 3], "i4")
    found = orient_channels(dataflow(x, d, s))
    assert found["y"].thresholds[0, 3:].tolist() == [1 << 50] * 3
    trimmed = found["y"].thresholds[:, :3]
    assert trimmed.tolist() == s2.thresholds.tolist()
    assert [a.tolist() for a in (found["y"].start, found["y"].stride, found["y"].lo, found["y"].hi)] == [
        a.tolist() for a in (s2.start, s2.stride, s2.lo, s2.hi)
    ]
    assert found["d"].same(d2)
    verify_dataflow(found)


def test_the_mirror_of_a_step_is_the_step_of_minus_x():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        lo, hi = ints(*rng.integers(-9, 0, 3)), ints(*rng.integers(0, 9, 3))
        rows = [sorted(rng.integers(-11, 11, 4).tolist()) for _ in range(3)]
        s = step("y", "x", rows, rng.integers(-3, 3, 3), rng.choice([-1, 1], 3), lo, hi, "i8")
        flip = rng.random(3) < 0.6
        turned = mirrored(s, flip)
        for c in range(3):
            x = np.arange(lo[c], hi[c] + 1)
            rows_in = np.repeat(x[:, None], 3, axis=1)
            old = s.evaluate(rows_in)[:, c]
            new = turned.evaluate(-rows_in if flip[c] else rows_in)[:, c]
            assert old.tolist() == new.tolist()
            assert turned.lo[c] == (-hi[c] if flip[c] else lo[c])
            assert turned.hi[c] == (-lo[c] if flip[c] else hi[c])


D = dense("d", "x", [[1], [-1]], "i5")
FALLING = step("y", "d", [[1]], 1, -1, -4, 4, "u1")


@pytest.mark.parametrize(
    "graph",
    [
        dataflow(X, D, step("y", "d", [[1]], 0, 1, -4, 4, "u1")),
        dataflow(X, D, FALLING, outputs=("d", "y")),
        dataflow(X, D, FALLING, step("z", "d", [[1]], 0, 1, -4, 4, "u1"), outputs=("y", "z")),
        dataflow(X, step("y", "x", [[1]], 1, -1, -4, 4, "u1")),
        dataflow(X, dense("d", "x", [[1, 1], [-1, -1]]), step("y", "d", [[1]], 1, -1, -4, 4, "u1")),
    ],
    ids=["rising", "the sum leaves", "another reader", "no product", "channels share a step"],
)
def test_it_stays(graph):
    assert orient_channels(graph) is graph


def test_random_chains():
    assert_contract(orient_channels, acted=0.1)


def test_an_accumulator_of_48_bits():
    x = source("x", (1,), -(2**31), 2**31 - 1)
    d = dense("d", "x", [[2**15 + 1, -1]], "i48")
    ends = [-(2**47)] * 2, [2**47 - 1] * 2
    graph = dataflow(x, d, step("y", "d", [[0], [0]], [1, 0], [-1, 1], *ends, "u1"))
    verify_dataflow(orient_channels(graph))
