# SPDX-License-Identifier: Apache-2.0
"""The model language: what the file said, normalised. Tensors are real-valued; scales are exact.

Windows slide over tensors whose channels lie last: other layouts are transposed at import. Shapes are those of
one frame: the batch axis is implicit, in front of every tensor that depends on an ``Input``. Tensors that do
not (weights and other parameters) have no such axis. ``flow.ir.reference`` evaluates a graph of this language
in exact arithmetic.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from flow.ir.graph import Graph, Node
from flow.ir.rounding import Rounding
from flow.ir.types import Bipolar, ElementType, Ints, IntType, Reals
from flow.ir.window import Window

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


@dataclass(frozen=True, eq=False)
class Conv(Node):
    """A convolution as deep learning has it (a correlation), padded with zeros.

    ``x`` is (*spatial, channels), ``weight`` (*kernel, channels / groups, outputs); output ``m`` reads the
    channels of group ``m // (outputs / groups)``.
    """

    operands: ClassVar[tuple[str, ...]] = ("x", "weight")

    x: str
    weight: str
    window: Window
    groups: int


@dataclass(frozen=True, eq=False)
class ConvTranspose(Node):
    """The transpose of a convolution: each input adds its weights, shifted, to the result.

    Input ``i`` and tap ``t`` of ``window`` meet at output ``i * stride - before + t * dilation``; the result
    has ``(inputs - 1) * stride + span - before - after`` outputs (``after`` may be negative, which is what
    other tools call output padding). ``weight`` is (*kernel, channels / groups, outputs).
    """

    operands: ClassVar[tuple[str, ...]] = ("x", "weight")

    x: str
    weight: str
    window: Window
    groups: int


@dataclass(frozen=True, eq=False)
class Pool(Node):
    """The greatest or the mean value of every window, channel by channel; a maximum never sees the padding.

    Attributes:
        x: (*spatial, channels).
        kind: ``max`` or ``mean``.
        window: The taps.
        whole: Whether a mean divides by all taps, the zeros of the padding among them; else by those inside.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    kind: Literal["max", "mean"]
    window: Window
    whole: bool


@dataclass(frozen=True, eq=False)
class Reduce(Node):
    """The sum, mean or maximum over axes of the frame, which stay with size one where ``keep`` says so."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    kind: Literal["sum", "mean", "max"]
    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True, eq=False)
class Concat(Node):
    """Tensors one behind the other along an axis of the frame."""

    operands: ClassVar[tuple[str, ...]] = ("xs",)

    xs: tuple[str, ...]
    axis: int


@dataclass(frozen=True, eq=False)
class Slice(Node):
    """Every ``step``-th element from ``start`` to before ``stop``, one of each for each axis of the frame."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pad(Node):
    """``value`` around the tensor, so many before and behind it on each axis of the frame."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float


@dataclass(frozen=True, eq=False)
class Upsample(Node):
    """Every element so many times, one factor for each axis of the frame (resize by nearest neighbour)."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    factors: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class DepthToSpace(Node):
    """Channels of (height, width, channels) become blocks of pixels.

    Attributes:
        x: (height, width, rows * columns * channels).
        block: Rows and columns of a block.
        depth_last: Whether channel ``(row * columns + column) * channels + c`` goes to pixel (row, column) of the
            block (ONNX mode DCR); else channel ``(c * rows + row) * columns + column`` does (CRD).
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    block: tuple[int, int]
    depth_last: bool


@dataclass(frozen=True, eq=False)
class SpaceToDepth(Node):
    """Blocks of pixels of (height, width, channels) become channels.

    Channel ``(row * columns + column) * channels + c`` is channel ``c`` of pixel (row, column) of the block.

    Attributes:
        x: (height, width, channels), whole blocks.
        block: Rows and columns of a block.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    block: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Permute(Node):
    """The elements along an axis of the frame in another order: place ``i`` holds what was at ``order[i]``."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    axis: int
    order: tuple[int, ...]


BinaryKind: TypeAlias = Literal["add", "sub", "mul", "div", "pow"]


@dataclass(frozen=True, eq=False)
class Binary(Node):
    """An elementwise operation of two tensors, broadcast like numpy on the frame's shape."""

    operands: ClassVar[tuple[str, ...]] = ("x", "y")

    kind: BinaryKind
    x: str
    y: str


UnaryKind: TypeAlias = Literal[
    "relu",
    "sigmoid",
    "tanh",
    "sqrt",
    "neg",
    "identity",
    "sign",
    "softplus",
    "elu",
    "hardswish",
    "silu",
    "gelu",
    "gelu_tanh",
]
MONOTONE: frozenset[str] = frozenset({"relu", "sigmoid", "tanh", "sqrt", "neg", "identity", "sign", "softplus", "elu"})
"""The functions that rise, or fall, everywhere; the others fall up to one point and rise behind it."""


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
    """``x`` where positive, else ``slope * x``; the slope broadcasts (one for each channel: PReLU)."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    slope: Reals


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


@dataclass(frozen=True, eq=False)
class ArgMax(Node):
    """The places of the ``count`` greatest values along an axis, greatest first; of equals the first.

    It runs on the host, as the model's last step.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    axis: int
    count: int
    keep: bool


Quantizer: TypeAlias = Quant | BipolarQuant
ModelOp: TypeAlias = (
    Input
    | Constant
    | QuantizedConstant
    | Quant
    | BipolarQuant
    | MatMul
    | Conv
    | ConvTranspose
    | Pool
    | Reduce
    | Concat
    | Slice
    | Pad
    | Upsample
    | DepthToSpace
    | SpaceToDepth
    | Permute
    | Binary
    | Unary
    | Clip
    | LeakyRelu
    | BatchNorm
    | Reshape
    | Transpose
    | Softmax
    | ArgMax
)
ModelGraph: TypeAlias = Graph[ModelOp]

MODEL_OPS: tuple[type[ModelOp], ...] = (
    Input,
    Constant,
    QuantizedConstant,
    Quant,
    BipolarQuant,
    MatMul,
    Conv,
    ConvTranspose,
    Pool,
    Reduce,
    Concat,
    Slice,
    Pad,
    Upsample,
    DepthToSpace,
    SpaceToDepth,
    Permute,
    Binary,
    Unary,
    Clip,
    LeakyRelu,
    BatchNorm,
    Reshape,
    Transpose,
    Softmax,
    ArgMax,
)


def constants(graph: ModelGraph) -> set[str]:
    """The tensors that depend on no ``Input``: parameters, without a batch axis."""
    names: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node, Input) and all(name in names for name in node.inputs):
            names.add(node.name)
    return names
