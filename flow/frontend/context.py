# SPDX-License-Identifier: Apache-2.0
"""What is known while a file is read, and what the handlers of ONNX operations share.

A handler adds nodes to the context, or raises ``Refused`` with the reason and a remedy. Arrays that are known
at import (``context.known``) are moved about at once; arithmetic on float parameters is not done at import,
since it could round: it stays in the graph, which evaluates exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from flow.ir.model import Constant, ModelOp, Reshape, Shape, Transpose
from flow.ir.types import Reals

Attributes: TypeAlias = Mapping[str, Any]
Array: TypeAlias = NDArray[Any]


class Refused(Exception):  # noqa: N818 - not an error of this program: the importer collects them
    """A node cannot be converted."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Integers:
    """What a QuantizeLinear, and a Clip behind it, make of ``x``; ``value`` is the Quant, once it is there."""

    x: str
    scale: Reals
    zero_point: Reals
    lo: int
    hi: int
    value: str = ""


@dataclass
class Context:
    """What is known while the nodes of a file are read in order.

    Attributes:
        opset: Version of the standard operators.
        known: Arrays whose values are known: initializers, and what was moved about.
        nodes: The model so far.
        shapes: Of every tensor that is a node: of one frame, or of the parameter.
        moving: The tensors that depend on the input.
        poisoned: The tensors that could not be made.
        read: The tensors that some node, or the caller, reads.
        integers: The tensors between QuantizeLinear and DequantizeLinear.
    """

    opset: int
    known: dict[str, Array]
    nodes: list[ModelOp]
    shapes: dict[str, Shape] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)
    poisoned: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    integers: dict[str, Integers] = field(default_factory=dict)

    def declare(self, name: str, shape: Shape) -> None:
        """Makes the input known."""
        self.shapes[name] = shape
        self.moving.add(name)

    def add(self, node: ModelOp, shape: Shape) -> str:
        self.nodes.append(node)
        self.shapes[node.name] = shape
        if any(name in self.moving for name in node.inputs):
            self.moving.add(node.name)
        return node.name

    def operand(self, name: str) -> str:
        """The tensor ``name`` as a node, made from its array where it is known."""
        if name not in self.known and name not in self.shapes:
            raise Refused(f"'{name}' is defined nowhere", "export the model again")
        if name in self.known and name not in self.shapes:
            array = self.known[name]
            if array.dtype.kind not in "fiub":
                raise Refused(f"'{name}' holds {array.dtype}", "use numbers")
            if not bool(np.isfinite(array).all()):
                raise Refused(f"'{name}' holds NaN or infinite numbers", "train again; the parameters have diverged")
            self.add(Constant(name, array.astype(np.float64)), array.shape)
        return name

    def array(self, name: str, what: str) -> Array:
        """The value of a parameter that must be known."""
        if name not in self.known:
            raise Refused(f"its {what} ('{name}') is computed, not constant", f"export with a constant {what}")
        return self.known[name]

    def numbers(self, attributes: Attributes, name: str, inputs: Sequence[str], place: int) -> list[int] | None:
        """Whole numbers that old operator sets have as an attribute and new ones as an input; None without either."""
        if name in attributes:
            return [int(v) for v in np.atleast_1d(attributes[name])]
        if len(inputs) > place and inputs[place]:
            return [int(v) for v in self.array(inputs[place], name).reshape(-1)]
        return None

    def parameter(self, name: str, what: str) -> str:
        """A tensor that does not depend on the input, as a node."""
        if name in self.moving:
            raise Refused(f"its {what} ('{name}') depend on the input", f"only constant {what} are supported")
        return self.operand(name)

    def reshaped(self, name: str, x: str, shape: Shape) -> str:
        return self.add(Reshape(name, x, shape), shape)

    def transposed(self, name: str, x: str, order: tuple[int, ...]) -> str:
        return self.add(Transpose(name, x, order), tuple(self.shapes[x][axis] for axis in order))

    def channels_last(self, x: str) -> str:
        """An activation (channels, *spatial) as (*spatial, channels); all its readers share the transpose."""
        name = f"{x}:last"
        if name in self.shapes:
            return name
        return self.transposed(name, x, (*range(1, len(self.shapes[x])), 0))

    def channels_first(self, output: str, x: str) -> str:
        """The way back."""
        rank = len(self.shapes[x])
        return self.transposed(output, x, (rank - 1, *range(rank - 1)))

    def frame_axis(self, x: str, axis: int) -> int:
        """An axis of ONNX as an axis of the frame, or of the parameter."""
        lead = 1 if x in self.moving else 0
        rank = len(self.shapes[x]) + lead
        if not -rank <= axis < rank:
            raise Refused(f"axis {axis} is not an axis of {[1] * lead + list(self.shapes[x])}", "check the export")
        axis %= rank
        if lead and axis == 0:
            raise Refused("it works along axis 0, which mixes frames of a batch", "leave the batch axis alone")
        return axis - lead

    def activation(self, name: str) -> str:
        """A tensor that depends on the input."""
        if name not in self.moving:
            raise Refused("it does not depend on the model's input", "remove it, or fold it into a constant")
        return name


def frame_array(array: Array, rank: int, what: str) -> Reals:
    """A parameter without the batch axis, so that it broadcasts to frames of that rank."""
    while array.ndim > rank:
        if array.shape[0] != 1:
            raise Refused(
                f"its {what} has shape {list(array.shape)}, which mixes frames of a batch",
                f"give the {what} a leading dimension of 1",
            )
        array = array[0]
    return array.astype(np.float64)


Handler: TypeAlias = Callable[[Context, onnx.NodeProto, Attributes], None]
