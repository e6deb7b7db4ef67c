# SPDX-License-Identifier: Apache-2.0
import pytest
from pass_helpers import assert_becomes, assert_contract, dataflow, dense, source, step

from flow.ir.dataflow import NEVER
from flow.passes.divide_common_factors import divide_common_factors

X = source("x", (2,), -3, 3)


def test_each_channel_by_its_own_factor_thresholds_rounded_up():
    d = dense("d", "x", [[2, 3, 0, -4], [4, 2, 0, 0]])
    rows = [[-7, -6, 0, 1, 3, 4], [2], [5], [-1]]
    s = step("y", "d", rows, [0, 0, 0, 0], [1, 1, 1, 1], [-19, -15, 0, -13], [19, 15, 0, 15], "u3")
    d2 = dense("d", "x", [[1, 3, 0, -1], [2, 2, 0, 0]])
    rows = [[-3, -3, 0, 1, 2, 2], [2], [5], [0]]
    s2 = step("y", "d", rows, [0, 0, 0, 0], [1, 1, 1, 1], [-9, -15, 0, -3], [9, 15, 0, 3], "u3")
    assert_becomes(divide_common_factors, dataflow(X, d, s), dataflow(X, d2, s2))
    assert (divide_common_factors(dataflow(X, d, s))["y"].thresholds == NEVER).sum() == 15


def test_falling_and_bipolar_channels():
    d = dense("d", "x", [[3], [-6]])
    s = step("y", "d", [[-4]], 1, -2, -30, 30, "b1")
    after = dataflow(X, dense("d", "x", [[1], [-2]]), step("y", "d", [[-1]], 1, -2, -10, 10, "b1"))
    assert_becomes(divide_common_factors, dataflow(X, d, s), after)


def test_one_row_of_negative_weights():
    x = source("x", (1,), -3, 3)
    before = dataflow(x, dense("d", "x", [[-3]]), step("y", "d", [[2]], 0, 1, -9, 9, "u1"))
    after = dataflow(x, dense("d", "x", [[-1]]), step("y", "d", [[1]], 0, 1, -3, 3, "u1"))
    assert_becomes(divide_common_factors, before, after)


EVEN = dense("d", "x", [[2], [4]])
Y = step("y", "d", [[3]], 0, 1, -18, 18, "u1")


@pytest.mark.parametrize(
    "graph",
    [
        dataflow(X, dense("d", "x", [[2], [3]]), Y),
        dataflow(X, EVEN, Y, outputs=("y", "d")),
        dataflow(X, EVEN, Y, step("z", "d", [[3]], 0, 1, -18, 18, "u1"), outputs=("y", "z")),
        dataflow(X, EVEN),
        dataflow(X, dense("d", "x", [[2, 2], [4, 4]]), Y),
        dataflow(X, step("y", "x", [[2]], 0, 1, -3, 3, "u1")),
        dataflow(X, dense("d", "x", [[0], [0]]), Y),
    ],
    ids=["coprime", "the sum leaves", "another reader", "no step", "channels share a step", "no product", "zero"],
)
def test_it_stays(graph):
    assert divide_common_factors(graph) is graph


def test_random_chains():
    assert_contract(divide_common_factors, acted=0.1)
