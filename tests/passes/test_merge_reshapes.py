# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from pass_helpers import assert_model_becomes, model, quant

from flow.ir.model import Constant, Input, Reshape, Transpose, Unary
from flow.ir.reference import evaluate
from flow.passes.merge_reshapes import merge_reshapes

X = Input("x", (2, 6))


def test_two_reshapes_become_one_and_the_first_is_left_to_others():
    before = model(X, Reshape("a", "x", (12,)), Reshape("b", "a", (3, 4)), quant("y", "b"))
    after = model(X, Reshape("a", "x", (12,)), Reshape("b", "x", (3, 4)), quant("y", "b"))
    assert_model_becomes(merge_reshapes, before, after)
    frames = np.random.default_rng(0).normal(size=(9, 2, 6)) * 4
    assert np.array_equal(evaluate(before, {"x": frames})["y"], evaluate(after, {"x": frames})["y"])
    assert merge_reshapes(after) is after


def test_an_output_is_merged_too():
    before = model(X, Reshape("a", "x", (12,)), Reshape("b", "a", (4, 3)), outputs=("a", "b"))
    after = model(X, Reshape("a", "x", (12,)), Reshape("b", "x", (4, 3)), outputs=("a", "b"))
    assert_model_becomes(merge_reshapes, before, after)


def test_parameters_are_merged_like_activations():
    c = Constant("c", np.arange(6.0))
    before = model(c, Reshape("a", "c", (2, 3)), Reshape("b", "a", (3, 2)))
    assert_model_becomes(merge_reshapes, before, model(c, Reshape("a", "c", (2, 3)), Reshape("b", "c", (3, 2))))


@pytest.mark.parametrize(
    "nodes",
    [
        [Reshape("a", "x", (12,))],
        [Reshape("a", "x", (3, 4)), Transpose("b", "a", (1, 0)), Reshape("c", "b", (12,))],
        [Transpose("a", "x", (1, 0)), Reshape("b", "a", (12,))],
        [Reshape("a", "x", (12,)), Unary("b", "relu", "a"), Reshape("c", "b", (3, 4))],
        [Reshape("a", "x", (12,)), Reshape("b", "x", (3, 4))],
    ],
)
def test_what_is_not_two_reshapes_in_a_row_stays(nodes):
    graph = model(X, *nodes)
    assert merge_reshapes(graph) is graph
