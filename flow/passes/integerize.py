# SPDX-License-Identifier: Apache-2.0
"""From the model language to the dataflow language: the only place where both are known.

Every tensor on the way is an integer tensor (its *leaf*) and a chain of elementwise operations on it. A matrix
product needs the chain to be affine with rational coefficients: they go into the weights' scale and into an
offset. A quantiser makes the chain, itself included, one step function per channel, found by bisection on the
exact reference. What stays at the end of the network runs on the host.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm, prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.errors import OptionError, Unsupported, UnsupportedModelError
from flow.ir.dataflow import DataflowGraph, DataflowOp, Dense, Flatten, Source, Step, infer_types, over_channels
from flow.ir.graph import Graph
from flow.ir.input_type import InputType
from flow.ir.model import (
    BatchNorm,
    Binary,
    BipolarQuant,
    Constant,
    Input,
    MatMul,
    ModelGraph,
    ModelOp,
    Quant,
    QuantizedConstant,
    Quantizer,
    Reshape,
    Shape,
    Softmax,
    Transpose,
    Unary,
    constants,
    infer_shapes,
)
from flow.ir.reference import Evaluation, Levels, evaluate, lsb_of
from flow.ir.types import MAX_BITS, Bipolar, Ints, IntType, Reals
from flow.passes.boundaries import find_step

_Number = TypeVar("_Number", bound=np.generic)

MAX_WEIGHT_BITS = 32
MAX_UNQUANTIZED_BITS = 16
"""A float parameter without a quantiser is taken as integers if it is a multiple of one step, this wide."""
MAX_BOUNDARIES = 1 << 23
"""Of the step functions of one layer: 64 MB of thresholds."""
_CACHED = 1 << 15  # elements that the host's part is evaluated on at once


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the integers of a tensor stand for: ``scale * integer + offset``, one or one a channel."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]

    def levels(self, integers: Ints) -> Levels:
        return Levels(integers, self.scale, self.offset)


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """A network in integers, with what the host does in front of it and behind it.

    Attributes:
        graph: The hardware's part: one ``Source``, one output.
        input_type: The type in which the caller's integers arrive, where the user named one.
        head: The model from the float input to the integers that enter; None with an input type.
        tail: The model from the integers that leave (its ``Input``) to the model's output.
        encodings: Of the tensors that enter, that leave, and that a quantiser made.
    """

    graph: DataflowGraph
    input_type: InputType | None
    head: ModelGraph | None
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
            return np.concatenate([self._head_levels(part) for part in _in_parts(frames)])
        assert self.input_type is not None
        scaled = frames / float(self.input_type.scale)
        element = self.input_type.element
        if isinstance(element, Bipolar):
            return np.where(scaled >= 0, 1, -1).astype(np.int64)
        return np.clip(np.rint(scaled), element.min, element.max).astype(np.int64)

    def clipped(self, frames: Reals) -> int:
        """How many values lie outside the input type, so that ``encode`` clips them."""
        if self.input_type is None:
            return 0
        nearest = np.rint(frames / float(self.input_type.scale))
        element = self.input_type.element
        return int(((nearest < element.min) | (nearest > element.max)).sum())

    def decode(self, integers: Ints) -> Reals:
        """The model's output for the integers that leave the hardware, in float64."""
        name = next(n.name for n in self.tail.nodes if isinstance(n, Input))
        encoding = self.encodings[self.output]
        parts = [evaluate(self.tail, {name: encoding.levels(part)}) for part in _in_parts(integers)]
        return np.concatenate([part[self.tail.outputs[0]] for part in parts])

    def _head_levels(self, frames: Reals) -> Ints:
        assert self.head is not None
        name = next(n.name for n in self.head.nodes if isinstance(n, Input))
        return Evaluation(self.head, {name: frames}).decisions[self.head.outputs[0]].levels


