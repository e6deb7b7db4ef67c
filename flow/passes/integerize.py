# SPDX-License-Identifier: Apache-2.0
"""From the model language to the dataflow language: the only place where both are known.

Every tensor on the way is an integer tensor (its *leaf*) and a chain of elementwise operations on it. A product
needs the chain to be affine with rational coefficients: they go into the weights' scale and into an offset; so
do sums of two tensors, and everything that moves values about. A quantiser makes the chain, itself included, one
step function per channel, found by bisection on the exact reference. What stays at the end of the network runs
on the host.

Shapes in the dataflow language may have axes of size one that the model's tensor has not.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.ir.dataflow import DataflowGraph, Lookup, Source, Step, over_channels
from flow.ir.graph import Graph
from flow.ir.input_type import InputType
from flow.ir.model import (
    MONOTONE,
    BatchNorm,
    Binary,
    BipolarQuant,
    Concat,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Input,
    LeakyRelu,
    MatMul,
    ModelGraph,
    ModelOp,
    Pad,
    Permute,
    Pool,
    Quant,
    Quantizer,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
    Unary,
    Upsample,
)
from flow.ir.parts import over_parts
from flow.ir.reference import Evaluation, Levels
from flow.ir.types import Bipolar, Ints, Reals
from flow.passes.boundaries import find_lookup, find_step
from flow.passes.integers import joins, moves, pools, products
from flow.passes.integers.builder import ADD_QUANT, Builder
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.weights import refused

_Number = TypeVar("_Number", bound=np.generic)

MAX_BOUNDARIES = 1 << 23
"""Of the step functions of one layer: 64 MB of thresholds."""
_CACHED = 1 << 15  # elements that the host's part is evaluated on at once


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """A network in integers, with what the host does in front of it and behind it.

    Attributes:
        graph: The hardware's part: one ``Source``, one output.
        input_type: The type in which the caller's integers arrive, where the user named one.
        head: The model from the float input to the integers that enter; None with an input type.
        order: With an input type: the order in which the axes of a frame enter (``Transpose.order``).
        tail: The model from the integers that leave (its ``Input``) to the model's output.
        encodings: Of the tensors that enter, that leave, and that a quantiser made.
    """

    graph: DataflowGraph
    input_type: InputType | None
    head: ModelGraph | None
    order: Shape
    tail: ModelGraph
    encodings: dict[str, Encoding]

    @property
    def source(self) -> Source:
        return next(node for node in self.graph.nodes if isinstance(node, Source))

    @property
    def output(self) -> str:
        return self.graph.outputs[0]

    def encode(self, frames: Reals) -> Ints:
        """The integers that enter the hardware for float frames, as the host computes them.

        With an input type the frames are rounded to its grid, to even at ties, and clipped.
        """
        if self.head is not None:
            return self._head_levels(frames)
        assert self.input_type is not None
        scaled = frames.transpose(0, *(axis + 1 for axis in self.order)) / float(self.input_type.scale)
        element = self.input_type.element
        if isinstance(element, Bipolar):
            return np.where(scaled >= 0, 1, -1).astype(np.int64)
        return np.clip(np.rint(scaled), element.min, element.max).astype(np.int64)

    def feed(self, integers: Ints) -> Levels:
        """With an input type: the model's input for integers that enter the hardware."""
        back = tuple(int(axis) + 1 for axis in np.argsort(self.order))
        return self.encodings[self.source.name].levels(integers.transpose(0, *back))

    def clipped(self, frames: Reals) -> int:
        """How many values lie outside the input type, so that ``encode`` clips them."""
        if self.input_type is None:
            return 0
        nearest = np.rint(frames / float(self.input_type.scale))
        element = self.input_type.element
        return int(((nearest < element.min) | (nearest > element.max)).sum())

    def decode(self, integers: Ints) -> Reals:
        """The model's output for the integers that leave the hardware, in float64."""
        return self.decode_with_error(integers)[0]

    def decode_with_error(self, integers: Ints) -> tuple[Reals, Reals]:
        """The model's output, and a bound on its error: terms that cancel leave more than some units of the last."""
        node = next(n for n in self.tail.nodes if isinstance(n, Input))
        encoding = self.encodings[self.output]
        shaped = integers.reshape(len(integers), *node.shape)
        (output,) = self.tail.outputs
        runs = [
            Evaluation(self.tail, {node.name: encoding.levels(part)}, keep=[output]).tensors[output]
            for part in _in_parts(shaped)
        ]
        errors = [np.broadcast_to(run.error, run.value.shape) for run in runs]
        return np.concatenate([run.value for run in runs]), np.concatenate(errors)

    def _head_levels(self, frames: Reals) -> Ints:
        head = self.head
        assert head is not None
        (output,) = head.outputs
        name = next(n.name for n in head.nodes if isinstance(n, Input))
        levels = np.empty((len(frames), *self.source.shape), np.int64)

        def evaluate(part: slice) -> None:
            found = Evaluation(head, {name: frames[part]}).decisions[output].levels
            levels[part] = found.reshape(-1, *self.source.shape)

        over_parts(evaluate, len(frames), prod(frames.shape[1:]), _CACHED)
        return levels


