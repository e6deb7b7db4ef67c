# SPDX-License-Identifier: Apache-2.0
"""The dataflow language: integers only, and blocks that become hardware.

``evaluate`` of each operation is the specification of its hardware, bit for bit. Arrays are (frames, *shape);
channels lie along the last axis, and element ``i`` of a frame (in row-major order) is in channel
``i % channels``. What depends on parallelism is in the plan, not here.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.errors import VerifyError
from flow.ir.graph import Graph, Node
from flow.ir.types import MAX_BITS, Bipolar, ElementType, Ints, IntType, type_of_values

Shape: TypeAlias = tuple[int, ...]

_FLOAT_EXACT = 2**24
_DOUBLE_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor.

    Attributes:
        shape: Of one frame.
        element: The type that carries it in hardware.
        lo: The least value of each channel, (channels,) or (1,) where all are alike.
        hi: The greatest value, shaped like ``lo``.
    """

    shape: Shape
    element: ElementType
    lo: Ints
    hi: Ints

    @property
    def size(self) -> int:
        """Elements of one frame."""
        return math.prod(self.shape)


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


@dataclass(frozen=True, eq=False)
class Dense(Node):
    """``y = x @ weight``, summed exactly in ``acc``; ``weight`` is (inputs, outputs)."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    weight: Ints
    acc: IntType

    @cached_property
    def weight_type(self) -> ElementType:
        """The type at which the weights are stored: the narrowest that their values need."""
        return type_of_values(self.weight)

    def sum_range(self, x: TensorType) -> tuple[Ints, Ints]:
        """The least and greatest total of each output over all inputs of type ``x``."""
        low, high = _term_ranges(self.weight, x)
        return low.sum(0), high.sum(0)

    def partial_range(self, x: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum that any input can reach, in any order of addition."""
        low, high = _term_ranges(self.weight, x)
        return int(np.minimum(low, 0).sum(0).min()), int(np.maximum(high, 0).sum(0).max())

    def infer(self, x: TensorType) -> TensorType:
        lo, hi = self.sum_range(x)
        return TensorType((*x.shape[:-1], self.weight.shape[1]), self.acc, lo, hi)

    def verify(self, x: TensorType) -> None:
        if not x.shape or x.shape[-1] != self.weight.shape[0]:
            raise VerifyError(f"'{self.name}': {self.weight.shape[0]} rows of weights for an input of shape {x.shape}")
        lo, hi = self.partial_range(x)
        if lo < self.acc.min or hi > self.acc.max:
            raise VerifyError(
                f"'{self.name}': accumulator {self.acc} overflows: sums reach [{lo}, {hi}], "
                f"which needs {IntType.holding(lo, hi)}"
            )

    def evaluate(self, x: Ints) -> Ints:
        bound = int(np.abs(x).max(initial=0)) * int(np.abs(self.weight).sum(0).max(initial=0))
        if bound < _FLOAT_EXACT:  # every partial sum is exact in float32, and BLAS is far faster than int64
            return np.rint(x.astype(np.float32) @ self.weight.astype(np.float32)).astype(np.int64)
        if bound < _DOUBLE_EXACT:
            return np.rint(x.astype(np.float64) @ self.weight.astype(np.float64)).astype(np.int64)
        return x @ self.weight


def over_channels(x: TensorType, channels: int) -> tuple[Ints, Ints]:
    """The interval of each of ``channels`` channels, where ``x`` has one for all, for each channel, or for each
    element; element ``i`` is in channel ``i % channels``.
    """
    if x.lo.size % channels == 0:
        return x.lo.reshape(-1, channels).min(0), x.hi.reshape(-1, channels).max(0)
    repeats = channels // x.lo.size
    return np.tile(x.lo, repeats), np.tile(x.hi, repeats)


def _term_ranges(weight: Ints, x: TensorType) -> tuple[Ints, Ints]:
    lo, hi = (bound[:, None] for bound in over_channels(x, weight.shape[0]))
    at_lo, at_hi = weight * lo, weight * hi
    return np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi)


