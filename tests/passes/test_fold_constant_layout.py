# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from pass_helpers import assert_model_becomes, model, quant

from flow.ir.model import Constant, Input, MatMul, QuantizedConstant, Reshape, Transpose, Unary
from flow.ir.reference import Evaluation
from flow.passes.fold_constant_layout import fold_constant_layout

L = np.arange(6, dtype=np.int64).reshape(2, 3)


def check(before, expected):
    assert_model_becomes(fold_constant_layout, before, expected)
    after = fold_constant_layout(before)
    assert fold_constant_layout(after) is after
    a, b = Evaluation(before, {}), Evaluation(after, {})
    for name in before.outputs:
        assert all(a.number(name, at) == b.number(name, at) for at in np.ndindex(a.shapes[name]))


def test_a_transposition_is_carried_out():
    c = Constant("c", L.astype(float))
    check(model(c, Transpose("y", "c", (1, 0))), model(c, Constant("y", L.T.astype(float).copy())))


def test_a_chain_is_carried_out_at_once():
    c = Constant("c", L.astype(float))
    before = model(c, Transpose("t", "c", (1, 0)), Reshape("y", "t", (6,)))
    check(before, model(c, Constant("t", L.T * 1.0), Constant("y", np.array([0.0, 3, 1, 4, 2, 5]))))


@pytest.mark.parametrize(
    ("scale", "moved"),
    [
        (0.5, 0.5),
        ([0.5], [0.5]),
        ([[0.5]], [[0.5]]),
        ([0.5, 1.0, 2.0], [[0.5], [1.0], [2.0]]),
        ([[0.5], [1.0]], [[0.5, 1.0]]),
        (np.arange(1.0, 7.0).reshape(2, 3), np.arange(1.0, 7.0).reshape(2, 3).T),
    ],
    ids=["scalar", "one", "one by one", "columns", "rows", "each"],
)
def test_a_scale_moves_with_transposed_levels(scale, moved):
    q = QuantizedConstant("q", L, np.array(scale))
    after = model(q, QuantizedConstant("y", L.T.copy(), np.array(moved)))
    check(model(q, Transpose("y", "q", (1, 0))), after)


@pytest.mark.parametrize(
    ("scale", "moved"),
    [
        (0.5, 0.5),
        ([0.5, 1.0, 2.0], [0.5, 1.0, 2.0, 0.5, 1.0, 2.0]),
        ([[0.5], [1.0]], [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]),
    ],
    ids=["scalar", "columns", "rows"],
)
def test_a_scale_moves_with_reshaped_levels(scale, moved):
    q = QuantizedConstant("q", L, np.array(scale))
    check(model(q, Reshape("y", "q", (6,))), model(q, QuantizedConstant("y", L.reshape(6), np.array(moved))))


def test_three_axes():
    levels = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    q = QuantizedConstant("q", levels, np.array([[[1.0], [2.0], [4.0]]]))
    expected = QuantizedConstant("y", levels.transpose(2, 0, 1).copy(), np.array([[[1.0, 2.0, 4.0]]]))
    check(model(q, Transpose("y", "q", (2, 0, 1))), model(q, expected))


def test_activations_and_other_operations_on_parameters_stay():
    graph = model(
        Input("x", (2, 3)),
        Transpose("t", "x", (1, 0)),
        Reshape("r", "t", (6,)),
        Constant("c", np.ones((6, 2))),
        Unary("n", "neg", "c"),
        Transpose("nt", "n", (1, 0)),
        Transpose("u", "nt", (1, 0)),
        quant("q", "r"),
        MatMul("y", "q", "u"),
    )
    assert fold_constant_layout(graph) is graph
