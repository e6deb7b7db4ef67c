# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from pass_helpers import dataflow, dense, ints, model, quant, source, step

from flow.errors import PassError
from flow.ir.dataflow import execute, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.model import Input, MatMul, QuantizedConstant
from flow.passes.base import run_passes
from flow.passes.pipelines import DATAFLOW_PASSES, MODEL_PASSES, pass_names

X = source("x", (2,), -2, 1)
GRAPH = dataflow(X, dense("d", "x", [[1, 0], [2, 3]], "i4"), step("y", "d", [[1, 2]], 0, 1, -6, 3, "u2"))
REMEDY = "\n  what to do: this is a defect of flow; please report it with the model"
FEED = {"x": ints(1, 1, -2, 0).reshape(2, 2)}


def run(*passes, observe=lambda name, graph: None, graph=GRAPH):
    return run_passes(graph, passes, verify=verify_dataflow, probe=lambda g: dict(execute(g, FEED)), observe=observe)


def with_node(graph, name, **changes):
    return graph.map(lambda node: replace(node, **changes) if node.name == name else node)


def breaks_the_accumulator(graph):
    return with_node(graph, "d", weight=ints(1, 0, 2, 99).reshape(2, 2))


def breaks_the_wiring(graph):
    return Graph(graph.nodes[1:], graph.outputs)


def changes_a_threshold(graph):
    return with_node(graph, "y", thresholds=ints(1, 4).reshape(1, 2))


def loses_the_output(graph):
    return Graph(graph.nodes[:2], ("d",))


def reshapes_the_output(graph):
    from flow.ir.dataflow import Flatten

    d, y = graph["d"], graph["y"]
    return Graph((graph["x"], d, replace(y, name="s"), Flatten("y", "s", (1, 2))), ("y",))


def keeps(graph):
    return graph


def copies(graph):
    return Graph(graph.nodes, graph.outputs)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            breaks_the_accumulator,
            "pass 'breaks_the_accumulator' returned an invalid graph: 'd': accumulator i4 overflows: sums reach "
            "[-198, 99], which needs i9",
        ),
        (
            breaks_the_wiring,
            "pass 'breaks_the_wiring' returned an invalid graph: 'd' reads 'x', which is not defined before it",
        ),
        (
            changes_a_threshold,
            # frame 0 gives the sums 3 and 3
            "pass 'changes_a_threshold' changed the output 'y': at (0, 0) it was 2 and is 1",
        ),
        (loses_the_output, "pass 'loses_the_output' lost or reshaped the output 'y'"),
        (reshapes_the_output, "pass 'reshapes_the_output' lost or reshaped the output 'y'"),
    ],
)
def test_the_pass_that_breaks_the_graph_is_named(broken, message):
    seen = []
    with pytest.raises(PassError) as error:
        run(keeps, broken, copies, observe=lambda name, graph: seen.append(name))
    assert str(error.value) == message + REMEDY
    assert seen == ["keeps"]


def test_a_difference_in_one_element_is_placed():
    def second_channel(graph):
        return with_node(graph, "d", weight=ints(1, 0, 2, 2).reshape(2, 2))

    def flips(graph):
        y = step("y", "d", [[1, 2], [1, 2]], [0, 1], [1, 1], [-6, -6], [6, 6], "u2")
        return graph.map(lambda node: y if node.name == "y" else node)

    assert run(second_channel)["d"].weight.tolist() == [[1, 0], [2, 2]]  # the probe sees no difference
    with pytest.raises(PassError, match=r"at \(0, 1\) it was 2 and is 3"):
        run(flips)


def test_every_pass_is_observed_in_order_with_its_graph():
    seen = []
    result = run(keeps, copies, keeps, observe=lambda name, graph: seen.append((name, graph)))
    assert [name for name, _ in seen] == ["keeps", "copies", "keeps"]
    assert seen[0][1] is GRAPH
    assert seen[1][1] is not GRAPH
    assert seen[2][1] is seen[1][1] is result


def test_a_pass_that_returns_the_same_object_costs_nothing():
    calls = []
    run_passes(GRAPH, [keeps], verify=lambda g: calls.append("verify"), probe=lambda g: calls.append("probe") or {})
    assert calls == ["probe"]


def test_a_pass_may_take_out_what_is_no_output():
    def drops(graph):
        return Graph((graph["x"], replace(graph["y"], x="x")), ("y",))

    def probe(graph):
        return {name: np.zeros(3) for name in graph.by_name}

    assert "d" not in run_passes(GRAPH, [drops], verify=lambda g: None, probe=probe).by_name


def test_nothing_is_observed_by_default():
    graph = run_passes(GRAPH, [copies], verify=verify_dataflow, probe=lambda g: dict(execute(g, FEED)))
    assert graph.same(GRAPH)


@pytest.mark.parametrize("each", DATAFLOW_PASSES, ids=lambda p: p.__name__)
def test_dataflow_passes_give_back_the_same_object(each):
    assert each(GRAPH) is GRAPH


@pytest.mark.parametrize("each", MODEL_PASSES, ids=lambda p: p.__name__)
def test_model_passes_give_back_the_same_object(each):
    w = QuantizedConstant("w", np.ones((2, 2), np.int64), np.array(1.0))
    graph = model(Input("x", (2,)), quant("a", "x"), w, MatMul("m", "a", "w"), quant("y", "m"))
    assert each(graph) is graph


def test_the_names_for_dumps():
    assert pass_names() == (
        "import",
        "find_shuffles",
        "absorb_transposes",
        "merge_reshapes",
        "drop_identities",
        "quantize_early",
        "merge_pads",
        "drop_idle_quantizers",
        "quantize_constants",
        "fold_constant_layout",
        "remove_dead_nodes",
        "integerize",
        "fuse_steps",
        "drop_wire_steps",
        "fold_shuffles",
        "divide_common_factors",
        "orient_channels",
        "narrow_sums",
        "trim_steps",
        "narrow_accumulators",
    )


def test_the_order_serves_every_pass():
    from pass_helpers import assert_same_outputs, random_dataflow

    for seed in range(150):
        graph = random_dataflow(seed)
        result = graph
        for each in DATAFLOW_PASSES:
            result = each(result)
        verify_dataflow(result)
        assert_same_outputs(graph, result)
