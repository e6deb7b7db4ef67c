# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions against onnxruntime, and the functions that exporters write in pieces."""

import numpy as np
import pytest
from operation_checks import body, check, node, quantised

from flow.errors import UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.model import Binary, Clip, LeakyRelu, Unary

IMAGE = (1, 3, 4, 5)


def kinds(graph):
    return [n.kind for n in graph.nodes if isinstance(n, Unary)]


@pytest.mark.parametrize("size", [0.05, 1.0, 2.0])
@pytest.mark.parametrize(
    ("op", "attributes", "opset", "kind"),
    [
        ("Sign", {}, 13, "sign"),
        ("Softplus", {}, 13, "softplus"),
        ("Elu", {}, 13, "elu"),
        ("HardSwish", {}, 14, "hardswish"),
        ("Gelu", {}, 20, "gelu"),
        ("Gelu", {"approximate": "tanh"}, 20, "gelu_tanh"),
        ("Sigmoid", {}, 13, "sigmoid"),
        ("Tanh", {}, 13, "tanh"),
    ],
)
def test_functions(op, attributes, opset, kind, size):
    assert kinds(check(node(op, "q", **attributes), IMAGE, opset=opset, size=size)) == [kind]


def test_hard_sigmoid_and_prelu():
    for more in ({}, {"alpha": 1 / 6}, {"alpha": 0.3, "beta": 0.1}):
        graph = check(node("HardSigmoid", "q", **more), IMAGE)
        assert isinstance(graph["y"], Clip)
        assert sum(isinstance(n, Binary) for n in graph.nodes) == 2
    for slope in (np.array([0.25]), np.array([0.1, 0.2, 1.5]).reshape(3, 1, 1), np.full((1, 3, 1, 1), 0.5)):
        assert isinstance(check(node("PRelu", "q s"), IMAGE, s=slope)["y"], LeakyRelu)


def test_silu_and_hard_swish_in_pieces():
    for inputs in ("q s", "s q"):
        graph = check([node("Sigmoid", "q", "s"), node("Mul", inputs)], IMAGE)
        assert kinds(graph) == ["silu"]
        graph = check([node("HardSigmoid", "q", "s", alpha=1 / 6), node("Mul", inputs)], IMAGE)
        assert kinds(graph) == ["hardswish"]
    # another slope is another function, and a gate of another tensor is a gate
    graph = check([node("HardSigmoid", "q", "s", alpha=0.2), node("Mul", "q s")], IMAGE)
    assert kinds(graph) == []
    graph = check([node("Tanh", "q", "t"), node("Sigmoid", "t", "s"), node("Mul", "q s")], IMAGE)
    assert kinds(graph) == ["tanh", "sigmoid"]


def test_a_gate_that_is_read_elsewhere_stays():
    graph = check([node("Sigmoid", "q", "s"), node("Mul", "q s", "m"), node("Add", "m s")], IMAGE)
    assert sorted(kinds(graph)) == ["sigmoid", "silu"]


ROOT = np.array(2**0.5)
HALF, ONE = np.array(0.5), np.array(1.0)
DIVIDED = [node("Div", "q root", "d"), node("Erf", "d", "e"), node("Add", "e one", "a")]
MULTIPLIED = [node("Mul", "q inverse", "d"), node("Erf", "d", "e"), node("Add", "one e", "a")]


@pytest.mark.parametrize(
    "nodes",
    [
        [*DIVIDED, node("Mul", "q a", "m"), node("Mul", "m half")],
        [*MULTIPLIED, node("Mul", "half a", "m"), node("Mul", "m q")],
        [*DIVIDED, node("Mul", "q half", "m"), node("Mul", "m a")],
        [*DIVIDED, node("Mul", "q a", "m"), node("Div", "m two")],
    ],
)
@pytest.mark.parametrize("size", [0.1, 2.0])
def test_gelu_in_pieces(nodes, size):
    arrays = {"root": ROOT, "inverse": 1 / ROOT, "half": HALF, "one": ONE, "two": 2 * ONE}
    graph = check(nodes, IMAGE, size=size, **arrays)
    assert kinds(graph) == ["gelu"]
    assert len(graph.nodes) == 3


def test_another_erf_is_refused():
    nodes = [node("Div", "q root", "d"), node("Erf", "d", "e"), node("Add", "e one")]
    with pytest.raises(UnsupportedModelError, match="Erf 'e_Erf': this operation is not supported"):
        import_proto(quantised(body(nodes, IMAGE, {"root": ROOT, "one": ONE})))


def test_softplus_as_torch_exports_it():
    nodes = [node("Softplus", "q", "s"), node("Greater", "q t", "g"), node("Where", "g q s")]
    assert kinds(check(nodes, IMAGE, t=np.array(20.0), size=9.0)) == ["softplus"]


REFUSED = [
    (node("Elu", "q", alpha=0.5), 17, "its alpha is 0.5"),
    (node("Swish", "q", alpha=0.5), 24, "its alpha is 0.5"),
    (node("Gelu", "q", approximate="sigmoid"), 20, "its approximation is 'sigmoid'"),
    (node("PRelu", "q minus"), 17, "its least slope is -1, so it is not monotone"),
    (node("PRelu", "q four"), 17, "its slope of shape [4] does not broadcast to [1, 3, 4, 5]"),
    (node("PRelu", "q q"), 17, "its slope ('q') is computed, not constant"),
    (node("Mod", "q minus"), 17, "this operation is not supported"),
]


@pytest.mark.parametrize(("refused", "opset", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refused(refused, opset, why):
    arrays = {"minus": np.array([-1.0]), "four": np.ones(4)}
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(quantised(body([refused], IMAGE, arrays, opset)))
    (problem,) = caught.value.problems
    assert (problem.op, problem.nodes, problem.why) == (refused.op_type, (refused.name,), why)
    assert problem.remedy