@dataclass(frozen=True, eq=False)
class Step(Node):
    """One monotone step function for each channel: ``start + stride * (number of thresholds <= x)``.

    It is the exact meaning of everything that stands between an accumulator and the next quantiser. A plan
    realises it in the cheapest form that is proved equal (``flow.ir.step_forms``).

    Attributes:
        x: The tensor it reads.
        thresholds: (channels, boundaries), non-decreasing along a row; channels is 1 where all are alike.
            Unused places at the end of a row hold ``NEVER``.
        start: (channels,): the value below the first threshold.
        stride: (channels,): what each threshold adds; +1 or -1, and +2 or -2 between bipolar values.
        lo: (channels,): the least input for which the function is known.
        hi: (channels,): the greatest.
        element: The type of the result.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    thresholds: Ints
    start: Ints
    stride: Ints
    lo: Ints
    hi: Ints
    element: ElementType

    @property
    def channels(self) -> int:
        return int(self.thresholds.shape[0])

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which thresholds lie inside the interval: those at which the value really changes."""
        within: NDArray[np.bool_] = (self.thresholds > self.lo[:, None]) & (self.thresholds <= self.hi[:, None])
        return within

    def ends(self) -> tuple[Ints, Ints]:
        """The value of each channel at its least and at its greatest input."""
        at_lo = self.start + self.stride * (self.thresholds <= self.lo[:, None]).sum(1)
        at_hi = self.start + self.stride * (self.thresholds <= self.hi[:, None]).sum(1)
        return at_lo, at_hi

    def infer(self, x: TensorType) -> TensorType:
        at_lo, at_hi = self.ends()
        return TensorType(x.shape, self.element, np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi))

    def verify(self, x: TensorType) -> None:
        if x.size % self.channels or (self.channels > 1 and x.shape[-1] != self.channels != x.size):
            raise VerifyError(f"'{self.name}': {self.channels} channels for an input of shape {x.shape}")
        if not bool((np.diff(self.thresholds, axis=1) >= 0).all()):
            raise VerifyError(f"'{self.name}': thresholds are not in order")
        unit = 2 if isinstance(self.element, Bipolar) else 1
        if not bool((np.abs(self.stride) == unit).all()):
            raise VerifyError(f"'{self.name}': strides must be {unit} or -{unit} for {self.element}")
        lo, hi = over_channels(x, self.channels)
        known = bool((self.lo <= lo).all() and (self.hi >= hi).all())
        if not known:
            raise VerifyError(f"'{self.name}': its input leaves the interval for which it is known")
        at_lo, at_hi = self.ends()
        low, high = int(min(at_lo.min(), at_hi.min())), int(max(at_lo.max(), at_hi.max()))
        if low < self.element.min or high > self.element.max:
            raise VerifyError(f"'{self.name}': values in [{low}, {high}] do not fit {self.element}")

    def evaluate(self, x: Ints) -> Ints:
        if self.channels == 1:
            rank: Ints = np.searchsorted(self.thresholds[0], x, side="right").astype(np.int64)
            uniform: Ints = self.start[0] + self.stride[0] * rank
            return uniform
        rows = x.reshape(-1, self.channels)
        count = np.empty(rows.shape, np.int64)
        for channel in range(self.channels):
            count[:, channel] = np.searchsorted(self.thresholds[channel], rows[:, channel], side="right")
        return (self.start + self.stride * count).reshape(x.shape)


NEVER = 1 << (MAX_BITS + 2)
"""A threshold that no input reaches."""


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """The same elements in the same order, in another shape: no hardware."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    shape: Shape

    def infer(self, x: TensorType) -> TensorType:
        channels = x.lo.size
        if channels > 1 and self.shape and self.shape[-1] != channels:
            repeated = (x.size // channels,)
            whole = np.tile(x.lo, repeated), np.tile(x.hi, repeated)
            alike = (self.shape[-1] == x.size,)
            if not alike[0]:
                whole = np.array([x.lo.min()]), np.array([x.hi.max()])
            return TensorType(self.shape, x.element, *whole)
        return TensorType(self.shape, x.element, x.lo, x.hi)

    def verify(self, x: TensorType) -> None:
        if math.prod(self.shape) != x.size:
            raise VerifyError(f"'{self.name}': {x.shape} cannot become {self.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return x.reshape(x.shape[0], *self.shape)


DataflowOp: TypeAlias = Source | Dense | Step | Flatten
DataflowGraph: TypeAlias = Graph[DataflowOp]
DATAFLOW_OPS: tuple[type[DataflowOp], ...] = (Source, Dense, Step, Flatten)


def product_before(step: Step, graph: DataflowGraph) -> Dense | None:
    """The product that a step reads, channel by channel, if nothing else sees its sums; else None."""
    dense = graph[step.x]
    if not isinstance(dense, Dense) or graph.users[dense.name] != (step,) or dense.name in graph.outputs:
        return None
    return dense if step.channels == dense.weight.shape[1] else None


def infer_types(graph: DataflowGraph) -> dict[str, TensorType]:
    """The type and the interval of every tensor."""
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        types[node.name] = node.infer() if isinstance(node, Source) else node.infer(types[node.x])
    return types


def verify_dataflow(graph: DataflowGraph) -> None:
    """The rules of the dataflow language; every violation is listed."""
    graph.check_wiring()
    problems: list[str] = []
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        try:
            if isinstance(node, Source):
                node.verify()
                types[node.name] = node.infer()
            else:
                node.verify(types[node.x])
                types[node.name] = node.infer(types[node.x])
        except VerifyError as error:
            problems.append(str(error))
            break  # what follows would only repeat it
        element = types[node.name].element
        if element.bits > MAX_BITS:
            problems.append(f"'{node.name}': {element} is wider than {MAX_BITS} bits")
    if problems:
        raise VerifyError("\n".join(problems))


def execute(graph: DataflowGraph, feeds: dict[str, Ints], *, keep: bool = False) -> dict[str, Ints]:
    """Every output (with ``keep`` every tensor) for a batch of integers, (frames, *shape)."""
    values: dict[str, Ints] = {}
    for node in graph.nodes:
        values[node.name] = feeds[node.name] if isinstance(node, Source) else node.evaluate(values[node.x])
    return values if keep else {name: values[name] for name in graph.outputs}
