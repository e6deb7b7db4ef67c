# SPDX-License-Identifier: Apache-2.0
"""The model language: what the file said, normalised. Tensors are real-valued; scales are exact.

Shapes are those of one frame: the batch axis is implicit, in front of every tensor that depends on an
``Input``. Tensors that do not (weights and other parameters) have no such axis. ``flow.ir.reference``
evaluates a graph of this language in exact arithmetic.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from flow.errors import VerifyError
from flow.ir.graph import Graph, Node
from flow.ir.rounding import Rounding
from flow.ir.types import Bipolar, ElementType, Ints, IntType, Reals

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Input(Node):
    """A tensor that the caller supplies, one per frame."""

    shape: Shape


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """Numbers of the file: each float is the rational that it is."""

    value: Reals


@dataclass(frozen=True, eq=False)
class QuantizedConstant(Node):
    """``levels * scale``, with the zero point already taken off ``levels``; ``scale`` broadcasts."""

    levels: Ints
    scale: Reals


@dataclass(frozen=True, eq=False)
class Quant(Node):
    """``(clip(round(x / scale + zero_point)) - zero_point) * scale``; scale and zero point broadcast."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    scale: Reals
    zero_point: Reals
    bits: int
    signed: bool
    narrow: bool
    rounding: Rounding

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest level. Source: qonnx ``min_int`` and ``max_int``."""
        whole = IntType(self.bits, self.signed)
        if not self.narrow:
            return whole.min, whole.max
        return (whole.min + 1, whole.max) if self.signed else (0, whole.max - 1)

    @property
    def element(self) -> ElementType:
        """The type of the levels."""
        return IntType(self.bits, self.signed)

    @property
    def unit(self) -> int:
        """The distance of neighbouring levels."""
        return 1


@dataclass(frozen=True, eq=False)
class BipolarQuant(Node):
    """Level +1 where ``x / scale + zero_point >= 0``, else -1; the value is ``(level - zero_point) * scale``."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    scale: Reals
    zero_point: Reals

    @property
    def range(self) -> tuple[int, int]:
        return -1, 1

    @property
    def element(self) -> ElementType:
        return Bipolar()

    @property
    def unit(self) -> int:
        return 2


@dataclass(frozen=True, eq=False)
class MatMul(Node):
    """``x @ weight`` over the last axis of ``x``; ``weight`` is (inputs, outputs)."""

    operands: ClassVar[tuple[str, ...]] = ("x", "weight")

    x: str
    weight: str


BinaryKind: TypeAlias = Literal["add", "sub", "mul", "div", "pow"]


@dataclass(frozen=True, eq=False)
class Binary(Node):
    """An elementwise operation of two tensors, broadcast like numpy on the frame's shape."""

    operands: ClassVar[tuple[str, ...]] = ("x", "y")

    kind: BinaryKind
    x: str
    y: str


UnaryKind: TypeAlias = Literal["relu", "sigmoid", "tanh", "sqrt", "neg", "identity"]


@dataclass(frozen=True, eq=False)
class Unary(Node):
    """An elementwise function without parameters."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    kind: UnaryKind
    x: str


@dataclass(frozen=True, eq=False)
class Clip(Node):
    """``min(max(x, lo), hi)``; an absent bound is infinite. Hard tanh is ``Clip(-1, 1)``."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    lo: float
    hi: float


@dataclass(frozen=True, eq=False)
class LeakyRelu(Node):
    """``x`` where positive, else ``slope * x``."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    slope: float


@dataclass(frozen=True, eq=False)
class BatchNorm(Node):
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, the parameters shaped to broadcast."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    gamma: Reals
    beta: Reals
    mean: Reals
    variance: Reals
    epsilon: float


@dataclass(frozen=True, eq=False)
class Reshape(Node):
    """The same elements in the same order, in another shape."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Transpose(Node):
    """The axes in another order (of the frame, without the batch axis)."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """Softmax over one axis of the frame. It runs on the host, as the model's last step."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    axis: int


Quantizer: TypeAlias = Quant | BipolarQuant
ModelOp: TypeAlias = (
    Input
    | Constant
    | QuantizedConstant
    | Quant
    | BipolarQuant
    | MatMul
    | Binary
    | Unary
    | Clip
    | LeakyRelu
    | BatchNorm
    | Reshape
    | Transpose
    | Softmax
)
ModelGraph: TypeAlias = Graph[ModelOp]

