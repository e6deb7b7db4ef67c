# SPDX-License-Identifier: Apache-2.0
"""Functions that exporters write as several ONNX operations, found again as one.

The exporters' float32 constants stand for the numbers of the definition: 1.4142135 for the root of two, the
nearest number to 1/6 for 1/6. PyTorch's Softplus is the identity above 20, where the two differ by less than
``exp(-20)``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx

from flow.frontend import onnx_file

_CLOSE = 1e-6  # relative; float32 has 6e-8


def with_functions(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of the graph, in order, with Gelu, Swish, HardSwish and Softplus for what stands for them."""
    graph = _Nodes.of(proto)
    replaced: dict[str, onnx.NodeProto] = {}
    gone: set[str] = set()
    for node in proto.graph.node:
        for match in (_gelu, _swish, _hard_swish, _softplus):
            found = match(graph, node)
            if found is not None:
                op, x, last, between = found
                made = onnx.helper.make_node(op, [x], [last.output[0]], name=last.name)
                made.metadata_props.extend(last.metadata_props)
                replaced[last.output[0]] = made
                gone.update(between)
                break
    kept = [replaced.get(node.output[0], node) if node.output else node for node in proto.graph.node]
    return _without_unread(kept, gone, {o.name for o in proto.graph.output})


Match = tuple[str, str, onnx.NodeProto, list[str]]
"""The operation, its operand, the last node of the pattern, and the tensors between."""


@dataclass
class _Nodes:
    """Who makes and who reads every tensor."""

    maker: dict[str, onnx.NodeProto] = field(default_factory=dict)
    readers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, proto: onnx.ModelProto) -> "_Nodes":
        found = cls()
        for name, array in onnx_file.initializers(proto).items():
            if array.size == 1 and array.dtype.kind == "f":
                found.numbers[name] = float(array.reshape(-1)[0])
        for node in proto.graph.node:
            for output in node.output:
                found.maker[output] = node
            for name in dict.fromkeys(node.input):
                found.readers.setdefault(name, []).append(node)
            value = onnx_file.attributes(node).get("value") if node.op_type == "Constant" else None
            if value is not None and getattr(value, "size", 0) == 1:
                found.numbers[node.output[0]] = float(value.reshape(-1)[0])  # type: ignore[attr-defined]
        return found

    def made_by(self, name: str, op: str) -> onnx.NodeProto | None:
        node = self.maker.get(name)
        return node if node is not None and node.op_type == op and node.domain in ("", "ai.onnx") else None

    def is_number(self, name: str, number: float) -> bool:
        return name in self.numbers and math.isclose(self.numbers[name], number, rel_tol=_CLOSE)

    def scaled(self, node: onnx.NodeProto | None, factor: float) -> str | None:
        """``x`` where the node computes ``x * factor``."""
        if node is None or node.op_type not in ("Mul", "Div") or len(node.input) != 2:
            return None
        x, y = (str(name) for name in node.input)
        if self.is_number(y, factor if node.op_type == "Mul" else 1 / factor):
            return x
        return y if node.op_type == "Mul" and self.is_number(x, factor) else None


def _other(node: onnx.NodeProto, name: str) -> str:
    return str(node.input[1] if node.input[0] == name else node.input[0])


def _gelu(graph: _Nodes, node: onnx.NodeProto) -> Match | None:
    """``x``, one half and ``1 + erf(x / sqrt(2))``, multiplied in any order; the pattern is met at its Erf."""
    if node.op_type != "Erf" or len(node.input) != 1:
        return None
    inner = graph.maker.get(node.input[0])
    x = graph.scaled(inner, math.sqrt(0.5))
    if x is None or inner is None:
        return None
    current, between = node.output[0], [inner.output[0], node.output[0]]
    wanted = {"one", "x", "half"}
    while wanted:
        readers = graph.readers.get(current, [])
        if len(readers) != 1:
            return None
        (step,) = readers
        other = _other(step, current) if len(step.input) == 2 else ""
        if "one" in wanted:
            if step.op_type != "Add" or not graph.is_number(other, 1.0):
                return None
            wanted -= {"one"}
        elif graph.scaled(step, 0.5) == current and "half" in wanted:
            wanted -= {"half"}
        elif step.op_type == "Mul" and other == x and "x" in wanted:
            wanted -= {"x"}
        elif step.op_type == "Mul" and wanted == {"x", "half"} and graph.scaled(graph.maker.get(other), 0.5) == x:
            wanted = set()
            between.append(other)
        else:
            return None
        current = step.output[0]
        between.append(current)
    return "Gelu", x, graph.maker[current], between[:-1]


def _gated(graph: _Nodes, node: onnx.NodeProto, op: str) -> onnx.NodeProto | None:
    """The gate in ``Mul(x, gate(x))``."""
    if node.op_type != "Mul" or len(node.input) != 2 or node.domain not in ("", "ai.onnx"):
        return None
    for x, gate in (tuple(node.input), tuple(reversed(node.input))):
        made = graph.made_by(gate, op)
        if made is not None and made.input[0] == x:
            return made
    return None


def _swish(graph: _Nodes, node: onnx.NodeProto) -> Match | None:
    gate = _gated(graph, node, "Sigmoid")
    return None if gate is None else ("Swish", gate.input[0], node, [gate.output[0]])


def _hard_swish(graph: _Nodes, node: onnx.NodeProto) -> Match | None:
    gate = _gated(graph, node, "HardSigmoid")
    if gate is None:
        return None
    said = {attribute.name: attribute.f for attribute in gate.attribute}
    if not math.isclose(said.get("alpha", 0.2), 1 / 6, rel_tol=_CLOSE) or said.get("beta", 0.5) != 0.5:
        return None
    return "HardSwish", gate.input[0], node, [gate.output[0]]


def _softplus(graph: _Nodes, node: onnx.NodeProto) -> Match | None:
    """``Where(x > 20, x, Softplus(x))``."""
    if node.op_type != "Where" or len(node.input) != 3:
        return None
    above, soft = graph.made_by(node.input[0], "Greater"), graph.made_by(node.input[2], "Softplus")
    x = node.input[1]
    if above is None or soft is None or above.input[0] != x or soft.input[0] != x:
        return None
    if graph.numbers.get(above.input[1], 0.0) < 20:
        return None
    return "Softplus", x, node, [above.output[0], soft.output[0]]


def _without_unread(nodes: list[onnx.NodeProto], gone: set[str], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Without those nodes of the patterns that nothing else reads."""
    kept, read = [], set(outputs)
    for node in reversed(nodes):
        if not gone.issuperset(node.output) or not read.isdisjoint(node.output):
            kept.append(node)
            read.update(node.input)
    return kept[::-1]
