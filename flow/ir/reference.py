# SPDX-License-Identifier: Apache-2.0
"""The exact reference: evaluates a model graph so that every quantiser decides as it would on real numbers.

Every tensor is held as float64 with a bound on its error (``flow.ir.approximation``). Where the bound leaves in
doubt to which level a value rounds, that one element is computed again in rationals
(``flow.ir.exact_elements``). In the arithmetic of float32 the same bounds cover any float32 execution: that is
how a difference from such a run is proved to be a near-tie.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from flow.ir import numbers
from flow.ir.approximation import (
    DOUBLE,
    SINGLE,
    Approximation,
    Arithmetic,
    exact,
    integers,
    joined,
    lsb_of,
    negated,
)
from flow.ir.exact_elements import ExactElements, Feed, Levels, element
from flow.ir.model import (
    ArgMax,
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Concat,
    Constant,
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
    QuantizedConstant,
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
    constants,
)
from flow.ir.model_rules import infer_shapes
from flow.ir.numbers import Number
from flow.ir.rounding import distance_to_boundary, round_array
from flow.ir.sliding import convolved, over_taps, repeated, spread
from flow.ir.types import Ints, Reals
from flow.ir.window import depth_to_space, space_to_depth

__all__ = [
    "DOUBLE",
    "SINGLE",
    "Approximation",
    "Decision",
    "Evaluation",
    "Feed",
    "Levels",
    "boundary_distance",
    "evaluate",
    "frame_shape",
    "lsb_of",
    "quantize_array",
    "quantize_fraction",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a quantiser saw and gave.

    Attributes:
        levels: The level of every element, exact.
        position: ``x / scale + zero_point`` in float64.
        error: A bound on the error of ``position`` (on that of a float32 run, where that was asked for).
    """

    levels: Ints
    position: Reals
    error: Reals


