# SPDX-License-Identifier: Apache-2.0
import pytest
from pass_helpers import (
    assert_becomes,
    assert_contract,
    assert_model_becomes,
    dataflow,
    dense,
    model,
    quant,
    source,
    step,
)

from flow.ir.model import Constant, Input, Reshape, Unary
from flow.passes.remove_dead_nodes import remove_dead_nodes

X = source("x", (2,), 0, 3)


def test_a_dead_chain_goes_and_what_both_read_stays():
    d = dense("d", "x", [[1], [2]])
    live = step("y", "d", [[4]], 0, 1, 0, 9, "u1")
    dead = [step("a", "d", [[2]], 0, 1, 0, 9, "u1"), step("b", "a", [[1]], 0, 1, 0, 1, "u1")]
    assert_becomes(remove_dead_nodes, dataflow(X, d, *dead, live, outputs=("y",)), dataflow(X, d, live))


def test_in_the_model_language_too():
    import numpy as np

    before = model(Input("x", (2,)), Constant("c", np.ones(3)), Reshape("r", "x", (1, 2)), quant("y", "x"))
    assert_model_becomes(remove_dead_nodes, before, model(Input("x", (2,)), quant("y", "x")))


@pytest.mark.parametrize("outputs", [("a", "y"), ("y", "a")])
def test_every_output_counts_as_read(outputs):
    graph = model(Input("x", (2,)), quant("a", "x"), Unary("n", "neg", "x"), quant("y", "n"), outputs=outputs)
    assert remove_dead_nodes(graph) is graph


def test_random_chains_have_no_dead_node():
    assert_contract(remove_dead_nodes, range(50), acted=0)
