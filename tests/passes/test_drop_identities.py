# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from pass_helpers import assert_model_becomes, model, quant

from flow.ir.model import Clip, Input, Reshape, Transpose, Unary
from flow.ir.reference import evaluate
from flow.passes.drop_identities import drop_identities

X = Input("x", (2, 3))
NOTHING = {
    "identity": Unary("n", "identity", "x"),
    "reshape": Reshape("n", "x", (2, 3)),
    "transpose": Transpose("n", "x", (0, 1)),
    "clip": Clip("n", "x", -math.inf, math.inf),
}
SOMETHING = {
    "relu": Unary("n", "relu", "x"),
    "reshape": Reshape("n", "x", (3, 2)),
    "flatten": Reshape("n", "x", (6,)),
    "transpose": Transpose("n", "x", (1, 0)),
    "clip above": Clip("n", "x", -math.inf, 1.0),
    "clip below": Clip("n", "x", 1.0, math.inf),
    "clip": Clip("n", "x", -1.0, 1.0),
}


@pytest.mark.parametrize("node", NOTHING.values(), ids=NOTHING)
def test_a_node_that_does_nothing_is_bypassed(node):
    before = model(X, node, quant("y", "n"))
    assert_model_becomes(drop_identities, before, model(X, quant("y", "x")))
    frames = np.random.default_rng(0).normal(size=(20, 2, 3)) * 5
    after = drop_identities(before)
    assert np.array_equal(evaluate(before, {"x": frames})["y"], evaluate(after, {"x": frames})["y"])


@pytest.mark.parametrize("node", SOMETHING.values(), ids=SOMETHING)
def test_a_node_that_does_something_stays(node):
    graph = model(X, node, quant("y", "n"))
    assert drop_identities(graph) is graph


@pytest.mark.parametrize("node", NOTHING.values(), ids=NOTHING)
def test_the_output_keeps_its_name(node):
    graph = model(X, node)
    assert drop_identities(graph) is graph


def test_a_chain_goes_in_one_run_and_all_readers_follow():
    before = model(
        X,
        Unary("a", "identity", "x"),
        Reshape("b", "a", (2, 3)),
        Transpose("c", "b", (0, 1)),
        quant("y", "c"),
        quant("z", "b"),
        outputs=("y", "z"),
    )
    assert_model_becomes(drop_identities, before, model(X, quant("y", "x"), quant("z", "x"), outputs=("y", "z")))