class Evaluation:
    """Evaluates ``graph`` on a batch.

    Args:
        graph: A valid model graph.
        feeds: For every ``Input``: float values (taken as the rationals they are), or integers with a scale.
        precision: Significand bits of the arithmetic whose error is bounded. The decisions are exact in any
            case; with ``SINGLE`` every bound also covers a float32 execution of the same graph.
        forced: Levels that a quantiser shall hand on in place of its own: those of another execution, so
            that each segment of the network is compared on equal inputs.
        decide: Whether doubtful levels are decided exactly. Without, they are those of float64: enough to
            look for a boundary, which is then to be checked.
        keep: The tensors that are wanted afterwards: the others are dropped as soon as nothing reads them any
            more, and of a decision only the levels stay. None for all.

    Attributes:
        decisions: For every quantiser that was evaluated.
        tensors: Every tensor that was kept, approximately.
    """

    def __init__(
        self,
        graph: ModelGraph,
        feeds: Mapping[str, Feed],
        *,
        precision: int = DOUBLE,
        forced: Mapping[str, Ints] | None = None,
        decide: bool = True,
        keep: Collection[str] | None = None,
    ) -> None:
        self.graph = graph
        self.feeds = feeds
        self.precision = precision
        self.forced = forced or {}
        self.decides = decide
        self.shapes = infer_shapes(graph)
        self.parameters = constants(graph)
        self.decisions: dict[str, Decision] = {}
        self.tensors: dict[str, Approximation] = {}
        self._arithmetic = Arithmetic(precision)
        self._elements = ExactElements(
            graph, feeds, shapes=self.shapes, parameters=self.parameters, levels=self._handed_on
        )
        with np.errstate(over="ignore", under="ignore"):
            for node in graph.nodes:
                self.tensors[node.name] = self._evaluate(node)
                if keep is not None:
                    self._forget(node, keep)

    def _forget(self, node: ModelOp, keep: Collection[str]) -> None:
        """Drops what only ``node`` still read, and what a decision was made from."""
        if node.name in self.decisions and node.name not in self.parameters:
            nothing = np.empty(0)
            self.decisions[node.name] = Decision(self.decisions[node.name].levels, nothing, nothing)
        for name in {node.name, *node.inputs} - set(keep):
            users = self.graph.users[name]
            if not users or users[-1] is node:
                self.tensors.pop(name, None)

    def number(self, name: str, index: tuple[int, ...]) -> Number:
        """One element of a tensor, exactly. ``index`` starts with the frame where the tensor has that axis."""
        return self._elements.number(name, index)

    def _handed_on(self, name: str) -> Ints:
        return self.forced[name] if name in self.forced else self.decisions[name].levels

    # -- node by node --------------------------------------------------------------------------------------

    def _evaluate(self, node: ModelOp) -> Approximation:
        t, a = self.tensors, self._arithmetic
        match node:
            case Input(name=name):
                return self._feed(self.feeds[name])
            case Constant(value=value):
                return exact(value)
            case QuantizedConstant(levels=levels, scale=scale):
                return a.product(integers(levels), exact(scale))
            case Quant() | BipolarQuant():
                return self._quantize(node, t[node.x])
            case MatMul(x=x, weight=weight):
                return a.dot(t[x], t[weight], lambda v, w: np.asarray(v @ w), self.shapes[x][-1])
            case Conv() | ConvTranspose():
                return self._convolved(node)
            case Pool():
                return self._pooled(node)
            case Reduce():
                return self._reduced(node)
            case Binary(kind=kind, x=x, y=y):
                rank = len(self.shapes[node.name])
                return a.binary(kind, self._ranked(x, rank), self._ranked(y, rank))
            case Unary(kind=unary, x=x):
                return a.unary(unary, t[x])
            case Clip(x=x, lo=lo, hi=hi):
                return a.clip(t[x], lo, hi)
            case LeakyRelu(x=x, slope=slope):
                return a.leaky_relu(t[x], slope)
            case BatchNorm():
                return a.batch_norm(node, t[node.x])
            case Concat(xs=xs, axis=axis):
                frames = max((len(t[x].value) for x in xs if x not in self.parameters), default=0)
                parts = [self._framed(x, frames) if frames else t[x] for x in xs]
                return joined(parts, axis - len(self.shapes[node.name]))
            case Reshape() | Transpose() | Slice() | Upsample() | DepthToSpace() | SpaceToDepth() | Permute():
                return t[node.x].moved(self._move(node))
            case Pad():
                return self._padded(node)
            case Softmax(x=x, axis=axis):
                return a.softmax(t[x], axis - len(self.shapes[x]))
            case ArgMax(x=x, axis=axis, count=count, keep=keep):
                axis -= len(self.shapes[x])
                places = a.places(t[x], axis, count)
                return places if keep else places.moved(lambda v: np.squeeze(v, axis))

    def _lead(self, x: str) -> int:
        """The number of axes in front of the frame's."""
        return 0 if x in self.parameters else 1

    def _ranked(self, name: str, rank: int) -> Approximation:
        """A tensor whose frames have ``rank`` axes, so that it broadcasts beside such a tensor."""
        x, missing = self.tensors[name], rank - len(self.shapes[name])
        if not missing or name in self.parameters:
            return x
        return x.moved(lambda v: v.reshape(len(v), *[1] * missing, *v.shape[1:]))

    def _framed(self, name: str, frames: int) -> Approximation:
        """A tensor with a batch axis, also where it is a parameter."""
        return self.tensors[name].moved(lambda v: np.broadcast_to(v, (frames, *self.shapes[name])))

    def _move(
        self, node: Reshape | Transpose | Slice | Upsample | DepthToSpace | SpaceToDepth | Permute
    ) -> Callable[[Reals], Reals]:
        lead = self._lead(node.x)
        match node:
            case Reshape(shape=shape):
                return lambda v: v.reshape(*v.shape[:lead], *shape)
            case Transpose(order=order):
                return lambda v: v.transpose(*range(lead), *(axis + lead for axis in order))
            case Slice(start=start, stop=stop, step=step):
                places = [slice(None)] * lead + [slice(*s) for s in zip(start, stop, step, strict=True)]
                return lambda v: v[tuple(places)]
            case Upsample(factors=factors):
                return lambda v: repeated(v, factors, lead)
            case DepthToSpace(block=block, depth_last=depth_last):
                if lead:
                    return lambda v: depth_to_space(v, block, depth_last=depth_last)
                return lambda v: depth_to_space(v[None], block, depth_last=depth_last)[0]
            case SpaceToDepth(block=block):
                return lambda v: space_to_depth(v, block) if lead else space_to_depth(v[None], block)[0]
            case Permute(axis=axis, order=order):
                return lambda v: np.take(v, order, lead + axis)

    def _padded(self, node: Pad) -> Approximation:
        x, value = self.tensors[node.x], exact(np.array(node.value))
        widths = [(0, 0)] * self._lead(node.x) + list(zip(node.before, node.after, strict=True))
        error = np.zeros(())
        if np.any(x.error):
            error = np.pad(np.broadcast_to(x.error, x.value.shape), widths)
        lsb = None if x.lsb is None or value.lsb is None else min(x.lsb, value.lsb)
        return Approximation(np.pad(x.value, widths, constant_values=node.value), error, lsb)

    def _convolved(self, node: Conv | ConvTranspose) -> Approximation:
        window, groups = node.window, node.groups
        *kernel, rows, _ = self.shapes[node.weight]

        def product(v: Reals, w: Reals) -> Reals:
            if isinstance(node, Conv):
                return convolved(window.padded(v, 0.0), w, window, groups)
            return spread(v, w, window, groups)

        terms = int(np.prod(kernel)) * rows
        return self._arithmetic.dot(self.tensors[node.x], self.tensors[node.weight], product, terms)

    def _pooled(self, node: Pool) -> Approximation:
        x, window = self.tensors[node.x], node.window
        if node.kind == "max":
            return self._arithmetic.greatest(x, lambda v: over_taps(window.padded(v, -np.inf), window, np.maximum))
        ones = np.ones((1, *self.shapes[node.x][:-1], 1))
        inside = over_taps(window.padded(ones, 0.0), window, np.add)
        taps = int(np.prod(window.kernel))
        counts = np.full((), float(taps)) if node.whole or not window.pads else inside
        return self._arithmetic.mean(x, lambda v: over_taps(window.padded(v, 0.0), window, np.add), taps, counts)

    def _reduced(self, node: Reduce) -> Approximation:
        x, lead = self.tensors[node.x], self._lead(node.x)
        axes = tuple(axis + lead for axis in node.axes)
        if node.kind == "max":
            return self._arithmetic.greatest(x, lambda v: np.asarray(v.max(axis=axes, keepdims=node.keep)))
        terms = int(np.prod([self.shapes[node.x][axis] for axis in node.axes]))

        def add(v: Reals) -> Reals:
            return np.asarray(v.sum(axis=axes, keepdims=node.keep))

        if node.kind == "sum":
            return self._arithmetic.total(x, add, terms)
        return self._arithmetic.mean(x, add, terms, np.full((), float(terms)))

    def _feed(self, feed: Feed) -> Approximation:
        if not isinstance(feed, Levels):
            return exact(feed.astype(np.float64))
        level = integers(feed.levels)
        scale = np.array([float(s) for s in feed.scale])
        offset = np.array([float(o) for o in feed.offset])
        scaled = self._arithmetic.product(level, self._rational(scale, feed.scale))
        if not any(feed.offset):
            return scaled
        return self._arithmetic.sum(scaled, self._rational(offset, feed.offset))

    def _rational(self, value: Reals, true: tuple[Fraction, ...]) -> Approximation:
        if self.precision >= DOUBLE and all(Fraction(v) == f for v, f in zip(value.tolist(), true, strict=True)):
            return exact(value)
        return Approximation(value, self._arithmetic.unit * np.abs(value) + self._arithmetic.tiny, None)

    # -- decisions -----------------------------------------------------------------------------------------

    def _quantize(self, node: Quantizer, x: Approximation) -> Approximation:
        scale, zero_point = exact(node.scale), exact(node.zero_point)
        position = self._arithmetic.quotient(x, scale)
        if np.any(node.zero_point):
            position = self._arithmetic.sum(position, zero_point)
        levels = self._levels(node, position)
        self.decisions[node.name] = Decision(levels, position.value, position.error)
        centred = self._arithmetic.sum(integers(self._handed_on(node.name)), negated(zero_point))
        return self._arithmetic.product(centred, scale)

    def _levels(self, node: Quantizer, position: Approximation) -> Ints:
        if not self.decides or not np.any(position.error):
            return quantize_array(node, position.value).astype(np.int64)
        # decided in float64 even where the bound is for float32: the position itself is float64
        error = position.error if self.precision == DOUBLE else self._double_error(node.name)
        margin = np.where(error > 0, error + np.spacing(np.abs(position.value)), 0.0)
        low = quantize_array(node, position.value - margin)
        high = quantize_array(node, position.value + margin)
        levels = high.astype(np.int64)
        for index in np.argwhere(~(low == high)):
            levels[tuple(index)] = self.decide(node, tuple(int(i) for i in index))
        return levels

    def _double_error(self, name: str) -> Reals:
        if not hasattr(self, "_double"):
            self._double = Evaluation(self.graph, self.feeds, forced=self.forced)
        return self._double.decisions[name].error

    def decide(self, node: Quantizer, index: tuple[int, ...]) -> int:
        """The level of one element, in exact arithmetic."""
        scale = Fraction(element(node.scale, index))
        zero_point = Fraction(element(node.zero_point, index))

        def position() -> Number:
            return numbers.add(numbers.divide(self.number(node.x, index), scale), zero_point)

        return numbers.decide(position, lambda x: quantize_fraction(node, x), f"'{node.name}' at {index}")


