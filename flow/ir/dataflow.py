# SPDX-License-Identifier: Apache-2.0
"""The dataflow language: integers only, and blocks that become hardware.

``evaluate`` of each operation is the specification of its hardware, bit for bit. Arrays are (frames, *shape);
channels lie along the last axis, and element ``i`` of a frame (in row-major order) is in channel
``i % channels``. What depends on parallelism is in the plan, not here.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from flow.errors import VerifyError
from flow.ir.functions import NEVER, Lookup, Step
from flow.ir.graph import Graph, Node
from flow.ir.joins import Concatenation, Gate, Sum
from flow.ir.moves import ChannelShuffle, Flatten, Padding, PixelShuffle, PixelUnshuffle, Repeat, Selection
from flow.ir.parts import over_parts
from flow.ir.products import Convolution, Dense, Pooling
from flow.ir.tensor_type import Shape, TensorType, over_channels, padded_type
from flow.ir.types import MAX_BITS, ElementType, Ints

_FEW = 4  # frames that are evaluated at once in any case
_ELEMENTS = 1 << 22  # of all tensors of a part: some ten MB each time

__all__ = [
    "DATAFLOW_OPS",
    "NEVER",
    "ChannelShuffle",
    "Concatenation",
    "Convolution",
    "DataflowGraph",
    "DataflowOp",
    "Dense",
    "Flatten",
    "Gate",
    "Lookup",
    "Padding",
    "PixelShuffle",
    "PixelUnshuffle",
    "Pooling",
    "Product",
    "Repeat",
    "Selection",
    "Shape",
    "Source",
    "Step",
    "Sum",
    "TensorType",
    "execute",
    "infer_types",
    "over_channels",
    "padded_type",
    "product_before",
    "verify_dataflow",
]


@dataclass(frozen=True, eq=False)
class Source(Node):
    """The integers that arrive, one frame at a time; ``lo`` and ``hi`` are (1,) or one for each channel."""

    shape: Shape
    element: ElementType
    lo: Ints
    hi: Ints

    def infer(self) -> TensorType:
        return TensorType(self.shape, self.element, self.lo, self.hi)

    def verify(self) -> None:
        if int(self.lo.min()) < self.element.min or int(self.hi.max()) > self.element.max:
            raise VerifyError(f"'{self.name}': values in [{self.lo.min()}, {self.hi.max()}] do not fit {self.element}")


Product: TypeAlias = Dense | Convolution
DataflowOp: TypeAlias = (
    Source
    | Dense
    | Convolution
    | Pooling
    | Sum
    | Gate
    | Concatenation
    | Selection
    | Padding
    | Repeat
    | PixelShuffle
    | PixelUnshuffle
    | ChannelShuffle
    | Step
    | Lookup
    | Flatten
)
DataflowGraph: TypeAlias = Graph[DataflowOp]
DATAFLOW_OPS: tuple[type[DataflowOp], ...] = (
    Source,
    Dense,
    Convolution,
    Pooling,
    Sum,
    Gate,
    Concatenation,
    Selection,
    Padding,
    Repeat,
    PixelShuffle,
    PixelUnshuffle,
    ChannelShuffle,
    Step,
    Lookup,
    Flatten,
)


def product_before(step: Step, graph: DataflowGraph) -> Product | None:
    """The product that a step reads, channel by channel, if nothing else sees its sums; else None."""
    product = graph[step.x]
    if not isinstance(product, Dense | Convolution) or product.name in graph.outputs:
        return None
    if graph.users[product.name] != (step,):
        return None
    return product if step.channels == product.weight.shape[-1] else None


def infer_types(graph: DataflowGraph) -> dict[str, TensorType]:
    """The type and the interval of every tensor."""
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        types[node.name] = node.infer(*(types[name] for name in node.inputs))
    return types


def verify_dataflow(graph: DataflowGraph) -> None:
    """The rules of the dataflow language; every violation is listed."""
    graph.check_wiring()
    problems: list[str] = []
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        try:
            operands = [types[name] for name in node.inputs]
            node.verify(*operands)
            types[node.name] = node.infer(*operands)
        except VerifyError as error:
            problems.append(str(error))
            break  # what follows would only repeat it
        element = types[node.name].element
        if element.bits > MAX_BITS:
            problems.append(f"'{node.name}': {element} is wider than {MAX_BITS} bits")
    if problems:
        raise VerifyError("\n".join(problems))


def execute(graph: DataflowGraph, feeds: dict[str, Ints], *, keep: bool = False) -> dict[str, Ints]:
    """Every output (with ``keep`` every tensor) for a batch of integers, (frames, *shape).

    Frames do not depend on each other: those of large batches are evaluated in parts, on all cores, and without
    ``keep`` the memory that this takes does not grow with the batch.
    """
    frames = len(next(iter(feeds.values())))
    if frames <= _FEW:
        return _evaluated(graph, feeds, keep)[0]
    first, size = _evaluated(graph, {name: x[:1] for name, x in feeds.items()}, keep)
    found = {name: np.empty((frames, *value.shape[1:]), np.int64) for name, value in first.items()}

    def evaluate(part: slice) -> None:
        for name, value in _evaluated(graph, {name: x[part] for name, x in feeds.items()}, keep)[0].items():
            found[name][part] = value

    over_parts(evaluate, frames, size, _ELEMENTS)
    return found


def _evaluated(graph: DataflowGraph, feeds: dict[str, Ints], keep: bool) -> tuple[dict[str, Ints], int]:
    """The outputs, or all tensors, and the number of elements of all tensors."""
    values: dict[str, Ints] = {}
    size = 0
    for node in graph.nodes:
        if isinstance(node, Source):
            values[node.name] = feeds[node.name]
        else:
            values[node.name] = node.evaluate(*(values[name] for name in node.inputs))
        size += values[node.name].size
        if not keep:
            for name in set(node.inputs) - set(graph.outputs):
                if graph.users[name][-1] is node:
                    del values[name]
    return values if keep else {name: values[name] for name in graph.outputs}, size
