# SPDX-License-Identifier: Apache-2.0
"""The integer graph while it is made: its nodes so far, and what each activation of the model is in it."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from flow.errors import OptionError
from flow.ir.dataflow import DataflowOp, Flatten, TensorType
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
    infer_shapes,
)
from flow.ir.reference import Evaluation
from flow.ir.types import MAX_BITS, IntType
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.weights import refused, title

ADD_QUANT = "put a quantiser (QuantReLU, QuantIdentity) there"
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
        leaf = self.quantized_leaf(node, x)
        chain = list(self.chain(leaf, x))
        if any(isinstance(each, Transpose) for each in chain):
            raise refused(node, "its input is transposed", "transpose in front of a dense layer, or on the input")
        encoding = self.affine(leaf, x, node)
        shape, made = self.shapes[x], self.types[leaf].shape
        if any(isinstance(each, Reshape) for each in chain) and _ranked(made, len(shape)) != _ranked(shape, len(made)):
            return self.shaped(leaf, shape, node), encoding
        return leaf, encoding

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


def _ranked(shape: Shape, rank: int) -> Shape:
    """With leading axes of size one up to a rank."""
    return (1,) * (rank - len(shape)) + shape


def _alike_over_positions(run: Evaluation, name: str, shape: Shape) -> bool:
    value = run.tensors[name].value.reshape(2, -1, shape[-1])
    return bool((value == value[:, :1]).all())