def quantize_array(node: Quantizer, position: Reals) -> Reals:
    """The level at each float64 position, as floats."""
    if isinstance(node, BipolarQuant):
        return np.where(position >= 0, 1.0, -1.0)
    lo, hi = node.range
    return np.clip(round_array(position, node.rounding), lo, hi)


def quantize_fraction(node: Quantizer, position: Fraction) -> int:
    """The level at one exact position."""
    if isinstance(node, BipolarQuant):
        return 1 if position >= 0 else -1
    return numbers.quantize_exact(position, node.rounding, *node.range)


def boundary_distance(node: Quantizer, position: Reals) -> Reals:
    """How far each position is from the nearest one at which the level changes, in levels."""
    if isinstance(node, BipolarQuant):
        return np.abs(position)
    return distance_to_boundary(position, node.rounding)


def evaluate(graph: ModelGraph, feeds: Mapping[str, Feed]) -> dict[str, Reals]:
    """The outputs of ``graph`` as float64, every quantiser having decided exactly.

    Returns:
        For each output (frames, *shape); the error of the float64 numbers is some units in the last place.
    """
    run = Evaluation(graph, feeds, keep=graph.outputs)
    return {name: run.tensors[name].value for name in graph.outputs}


def frame_shape(graph: ModelGraph) -> Shape:
    """The shape of one frame of the single input."""
    return next(node.shape for node in graph.nodes if isinstance(node, Input))
