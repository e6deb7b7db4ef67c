# SPDX-License-Identifier: Apache-2.0
import pytest
from pass_helpers import assert_becomes, assert_contract, dataflow, dense, source, step

from flow.passes.drop_wire_steps import drop_wire_steps

X = source("x", (2,), -1, 2)
Y = step("y", "w", [[1]], 0, 1, -1, 2, "u1")


def wired(*arguments):
    return dataflow(X, step("w", "x", *arguments), Y)


BYPASSED = dataflow(X, step("y", "x", [[1]], 0, 1, -1, 2, "u1"))


@pytest.mark.parametrize(
    "arguments",
    [
        ([[0, 1, 2]], -1, 1, -1, 2, "i3"),
        ([[0, 1, 2]], -1, 1, -1, 2, "i5"),
        ([[-1, 0, 1, 2, 3]], -2, 1, -1, 2, "i4"),  # thresholds at the least input and beyond the greatest
        ([[0, 1, 2], [0, 1, 2, 9]], [-1, -1], [1, 1], [-1, -1], [2, 2], "i3"),
    ],
    ids=["same type", "wider", "thresholds outside", "channels"],
)
def test_a_wire_goes(arguments):
    assert_becomes(drop_wire_steps, wired(*arguments), BYPASSED)


@pytest.mark.parametrize(
    "arguments",
    [
        ([[0, 1, 2]], 0, 1, -1, 2, "i3"),
        ([[0, 1, 2]], 2, -1, -1, 2, "i3"),
        ([[0, 1, 2]], -1, -1, -1, 2, "i4"),
        ([[0, 1, 1]], -1, 1, -1, 2, "i3"),
        ([[0, 1]], -1, 1, -1, 2, "i3"),
        ([[0, 1, 2, 2]], -1, 1, -1, 2, "i4"),
        ([[0, 1, 2], [0, 1, 1]], [-1, -1], [1, 1], [-1, -1], [2, 2], "i3"),
        ([[0, 1, 2], [0, 1, 2]], [-1, -2], [1, 1], [-1, -1], [2, 2], "i3"),
    ],
    ids=[
        "offset",
        "falling",
        "falling from the first value",
        "double",
        "saturating",
        "double at the end",
        "second channel",
        "second start",
    ],
)
def test_what_changes_a_value_stays(arguments):
    graph = dataflow(X, step("w", "x", *arguments), step("y", "w", [[1]], 0, 1, -5, 5, "u1"))
    assert drop_wire_steps(graph) is graph


def test_an_output_stays():
    graph = dataflow(X, step("w", "x", [[0, 1, 2]], -1, 1, -1, 2, "i3"))
    assert drop_wire_steps(graph) is graph


def test_a_wire_that_narrows_the_type_stays():
    d = dense("d", "x", [[1], [0]], "i9")
    graph = dataflow(X, d, step("w", "d", [[0, 1, 2]], -1, 1, -1, 2, "i3"), Y)
    assert drop_wire_steps(graph) is graph
    wide = dataflow(X, d, step("w", "d", [[0, 1, 2]], -1, 1, -1, 2, "i9"), Y)
    after = dataflow(X, d, step("y", "d", [[1]], 0, 1, -1, 2, "u1"))
    assert_becomes(drop_wire_steps, wide, after)


def test_bipolar_numbers_as_integers():
    x = source("x", (2,), -1, 1, "b1")
    before = dataflow(x, step("w", "x", [[0, 1]], -1, 1, -1, 1, "i2"), dense("y", "w", [[1], [1]]))
    assert_becomes(drop_wire_steps, before, dataflow(x, dense("y", "x", [[1], [1]])))


def test_a_bipolar_step_on_two_neighbours_is_no_wire():
    x = source("x", (2,), -1, 0)
    graph = dataflow(x, step("w", "x", [[0]], -1, 2, -1, 0, "b1"), dense("y", "w", [[1], [1]]))
    assert drop_wire_steps(graph) is graph


def test_random_chains():
    assert_contract(drop_wire_steps, acted=0.05)
