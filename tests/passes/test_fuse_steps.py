# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from pass_helpers import assert_becomes, assert_contract, dataflow, ints, source, step

from flow.ir.dataflow import Flatten, Step, verify_dataflow
from flow.passes.fuse_steps import compose, fuse_steps

X = source("x", (2,), -8, 7)


def test_two_rising_steps():
    first = step("a", "x", [[-4, 0, 4, 6]], 0, 1, -8, 7, "u3")
    second = step("y", "a", [[1, 3, 3]], -1, 1, 0, 4, "i3")
    fused = step("y", "x", [[-4, 4, 4]], -1, 1, -8, 7, "i3")
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))


def test_falling_behind_rising_and_rising_behind_falling():
    rising = step("a", "x", [[-4, 0, 4]], 0, 1, -8, 7, "u2")
    falling = step("y", "a", [[1, 3]], 5, -1, 0, 3, "u3")
    fused = step("y", "x", [[-4, 4]], 5, -1, -8, 7, "u3")
    assert_becomes(fuse_steps, dataflow(X, rising, falling), dataflow(X, rising, fused))
    falling = step("a", "x", [[-4, 0, 4]], 3, -1, -8, 7, "u2")
    rising = step("y", "a", [[1, 3]], 2, 1, 0, 3, "u3")
    # 3 2 1 0 become 4 3 3 2
    fused = step("y", "x", [[-4, 4]], 4, -1, -8, 7, "u3")
    assert_becomes(fuse_steps, dataflow(X, falling, rising), dataflow(X, falling, fused))


def test_two_falling_steps_rise():
    first = step("a", "x", [[-4, 0]], 1, -1, -8, 7, "i2")
    second = step("y", "a", [[0, 1]], 1, -1, -1, 1, "i2")
    fused = step("y", "x", [[-4, 0]], -1, 1, -8, 7, "i2")
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))


def test_bipolar_in_the_middle_and_at_the_end():
    first = step("a", "x", [[2]], 1, -2, -8, 7, "b1")
    second = step("y", "a", [[0, 1]], 0, 1, -1, 1, "u2")
    fused = step("y", "x", [[2, 2]], 2, -1, -8, 7, "u2")
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))
    first = step("a", "x", [[-2, 3]], 0, 1, -8, 7, "u2")
    second = step("y", "a", [[2]], -1, 2, 0, 2, "b1")
    fused = step("y", "x", [[3]], -1, 2, -8, 7, "b1")
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))


@pytest.mark.parametrize("wide", ["first", "second", "both"])
def test_channels_broadcast(wide):
    one = ([[-3, 3]], 0, 1)
    two = ([[-3, 3], [0]], [0, 2], [1, -1])
    rows = two if wide in ("first", "both") else one
    interval = (-8, 7) if rows is one else ([-8, -8], [7, 7])
    first = step("a", "x", *rows, *interval, "u2")
    rows = ([[1], [2]], [0, 1], [1, -1]) if wide in ("second", "both") else ([[2]], 0, 1)
    interval = (0, 2) if wide == "first" else ([0, 0], [2, 2])
    second = step("y", "a", *rows, *interval, "u1")
    fused = {
        "first": step("y", "x", [[3], [0]], [0, 1], [1, -1], [-8, -8], [7, 7], "u1"),
        "second": step("y", "x", [[-3], [3]], [0, 1], [1, -1], [-8, -8], [7, 7], "u1"),
        "both": step("y", "x", [[-3], [0]], [0, 0], [1, 1], [-8, -8], [7, 7], "u1"),
    }[wide]
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))


def test_thresholds_outside_the_interval_are_dropped_and_count_in_the_start():
    # -8 is the least input: a threshold there is already passed; 8 is never reached
    first = step("a", "x", [[-9, -8, -7, 7, 8]], 0, 1, -8, 7, "u3")
    second = step("y", "a", [[2, 3, 4]], 0, 1, 0, 7, "u3")
    fused = step("y", "x", [[-7, 7]], 1, 1, -8, 7, "u3")
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))


def test_a_constant_second_step_leaves_no_threshold():
    first = step("a", "x", [[0]], 0, 1, -8, 7, "u1")
    second = step("y", "a", [[5]], 3, 1, 0, 1, "u3")
    fused = Step("y", "x", np.empty((1, 0), np.int64), ints(3), ints(1), ints(-8), ints(7), second.element)
    assert_becomes(fuse_steps, dataflow(X, first, second), dataflow(X, first, fused))


def test_three_in_a_row_become_one():
    a = step("a", "x", [[-4, 0, 4]], 0, 1, -8, 7, "u2")
    b = step("b", "a", [[1, 3]], 2, -1, 0, 3, "u2")
    c = step("y", "b", [[1]], 0, 1, 0, 2, "u1")
    fused_b = step("b", "x", [[-4, 4]], 2, -1, -8, 7, "u2")
    fused_c = step("y", "x", [[4]], 1, -1, -8, 7, "u1")
    assert_becomes(fuse_steps, dataflow(X, a, b, c), dataflow(X, a, fused_b, fused_c))


def test_it_leaves_alone_what_is_apart():
    first = step("a", "x", [[-3, 3]], 0, 1, -8, 7, "u2")
    graph = dataflow(X, first, Flatten("f", "a", (1, 2)), step("y", "f", [[1]], 0, 1, 0, 2, "u1"))
    assert fuse_steps(graph) is graph


def test_channels_that_do_not_match_stay():
    x = source("x", (2, 2), -8, 7)
    first = step("a", "x", [[0], [1]], [0, 0], [1, 1], [-8, -8], [7, 7], "u1")
    second = step("y", "a", [[1]] * 4, [0] * 4, [1] * 4, [0] * 4, [1] * 4, "u1")
    graph = dataflow(x, first, second)
    assert fuse_steps(graph) is graph


def test_the_interval_of_a_wide_second_step_is_the_first_ones():
    first = step("a", "x", [[0]], 0, 1, -9, 9, "u1")
    fused = compose(first, step("y", "a", [[1], [0]], [0, 0], [1, 1], [-5, 0], [9, 9], "u1"))
    assert (fused.lo.tolist(), fused.hi.tolist()) == ([-9, -9], [9, 9])
    verify_dataflow(dataflow(X, fused))


def test_random_chains():
    assert_contract(fuse_steps)