MODEL_OPS: tuple[type[ModelOp], ...] = (
    Input,
    Constant,
    QuantizedConstant,
    Quant,
    BipolarQuant,
    MatMul,
    Binary,
    Unary,
    Clip,
    LeakyRelu,
    BatchNorm,
    Reshape,
    Transpose,
    Softmax,
)


def constants(graph: ModelGraph) -> set[str]:
    """The tensors that depend on no ``Input``: parameters, without a batch axis."""
    names: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node, Input) and all(name in names for name in node.inputs):
            names.add(node.name)
    return names


def infer_shapes(graph: ModelGraph) -> dict[str, Shape]:
    """The shape of one frame of every tensor; VerifyError names the node where shapes do not fit."""
    shapes: dict[str, Shape] = {}
    for node in graph.nodes:
        try:
            shapes[node.name] = _shape(node, shapes)
        except ValueError as error:
            raise VerifyError(f"'{node.name}' ({type(node).__name__}): {error}") from error
    return shapes


def _shape(node: ModelOp, shapes: dict[str, Shape]) -> Shape:
    match node:
        case Input(shape=shape):
            return shape
        case Constant(value=value):
            return value.shape
        case QuantizedConstant(levels=levels):
            return levels.shape
        case Binary(x=x, y=y):
            return np.broadcast_shapes(shapes[x], shapes[y])
        case MatMul(x=x, weight=weight):
            return _product_shape(shapes[x], shapes[weight])
        case Reshape(x=x, shape=shape):
            if math.prod(shape) != math.prod(shapes[x]):
                raise ValueError(f"{shapes[x]} has {math.prod(shapes[x])} elements and cannot become {shape}")
            return shape
        case Transpose(x=x, order=order):
            if sorted(order) != list(range(len(shapes[x]))):
                raise ValueError(f"{order} is no order of the axes of {shapes[x]}")
            return tuple(shapes[x][axis] for axis in order)
        case Quant(x=x, scale=p, zero_point=q) | BipolarQuant(x=x, scale=p, zero_point=q):
            return _unchanged(shapes[x], p.shape, q.shape)
        case BatchNorm(x=x, gamma=gamma):
            return _unchanged(shapes[x], gamma.shape)
        case Softmax(x=x, axis=axis):
            if not 0 <= axis < len(shapes[x]):
                raise ValueError(f"axis {axis} is not an axis of {shapes[x]}")
            return shapes[x]
        case Unary(x=x) | Clip(x=x) | LeakyRelu(x=x):
            return shapes[x]


def _unchanged(x: Shape, *parameters: Shape) -> Shape:
    for parameter in parameters:
        if np.broadcast_shapes(x, parameter) != x:
            raise ValueError(f"a parameter of shape {parameter} does not broadcast to {x}")
    return x


def _product_shape(x: Shape, weight: Shape) -> Shape:
    if len(weight) != 2 or not x or x[-1] != weight[0]:
        raise ValueError(f"{x} times {weight}: the last axis must match the rows of a matrix")
    return (*x[:-1], weight[1])


def verify_model(graph: ModelGraph) -> None:
    """The rules of the model language: wiring, shapes, and sane quantisers; every violation is listed."""
    graph.check_wiring()
    infer_shapes(graph)
    problems = []
    for node in graph.nodes:
        if isinstance(node, Quant | BipolarQuant):
            if not bool((np.isfinite(node.scale) & (node.scale > 0)).all()):
                problems.append(f"'{node.name}': a scale is not a positive number")
            if not bool((np.rint(node.zero_point) == node.zero_point).all()):
                problems.append(f"'{node.name}': a zero point is not an integer")
        if isinstance(node, Quant) and not 1 <= node.bits <= 32:
            problems.append(f"'{node.name}': {node.bits} bits; 1 to 32 are possible")
        if (
            isinstance(node, QuantizedConstant)
            and np.broadcast_shapes(node.levels.shape, node.scale.shape) != node.levels.shape
        ):
            problems.append(f"'{node.name}': scale of shape {node.scale.shape} for {node.levels.shape}")
    if problems:
        raise VerifyError("\n".join(problems))
