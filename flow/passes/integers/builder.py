# SPDX-License-Identifier: Apache-2.0
"""The integer graph while it is made: its nodes so far, and what each activation of the model is in it."""

from collections.abc import Iterator
from fractions import Fraction
from math import prod

import numpy as np

from flow.errors import OptionError
from flow.ir.dataflow import NEVER, ChannelShuffle, DataflowOp, Flatten, Step, TensorType, over_channels
from flow.ir.graph import Graph
from flow.ir.model import (
    BatchNorm,
    Binary,
    BipolarQuant,
    Input,
    ModelGraph,
    ModelOp,
    Quant,
    Reshape,
    Shape,
    Transpose,
    Unary,
    constants,
)
from flow.ir.model_rules import infer_shapes
from flow.ir.reference import Evaluation
from flow.ir.types import MAX_BITS, Ints, IntType
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.weights import refused, title

ADD_QUANT = "put a quantiser (QuantReLU, QuantIdentity) there"
_MOST_CENTRED = 1 << 16  # boundaries of a step function that takes the zero point off
WIDEST = IntType(MAX_BITS, signed=True)


class Builder:
    """The integer graph so far.

    Attributes:
        graph: The model.
        shapes: Of its tensors.
        parameters: Its tensors that depend on no input.
        nodes: The integer graph.
        types: Of its tensors. Their shapes may have axes of size one that the model's have not.
        encodings: What its tensors stand for.
        leaf: Of every activation of the model: the integer tensor that it is computed from, elementwise.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self.shapes = infer_shapes(graph)
        self.parameters = constants(graph)
        self.nodes: list[DataflowOp] = []
        self.types: dict[str, TensorType] = {}
        self.encodings: dict[str, Encoding] = {}
        self.leaf: dict[str, str] = {}

    def add(self, node: DataflowOp) -> TensorType:
        self.nodes.append(node)
        self.types[node.name] = node.infer(*(self.types[name] for name in node.inputs))
        return self.types[node.name]

    def give(self, node: ModelOp, made: DataflowOp, encoding: Encoding) -> None:
        """``made`` is the integer tensor of ``node``."""
        self.add(made)
        self.leaf[node.name] = made.name
        self.encodings[made.name] = encoding

    def accumulator(self, node: ModelOp, reached: tuple[int, int]) -> IntType:
        acc = IntType.holding(min(reached[0], 0), max(reached[1], 0))
        if acc.bits > MAX_BITS:
            raise refused(
                node, f"its sums need {acc.bits} bits; {MAX_BITS} are possible", "quantise between the layers"
            )
        return acc

    def shaped(self, tensor: str, shape: Shape, node: ModelOp) -> str:
        """The tensor in another shape."""
        if self.types[tensor].shape == shape:
            return tensor
        names = (f"{node.name}:{tensor}:flat" if i else f"{node.name}:flat" for i in range(2))
        for name in names:
            if name not in self.types:
                self.add(Flatten(name, tensor, shape))
                return name
            if isinstance(made := self.made(name), Flatten) and made.x == tensor and made.shape == shape:
                return name
        raise AssertionError(f"'{node.name}' shapes '{tensor}' twice")

    def made(self, name: str) -> DataflowOp:
        return next(node for node in self.nodes if node.name == name)

    def of_rank(self, tensor: str, rank: int, node: ModelOp) -> str:
        """The tensor with leading axes of size one, as many as are missing."""
        shape = self.types[tensor].shape
        return self.shaped(tensor, (1,) * (rank - len(shape)) + shape, node)

    def lifted(self, tensor: str, node: ModelOp) -> str:
        """(length, channels) as an image of one row."""
        return self.of_rank(tensor, 3, node)

    def like(self, tensor: str, other: str, node: ModelOp) -> str:
        return self.shaped(tensor, self.types[other].shape, node)

    def between(self, leaf: str, target: str) -> ModelGraph:
        """The model from the tensor ``leaf``, as its ``Input``, to ``target``."""
        nodes = Graph(self.graph.nodes, (target,)).ancestors(target, stop=[leaf])
        return Graph((Input(leaf, self.shapes[leaf]), *nodes), (target,))

    def chain(self, leaf: str, target: str) -> Iterator[ModelOp]:
        """The operations on activations behind ``leaf``, up to ``target``."""
        names = []
        while target != leaf:
            names.append(target)
            target = next(n for n in self.graph[target].inputs if n not in self.parameters)
        return (self.graph[name] for name in reversed(names))

    def quantized_leaf(self, node: ModelOp, x: str) -> str:
        """The integer tensor behind ``x``."""
        leaf = self.leaf[x]
        if leaf in self.encodings:
            return leaf
        if not any(isinstance(n, Quant | BipolarQuant) for n in self.graph.nodes if n.name in self.leaf):
            raise OptionError(
                f"the model multiplies its input '{leaf}' without quantising it first",
                "say how the input arrives: --input-type u8, i8, b1 (-1 and +1), u8/255, fixed<16,6>, ...",
            )
        raise refused(node, "its input is not quantised", ADD_QUANT)

    def integers(self, x: str, node: ModelOp) -> tuple[str, Encoding]:
        """An activation as integers, in the order of its elements, with what they stand for.

        The chain behind the integers may scale and shift each channel, and change the shape.
        """
        leaf = self.in_order(self.quantized_leaf(node, x), x, node)
        chain = list(self.chain(leaf, x))
        encoding = self.affine(leaf, x, node)
        shape, made = self.shapes[x], self.types[leaf].shape
        reshaped = any(isinstance(each, Reshape) for each in chain)
        if reshaped and (len(made) < len(shape) or _ranked(made, len(shape)) != _ranked(shape, len(made))):
            return self.shaped(leaf, shape, node), encoding
        return leaf, encoding

    def in_order(self, leaf: str, x: str, node: ModelOp) -> str:
        """The integer tensor ``leaf``, or one whose elements lie as behind the last transposition up to ``x``."""
        chain = list(self.chain(leaf, x))
        last = next((each.name for each in reversed(chain) if isinstance(each, Transpose)), None)
        if last is None:
            return leaf
        if last not in self.types:
            encoding = self.affine(leaf, last, node)
            self.reorder(last, leaf, self.places(leaf, last).reshape(-1), self.shapes[last])
            self.encodings[last] = encoding
        return last

    def places(self, leaf: str, x: str) -> Ints:
        """For each element of ``x`` its place in ``leaf``, behind reshapes and transpositions."""
        place = np.arange(prod(self.shapes[leaf])).reshape(self.shapes[leaf])
        for each in self.chain(leaf, x):
            if isinstance(each, Reshape):
                place = place.reshape(each.shape)
            elif isinstance(each, Transpose):
                place = place.transpose(each.order)
        return place

    def reorder(self, name: str, tensor: str, place: Ints, shape: Shape) -> None:
        """``name`` has at each element what ``tensor`` has at ``place``: the smallest parts that do not mix."""
        size = next(n for n in range(1, place.size + 1) if place.size % n == 0 and _repeats(place, n))
        if size > 1:
            self.add(Flatten(f"{name}:parts", tensor, (place.size // size, size)))
            tensor = f"{name}:elements"
            self.add(ChannelShuffle(tensor, f"{name}:parts", tuple(place[:size].tolist())))
        self.add(Flatten(name, tensor, shape))

    def centred(self, tensor: str, encoding: Encoding, node: ModelOp) -> tuple[str, Encoding] | None:
        """The integers less those that stand for zero: a step function; None where no integers do, or for wide sums."""
        channels = max(len(encoding.scale), len(encoding.offset))
        scale, offset = encoding.channels(channels)
        exact = [-o / s for s, o in zip(scale, offset, strict=True)]
        lo, hi = over_channels(self.types[tensor], channels)
        if any(zero.denominator > 1 for zero in exact) or int((hi - lo).max()) * channels > _MOST_CENTRED:
            return None
        zero = np.array([int(each) for each in exact])
        thresholds = lo[:, None] + np.arange(1, int((hi - lo).max()) + 1)
        thresholds = np.where(thresholds <= hi[:, None], thresholds, NEVER)
        element = IntType.holding(int((lo - zero).min()), int((hi - zero).max()))
        made = Step(f"{node.name}:centred", tensor, thresholds, lo - zero, np.ones_like(zero), lo, hi, element)
        self.add(made)
        return made.name, Encoding.of(scale, [Fraction(0)])

    def affine(self, leaf: str, x: str, node: ModelOp) -> Encoding:
        """What the integers of ``leaf`` stand for at ``x``, for each channel of ``x``."""
        encoding = self.encodings[leaf]
        moving = list(self.chain(leaf, x))
        if not moving or (encoding.uniform and all(isinstance(n, Reshape | Transpose) for n in moving)):
            return encoding
        for each in moving:
            affine = isinstance(each, Binary | BatchNorm | Reshape | Transpose)
            if not affine and not (isinstance(each, Unary) and each.kind == "neg"):
                raise refused(node, f"the {title(each)} '{each.name}' in front of it is not quantised", ADD_QUANT)
        shape = self.shapes[leaf]
        ends = np.stack([np.zeros(shape, np.int64), np.ones(shape, np.int64)])
        run = Evaluation(self.between(leaf, x), {leaf: encoding.levels(ends)})
        slope, offset = [], []
        lead = (0,) * (len(self.shapes[x]) - 1)
        for k in range(self.shapes[x][-1]):
            zero, one = run.number(x, (0, *lead, k)), run.number(x, (1, *lead, k))
            if not isinstance(zero, Fraction) or not isinstance(one, Fraction):
                raise refused(node, *_irrational(moving))
            slope.append(one - zero)
            offset.append(zero)
        if len(lead) and not _alike_over_positions(run, x, self.shapes[x]):
            raise refused(node, "what scales its input differs from position to position", ADD_QUANT)
        return Encoding.of(slope, offset)


def _irrational(moving: list[ModelOp]) -> tuple[str, str]:
    """Why what a chain makes of integers are none, and what to do."""
    norm = next((each for each in moving if isinstance(each, BatchNorm)), None)
    if norm is None:
        return "an irrational number scales its input", ADD_QUANT
    return (
        f"the batch norm '{norm.name}' scales its input by a square root, which is irrational, so that no integers "
        "stand for it without rounding",
        "put a quantiser (QuantIdentity) behind each batch norm, before what joins them, or merge batch norms into "
        "their convolutions before the export (brevitas.nn.utils.merge_bn)",
    )


def _repeats(place: Ints, size: int) -> bool:
    """Whether every part of so many elements has its own elements, all parts in the same order."""
    parts = place.reshape(-1, size)
    return bool((parts == parts[0] + size * np.arange(len(parts))[:, None]).all())


def _ranked(shape: Shape, rank: int) -> Shape:
    """With leading axes of size one up to a rank."""
    return (1,) * (rank - len(shape)) + shape


def _alike_over_positions(run: Evaluation, name: str, shape: Shape) -> bool:
    value = run.tensors[name].value.reshape(2, -1, shape[-1])
    return bool((value == value[:, :1]).all())