def _in_parts(frames: NDArray[_Number]) -> list[NDArray[_Number]]:
    """A batch in pieces that stay in the processor's cache."""
    return np.array_split(frames, max(1, frames.size // _CACHED))


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
        self.shapes = infer_shapes(graph)
        self.parameters = constants(graph)
        self.nodes: list[DataflowOp] = []
        self.encodings: dict[str, Encoding] = {}
        self.leaf: dict[str, str] = {}  # of every activation: the integer tensor that it is computed from
        self.head: ModelGraph | None = None

    def run(self) -> IntegerModel:
        for node in self.graph.nodes:
            if node.name in self.parameters:
                continue
            if isinstance(node, Input):
                self._input(node)
            elif isinstance(node, MatMul):
                self._matmul(node)
            elif isinstance(node, Quant | BipolarQuant):
                self._quantizer(node)
            else:
                self.leaf[node.name] = self.leaf[_activation(node, self.parameters)]
        output = self.graph.outputs[0]
        leaf = self.leaf[output]
        if leaf not in self.encodings:
            raise _refused(self.graph[output], "no quantiser stands before the output", _ADD_QUANT)
        nodes = tuple(self.nodes)
        kept: DataflowGraph = Graph(Graph(nodes, (leaf,)).ancestors(leaf), (leaf,))
        names = {node.name for node in kept.nodes}
        encodings = {name: e for name, e in self.encodings.items() if name in names}
        return IntegerModel(kept, self.input_type, self.head, self._between(leaf, output), encodings)

    # -- the three kinds of tensors that are integers ------------------------------------------------------

    def _input(self, node: Input) -> None:
        self.leaf[node.name] = node.name
        if self.input_type is None:
            return
        element = self.input_type.element
        self.nodes.append(Source(node.name, node.shape, element, np.array([element.min]), np.array([element.max])))
        self.encodings[node.name] = Encoding((self.input_type.scale,), (Fraction(0),))

    def _quantizer(self, node: Quantizer) -> None:
        leaf = self.leaf[node.x]
        if leaf not in self.encodings:
            self._head(node, leaf)
        else:
            self._step(node, leaf)
        self.leaf[node.name] = node.name
        scale = _rationals(node.scale, self.shapes[node.name], node)
        zero = _rationals(node.zero_point, self.shapes[node.name], node)
        count = max(len(scale), len(zero))
        pairs = [(scale[i % len(scale)], zero[i % len(zero)]) for i in range(count)]
        self.encodings[node.name] = Encoding(tuple(s for s, _ in pairs), tuple(-s * z for s, z in pairs))

    def _head(self, node: Quantizer, leaf: str) -> None:
        """The first quantiser: it runs on the host, together with what stands before it."""
        if self.head is not None:
            raise _refused(node, "the float input is quantised twice", "quantise the input once, then branch")
        self.head = self._between(leaf, node.name)
        lo, hi = node.range
        self.nodes.append(Source(node.name, self.shapes[node.name], node.element, np.array([lo]), np.array([hi])))

    def _step(self, node: Quantizer, leaf: str) -> None:
        segment, shape = self._segment(leaf, node)
        x = infer_types(Graph(tuple(self.nodes), ()))[leaf]
        size = prod(shape)
        lo, hi = over_channels(x, size)
        span = int((hi - lo).max())
        least, greatest = node.range
        if min(span, greatest - least) * size > MAX_BOUNDARIES:
            raise _refused(
                node,
                f"it tells {min(span, greatest - least) + 1:,} levels apart in {size:,} "
                f"{'channel' if size == 1 else 'channels'}; {MAX_BOUNDARIES:,} boundaries are possible",
                "give it fewer bits",
            )
        source = leaf
        if self.shapes[leaf] != self.shapes[node.name]:
            source = f"{node.name}:flat"
            self.nodes.append(Flatten(source, leaf, self.shapes[node.name]))
        step = find_step(segment, node.name, self.encodings[leaf].levels, lo.reshape(shape), hi.reshape(shape))
        self.nodes.append(
            Step(
                node.name,
                source,
                step.thresholds,
                step.start,
                step.stride,
                lo,
                hi,
                node.element,
            )
        )

    def _matmul(self, node: MatMul) -> None:
        leaf = self.leaf[node.x]
        if leaf not in self.encodings:
            if not any(isinstance(n, Quant | BipolarQuant) for n in self.graph.nodes if n.name in self.leaf):
                raise OptionError(
                    f"the model multiplies its input '{leaf}' without quantising it first",
                    "say how the input arrives: --input-type u8, i8, b1 (-1 and +1), u8/255, fixed<16,6>, ...",
                )
            raise _refused(node, "its input is not quantised", _ADD_QUANT)
        slope, offset = self._affine(leaf, node)
        weight, scale, zero = self._scaled_weights(node, slope, offset)
        source, weight = self._arranged(leaf, node, weight)
        self.nodes.append(Dense(node.name, source, weight, IntType(MAX_BITS, signed=True)))
        types = infer_types(Graph(tuple(self.nodes), ()))
        partial = self.nodes[-1].partial_range(types[source])  # type: ignore[union-attr]
        acc = IntType.holding(*partial)
        if acc.bits > MAX_BITS:
            raise _refused(
                node, f"its sums need {acc.bits} bits; {MAX_BITS} are possible", "quantise between the layers"
            )
        self.nodes[-1] = Dense(node.name, source, weight, acc)
        self.leaf[node.name] = node.name
        self.encodings[node.name] = Encoding(scale, zero)

    # -- pieces of the model -------------------------------------------------------------------------------

    def _between(self, leaf: str, target: str) -> ModelGraph:
        """The model from the tensor ``leaf``, as its ``Input``, to ``target``."""
        nodes = Graph(self.graph.nodes, (target,)).ancestors(target, stop=[leaf])
        return Graph((Input(leaf, self.shapes[leaf]), *nodes), (target,))

    def _segment(self, leaf: str, node: Quantizer) -> tuple[ModelGraph, Shape]:
        """The chain up to a quantiser on as few elements as tell its channels apart.

        Returns:
            The chain, and the shape of its input: one element for each channel.
        """
        chain = self._between(leaf, node.name)
        moving = [n for n in chain.nodes if n.name not in constants(chain)]
        for each in moving:
            if isinstance(each, Transpose):
                raise _refused(
                    node,
                    f"the activations are transposed ('{each.name}') between a sum and its quantiser",
                    "transpose behind the quantiser, or on the input",
                )
            if isinstance(each, Softmax):
                raise _refused(node, "a softmax stands before it", "softmax is possible as the last step only")
        reshaped = {n.name: n.x for n in moving if isinstance(n, Reshape)}
        parameters = _parameter_shape(moving, chain, self.shapes)
        several = len(self.encodings[leaf].scale) > 1 or len(self.encodings[leaf].offset) > 1
        if prod(parameters) == 1 and not several:
            shape: Shape = (1,) * max(len(parameters), 1)
            plain = chain.without(reshaped)
            return _with_input(plain, leaf, shape), shape
        if not reshaped and prod(parameters[:-1]) == 1:
            shape = (*parameters[:-1], self.shapes[leaf][-1]) if parameters else self.shapes[leaf][-1:]
            return _with_input(chain, leaf, shape), shape
        return chain, self.shapes[leaf]

    def _affine(self, leaf: str, node: MatMul) -> tuple[list[Fraction], list[Fraction]]:
        """The chain in front of a product as ``slope * integer + offset`` of each of its inputs."""
        chain = self._between(leaf, node.x)
        moving = [n for n in chain.nodes[1:] if n.name not in constants(chain)]
        encoding, inputs = self.encodings[leaf], self.shapes[node.x][-1]
        one_scale = len(encoding.scale) == 1 and len(encoding.offset) == 1
        if one_scale and all(isinstance(n, Reshape | Transpose) for n in moving):
            return [encoding.scale[0]], [encoding.offset[0]]
        for each in moving:
            if not isinstance(each, Binary | BatchNorm | Reshape | Transpose) and not (
                isinstance(each, Unary) and each.kind == "neg"
            ):
                raise _refused(node, f"the {_title(each)} '{each.name}' in front of it is not quantised", _ADD_QUANT)
        shape = self.shapes[leaf]
        ends = np.stack([np.zeros(shape, np.int64), np.ones(shape, np.int64)])
        run = Evaluation(chain, {leaf: encoding.levels(ends)})
        slope, offset = [], []
        lead = (0,) * (len(self.shapes[node.x]) - 1)
        for k in range(inputs):
            zero, one = run.number(node.x, (0, *lead, k)), run.number(node.x, (1, *lead, k))
            if not isinstance(zero, Fraction) or not isinstance(one, Fraction):
                raise _refused(
                    node, "a square root (of a batch norm) scales its input, which is irrational", _ADD_QUANT
                )
            slope.append(one - zero)
            offset.append(zero)
        if len(lead) and not _alike_over_positions(run, node.x, self.shapes[node.x]):
            raise _refused(node, "what scales its input differs from position to position", _ADD_QUANT)
        return slope, offset

    def _scaled_weights(
        self, node: MatMul, slope: list[Fraction], offset: list[Fraction]
    ) -> tuple[Ints, tuple[Fraction, ...], tuple[Fraction, ...]]:
        """Integer weights, and for each output the scale and the offset of its sum.

        With inputs ``slope[k] * x[k] + offset[k]`` and weights ``steps[k, c] * levels[k, c]`` a sum is
        ``sum_k slope[k] steps[k, c] levels[k, c] x[k] + sum_k offset[k] steps[k, c] levels[k, c]``.
        """
        levels, scale = self._weight_levels(node)
        inputs, outputs = levels.shape
        steps = _Steps(np.broadcast_to(scale, levels.shape), by_row=scale.ndim == 2 and scale.shape[0] > 1)
        slopes = slope * inputs if len(slope) == 1 else slope
        offsets = offset * inputs if len(offset) == 1 else offset
        if steps.by_row or len(set(slopes)) > 1:
            integers, sums = _common_steps(node, levels, steps, slopes)
        else:
            integers, sums = levels, [slopes[0] * steps.at(0, c) for c in range(outputs)]
        constants_ = [Fraction(0)] * outputs
        if any(offset):
            if steps.by_row or len(set(offsets)) > 1:
                constants_ = [
                    sum((offsets[k] * steps.at(k, c) * int(levels[k, c]) for k in range(inputs)), Fraction(0))
                    for c in range(outputs)
                ]
            else:
                constants_ = [offsets[0] * steps.at(0, c) * int(levels[:, c].sum()) for c in range(outputs)]
        return integers, _shortest(sums), _shortest(constants_)

    def _weight_levels(self, node: MatMul) -> tuple[Ints, Reals]:
        """The weights as integers and their scale, which broadcasts."""
        weight = self.graph[node.weight]
        if isinstance(weight, QuantizedConstant):
            levels, scale = weight.levels, weight.scale
        elif isinstance(weight, Constant):
            levels, scale = _integers_of(node, weight)
        else:
            raise _refused(
                node,
                f"its weights are computed ('{weight.name}', {_title(weight)}), not constant",
                "quantise the weights as the last step before the product",
            )
        return levels, scale

    def _arranged(self, leaf: str, node: MatMul, weight: Ints) -> tuple[str, Ints]:
        """The tensor that the product reads, and the weights in the order in which it arrives."""
        chain = self._between(leaf, node.x)
        moves = [n for n in chain.nodes[1:] if isinstance(n, Reshape | Transpose) and n.name in self.leaf]
        wanted = self.shapes[node.x]
        if any(isinstance(n, Transpose) for n in moves):
            place = np.arange(prod(self.shapes[leaf])).reshape(self.shapes[leaf])
            for move in moves:
                place = place.reshape(move.shape) if isinstance(move, Reshape) else place.transpose(move.order)
            if len(wanted) != 1:
                raise _refused(node, "its input is transposed and has several positions", "flatten before the layer")
            arranged = np.empty_like(weight)
            arranged[place.reshape(-1)] = weight
            weight = arranged
        if self.shapes[leaf] == wanted:
            return leaf, weight
        name = f"{node.name}:flat"
        self.nodes.append(Flatten(name, leaf, wanted))
        return name, weight


def _activation(node: ModelOp, parameters: set[str]) -> str:
    return next(name for name in node.inputs if name not in parameters)


def _rationals(array: Reals, shape: Shape, node: Quantizer) -> tuple[Fraction, ...]:
    """A parameter as one rational, or one for each element along the last axis."""
    if array.size == 1:
        return (Fraction(float(array.reshape(-1)[0])),)
    if array.shape[-1] == array.size == shape[-1]:
        return _shortest([Fraction(float(v)) for v in array.reshape(-1)])
    raise _refused(
        node,
        f"its scale or zero point of shape {list(array.shape)} varies along an axis that is not the last",
        "use one scale for the tensor, or one for each channel of a flat tensor",
    )


def _shortest(values: list[Fraction]) -> tuple[Fraction, ...]:
    return (values[0],) if len(set(values)) == 1 else tuple(values)


def _parameter_shape(moving: list[ModelOp], chain: ModelGraph, shapes: dict[str, Shape]) -> Shape:
    """The shape to which all parameters of a chain broadcast."""
    found: list[Shape] = []
    inside = {node.name for node in moving}
    for node in moving:
        if isinstance(node, Binary):
            found += [shapes[name] for name in node.inputs if name not in inside]
        elif isinstance(node, BatchNorm):
            found.append(node.gamma.shape)
        elif isinstance(node, Quant | BipolarQuant):
            found += [node.scale.shape, node.zero_point.shape]
    return np.broadcast_shapes(*found) if found else ()


def _with_input(graph: ModelGraph, name: str, shape: Shape) -> ModelGraph:
    return graph.map(lambda node: Input(name, shape) if node.name == name else node)


def _integers_of(node: MatMul, weight: Constant) -> tuple[Ints, Reals]:
    """Unquantised weights as multiples of a power of two, where they are few bits wide."""
    lsb = lsb_of(weight.value)
    if lsb is not None:
        levels = weight.value * 2.0**-lsb
        if float(np.abs(levels).max(initial=0)) < 2 ** (MAX_UNQUANTIZED_BITS - 1):
            return levels.astype(np.int64), np.array(2.0**lsb)
    raise _refused(
        node,
        f"its weights '{weight.name}' are float32 and not quantised",
        "quantise them (brevitas.nn.QuantLinear), so that a Quant node stands behind them",
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """What one level of each weight is worth; ``by_row`` where that depends on the input."""

    values: Reals
    by_row: bool

    def at(self, row: int, column: int) -> Fraction:
        return Fraction(float(self.values[row, column]))


def _common_steps(node: MatMul, levels: Ints, steps: _Steps, slopes: list[Fraction]) -> tuple[Ints, list[Fraction]]:
    """Integer weights where the inputs, or the rows, have unlike scales: multiples of a common step."""
    inputs, outputs = levels.shape
    integers, sums = np.zeros_like(levels), []
    for c in range(outputs):
        worth = [slopes[k] * steps.at(k, c) for k in range(inputs)]
        step = _rational_gcd([s for k, s in enumerate(worth) if levels[k, c] and s]) or Fraction(1)
        column = [int(worth[k] / step) * int(levels[k, c]) for k in range(inputs)]
        if max(abs(v) for v in column).bit_length() >= MAX_WEIGHT_BITS:
            raise _refused(
                node,
                "its inputs have unlike scales without a common step, so that its sums are not integers",
                "use one scale for the whole tensor in front of it, or scales that are powers of two",
            )
        integers[:, c] = column
        sums.append(step)
    return integers, sums


def _rational_gcd(values: list[Fraction]) -> Fraction | None:
    if not values:
        return None
    bottom = lcm(*(v.denominator for v in values))
    return Fraction(gcd(*(abs(int(v * bottom)) for v in values)), bottom)


def _alike_over_positions(run: Evaluation, name: str, shape: Shape) -> bool:
    value = run.tensors[name].value.reshape(2, -1, shape[-1])
    return bool((value == value[:, :1]).all())


def _title(node: ModelOp) -> str:
    return node.kind if isinstance(node, Unary | Binary) else type(node).__name__


def _refused(node: ModelOp, why: str, remedy: str) -> UnsupportedModelError:
    return UnsupportedModelError([Unsupported((node.name,), type(node).__name__, why, remedy)])


_ADD_QUANT = "put a quantiser (QuantReLU, QuantIdentity) there"