def _in_parts(frames: NDArray[_Number]) -> list[NDArray[_Number]]:
    """A batch in pieces that stay in the processor's cache."""
    return np.array_split(frames, max(1, min(len(frames), frames.size // _CACHED)))


def integerize(graph: ModelGraph, input_type: InputType | None = None) -> IntegerModel:
    """Converts a model whose parameters are quantised and laid out (``MODEL_PASSES``).

    Args:
        graph: One ``Input``, one output.
        input_type: How the input arrives; None if the model's own first quantiser runs on the host.

    Raises:
        UnsupportedModelError: A tensor cannot be had in integers: where, why, and what to do.
        OptionError: The input type is missing.
    """
    return _Integerizer(graph, input_type).run()


class _Integerizer:
    def __init__(self, graph: ModelGraph, input_type: InputType | None) -> None:
        self.graph = graph
        self.input_type = input_type
        self.b = Builder(graph)
        self.head: ModelGraph | None = None
        self.order: Shape = ()

    def run(self) -> IntegerModel:
        b = self.b
        for node in self.graph.nodes:
            if node.name not in b.parameters and node.name not in b.leaf:
                self._convert(node)
        output = self.graph.outputs[0]
        leaf = b.leaf[output]
        if leaf not in b.encodings:
            raise refused(self.graph[output], "no quantiser stands before the output", ADD_QUANT)
        kept: DataflowGraph = Graph(Graph(tuple(b.nodes), (leaf,)).ancestors(leaf), (leaf,))
        names = {node.name for node in kept.nodes}
        encodings = {name: e for name, e in b.encodings.items() if name in names}
        return IntegerModel(kept, self.input_type, self.head, self.order, b.between(leaf, output), encodings)

    def _convert(self, node: ModelOp) -> None:
        b = self.b
        activations = [name for name in node.inputs if name not in b.parameters]
        floating = any(b.leaf[name] not in b.encodings for name in activations)
        match node:
            case Input():
                self._input(node)
            case Quant() | BipolarQuant():
                self._quantizer(node)
            case MatMul():
                products.matmul(b, node)
            case Conv():
                products.convolution(b, node)
            case ConvTranspose():
                products.transposed_convolution(b, node)
            case _ if floating:  # in front of the first quantiser, on the host
                b.leaf[node.name] = b.leaf[activations[0]]
            case Pool():
                pools.pool(b, node, node.kind, node.window, whole=node.whole)
            case Reduce():
                pools.reduce(b, node)
            case Concat():
                joins.concat(b, node)
            case Binary() if len(activations) == 2:
                joins.meet(b, node)
            case Slice():
                moves.take(b, node)
            case Pad():
                moves.pad(b, node)
            case Upsample():
                moves.upsample(b, node)
            case DepthToSpace():
                moves.depth_to_space(b, node)
            case SpaceToDepth():
                moves.space_to_depth(b, node)
            case Permute():
                moves.permute(b, node)
            case _:  # elementwise, or of another shape: part of a chain
                b.leaf[node.name] = b.leaf[activations[0]]

    def _input(self, node: Input) -> None:
        self.b.leaf[node.name] = node.name
        if self.input_type is None:
            return
        element = self.input_type.element
        name, shape, self.order = node.name, node.shape, tuple(range(len(node.shape)))
        users = self.graph.users[node.name]
        if len(users) == 1 and isinstance(users[0], Transpose):  # the host hands the axes over as they are wanted
            name, self.order = users[0].name, users[0].order
            shape = self.b.shapes[name]
        self.b.add(Source(name, shape, element, np.array([element.min]), np.array([element.max])))
        self.b.leaf[name] = name
        self.b.encodings[name] = Encoding((self.input_type.scale,), (Fraction(0),))

    def _quantizer(self, node: Quantizer) -> None:
        leaf = self.b.leaf[node.x]
        if leaf not in self.b.encodings:
            self._head(node, leaf)
        else:
            self._step(node, leaf)
        self.b.leaf[node.name] = node.name
        scale = _rationals(node.scale, self.b.shapes[node.name], node)
        zero = _rationals(node.zero_point, self.b.shapes[node.name], node)
        count = max(len(scale), len(zero))
        pairs = [(scale[i % len(scale)], zero[i % len(zero)]) for i in range(count)]
        self.b.encodings[node.name] = Encoding.of((s for s, _ in pairs), (-s * z for s, z in pairs))

    def _head(self, node: Quantizer, leaf: str) -> None:
        """The first quantiser: it runs on the host, together with what stands before it."""
        if self.head is not None:
            raise refused(node, "the float input is quantised twice", "quantise the input once, then branch")
        self.head = self.b.between(leaf, node.name)
        lo, hi = node.range
        self.b.add(Source(node.name, self.b.shapes[node.name], node.element, np.array([lo]), np.array([hi])))

    def _step(self, node: Quantizer, leaf: str) -> None:
        leaf = self.b.in_order(leaf, node.x, node)
        segment, shape = self._segment(leaf, node)
        size = prod(shape)
        lo, hi = over_channels(self.b.types[leaf], size)
        span = int((hi - lo).max())
        least, greatest = node.range
        if min(span, greatest - least) * size > MAX_BOUNDARIES:
            raise refused(
                node,
                f"it tells {min(span, greatest - least) + 1:,} levels apart in {size:,} "
                f"{'channel' if size == 1 else 'channels'}; {MAX_BOUNDARIES:,} boundaries are possible",
                "give it fewer bits",
            )
        source = leaf
        if self.b.shapes[leaf] != self.b.shapes[node.name]:
            source = self.b.shaped(leaf, self.b.shapes[node.name], node)
            least_read, greatest_read = over_channels(self.b.types[source], size)  # of another shape: perhaps wider
            lo, hi = np.minimum(lo, least_read), np.maximum(hi, greatest_read)
        arguments = segment, node.name, self.b.encodings[leaf].levels, lo.reshape(shape), hi.reshape(shape)
        turning = [n for n in segment.nodes if isinstance(n, Unary) and n.kind not in MONOTONE]
        if len(turning) > 1:
            raise refused(
                node, f"'{turning[0].name}' and '{turning[1].name}' both turn in front of it", "quantise between them"
            )
        if turning:
            pieces = find_lookup(*arguments)
            self.b.add(Lookup(node.name, source, pieces.thresholds, pieces.values, lo, hi, node.element))
        else:
            step = find_step(*arguments)
            self.b.add(Step(node.name, source, step.thresholds, step.start, step.stride, lo, hi, node.element))

    def _segment(self, leaf: str, node: Quantizer) -> tuple[ModelGraph, Shape]:
        """The chain up to a quantiser on as few elements as tell its channels apart.

        Returns:
            The chain, and the shape of its input: one element for each channel.
        """
        chain = self.b.between(leaf, node.name)
        moving = list(self.b.chain(leaf, node.name))
        for each in moving:
            if isinstance(each, Softmax):
                raise refused(node, "a softmax stands before it", "softmax is possible as the last step only")
        reshaped = {n.name: n.x for n in moving if isinstance(n, Reshape)}
        parameters = _parameter_shape(moving, self.b.parameters, self.b.shapes)
        if prod(parameters) == 1 and self.b.encodings[leaf].uniform:
            shape: Shape = (1,) * max(len(parameters), 1)
            plain = chain.without(reshaped)
            return _with_input(plain, leaf, shape), shape
        if not reshaped and prod(parameters[:-1]) == 1:
            shape = (*parameters[:-1], self.b.shapes[leaf][-1]) if parameters else self.b.shapes[leaf][-1:]
            return _with_input(chain, leaf, shape), shape
        return chain, self.b.shapes[leaf]


def _rationals(array: Reals, shape: Shape, node: Quantizer) -> tuple[Fraction, ...]:
    """A parameter as one rational, or one for each element along the last axis."""
    if array.size == 1:
        return (Fraction(float(array.reshape(-1)[0])),)
    if array.shape[-1] == array.size == shape[-1]:
        return tuple(Fraction(float(v)) for v in array.reshape(-1))
    raise refused(
        node,
        f"its scale or zero point of shape {list(array.shape)} varies along an axis that is not the last",
        "use one scale for the tensor, or one for each channel of a flat tensor",
    )


def _parameter_shape(moving: list[ModelOp], parameters: set[str], shapes: dict[str, Shape]) -> Shape:
    """The shape to which all parameters of a chain broadcast."""
    found: list[Shape] = []
    for node in moving:
        match node:
            case Binary():
                found += [shapes[name] for name in node.inputs if name in parameters]
            case BatchNorm(gamma=gamma):
                found.append(gamma.shape)
            case LeakyRelu(slope=slope):
                found.append(slope.shape)
            case Quant() | BipolarQuant():
                found += [node.scale.shape, node.zero_point.shape]
    return np.broadcast_shapes(*found) if found else ()


def _with_input(graph: ModelGraph, name: str, shape: Shape) -> ModelGraph:
    return graph.map(lambda node: Input(name, shape) if node.name == name else node)
