# SPDX-License-Identifier: Apache-2.0
import numpy as np
from pass_helpers import assert_becomes, assert_contract, dataflow, dense, ints, random_dataflow, source, step

from flow.ir.dataflow import NEVER, Step, infer_types
from flow.ir.types import IntType
from flow.passes.trim_steps import trim_steps

X = source("x", (2,), -2, 3)


def test_thresholds_that_never_or_always_count_go():
    before = dataflow(X, step("y", "x", [[-9, -3, -2, -1, 3, 4]], 0, 1, -20, 20, "u3"))
    after = dataflow(X, step("y", "x", [[-1, 3]], 3, 1, -2, 3, "u3"))
    assert_becomes(trim_steps, before, after)


def test_a_falling_and_a_bipolar_step():
    before = dataflow(X, step("y", "x", [[-2, 0]], 1, -1, -4, 9, "i2"))
    assert_becomes(trim_steps, before, dataflow(X, step("y", "x", [[0]], 0, -1, -2, 3, "i2")))
    before = dataflow(X, step("y", "x", [[-3]], -1, 2, -4, 9, "b1"))
    nothing = Step("y", "x", np.empty((1, 0), np.int64), ints(1), ints(2), ints(-2), ints(3), before["y"].element)
    assert_becomes(trim_steps, before, dataflow(X, nothing))


def test_each_channel_to_its_own_interval():
    d = dense("d", "x", [[1, 5], [1, 0]])  # [-4, 6] and [-10, 15]
    before = dataflow(X, d, step("y", "d", [[-4, 5, 7], [-10, -9, 15, 16]], [0, 0], [1, 1], [-99, -99], [99, 99], "u3"))
    rows = [[5], [-9, 15]]
    after = dataflow(X, d, step("y", "d", rows, [1, 1], [1, 1], [-4, -10], [6, 15], "u3"))
    assert_becomes(trim_steps, before, after)
    assert trim_steps(before)["y"].thresholds[0, 1] == NEVER


def test_one_step_for_all_channels_takes_the_widest_interval():
    d = dense("d", "x", [[1, 5], [1, 0]])
    before = dataflow(X, d, step("y", "d", [[-10, -9, 15, 16]], 0, 1, -99, 99, "u3"))
    after = dataflow(X, d, step("y", "d", [[-9, 15]], 1, 1, -10, 15, "u3"))
    assert_becomes(trim_steps, before, after)


def test_a_step_for_each_channel_of_a_tensor_with_one_interval():
    before = dataflow(X, step("y", "x", [[0, 4], [-2, 1]], [0, 0], [1, 1], [-2, -9], [3, 3], "u3"))
    after = dataflow(X, step("y", "x", [[0], [1]], [0, 1], [1, 1], [-2, -2], [3, 3], "u3"))
    assert_becomes(trim_steps, before, after)


def test_a_column_of_never_goes():
    narrow = step("y", "x", [[0]], 0, 1, -2, 3, "u1")
    wide = Step("y", "x", ints(0, NEVER).reshape(1, 2), ints(0), ints(1), ints(-2), ints(3), IntType(1, False))
    assert_becomes(trim_steps, dataflow(X, wide), dataflow(X, narrow))


def test_an_interval_alone_is_cut_on_either_side():
    exact = dataflow(X, step("y", "x", [[0]], 0, 1, -2, 3, "u1"))
    for lo, hi in ((-3, 3), (-2, 4)):
        assert_becomes(trim_steps, dataflow(X, step("y", "x", [[0]], 0, 1, lo, hi, "u1")), exact)


def test_the_exact_step_stays():
    graph = dataflow(
        X,
        step("y", "x", [[-1, 3], [0]], [0, 0], [1, 1], [-2, -2], [3, 3], "u3"),
        step("z", "y", [[1]], 0, 1, 0, 2, "u1"),
    )
    assert trim_steps(graph) is graph


def test_random_chains():
    # a second run may trim what stands behind a step that was trimmed
    assert_contract(trim_steps, once=False)


def test_the_interval_of_every_step_is_that_of_its_input():
    for seed in range(200):
        graph = random_dataflow(seed)
        types = infer_types(graph)
        for node in trim_steps(graph).nodes:
            if isinstance(node, Step):
                x = types[node.x]
                assert node.lo.min() == x.lo.min()
                assert node.hi.max() == x.hi.max()
                inside = (node.thresholds > node.lo[:, None]) & (node.thresholds <= node.hi[:, None])
                assert (inside | (node.thresholds == NEVER)).all()
                assert inside.sum(1).max(initial=0) == node.thresholds.shape[1]
