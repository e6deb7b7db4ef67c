# SPDX-License-Identifier: Apache-2.0
"""The dataflow graph as layers: an operation with the step function behind it is one piece of hardware.

A stream carries the elements of a tensor in row-major order, (height, width, channels), whatever its shape, so
that ``Flatten`` is no hardware: layers see through it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import TypeAlias

import numpy as np

from flow.errors import Unsupported, UnsupportedModelError
from flow.ir.dataflow import (
    ChannelShuffle,
    Concatenation,
    Convolution,
    DataflowGraph,
    Dense,
    Flatten,
    Gate,
    Lookup,
    Padding,
    PixelShuffle,
    PixelUnshuffle,
    Pooling,
    Product,
    Repeat,
    Selection,
    Source,
    Step,
    Sum,
    TensorType,
    infer_types,
)
from flow.ir.step_forms import Certificate, Form, candidates, prove
from flow.ir.types import Bipolar
from flow.ir.window import Window

LayerOp: TypeAlias = (
    Dense
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
)

_KINDS: Mapping[type[LayerOp], str] = {
    Dense: "dense",
    Convolution: "convolution",
    Pooling: "pooling",
    Sum: "sum",
    Gate: "gate",
    Concatenation: "concatenation",
    Selection: "selection",
    Padding: "padding",
    Repeat: "repeat",
    PixelShuffle: "pixel_shuffle",
    PixelUnshuffle: "pixel_unshuffle",
    ChannelShuffle: "channel_shuffle",
}
_MOST_REGISTERS = 512  # values that several lanes take in any order
_AXES = 3  # of a selection: height, width, channels


@dataclass(frozen=True, slots=True)
class Layer:
    """An operation, the step function behind it, or both.

    Attributes:
        name: Of the tensor that it makes.
        op: Its operation; None for a bare step function.
        step: Its step function, if it has one.
        reads: The layers, or the source, that it reads, one for each operand.
        xs: The types of what it reads, as the operation sees their shapes.
        acc: The type of what its operation gives; that of ``x`` without one.
        y: The type of what it makes.
        forms: The forms in which its step function can be built, each with its proof; empty without one.
    """

    name: str
    op: LayerOp | None
    step: Step | Lookup | None
    reads: tuple[str, ...]
    xs: tuple[TensorType, ...]
    acc: TensorType
    y: TensorType
    forms: Mapping[str, tuple[Form, Certificate]]

    @property
    def x(self) -> TensorType:
        """The type of its (first) operand."""
        return self.xs[0]

    @property
    def kind(self) -> str:
        return _KINDS[type(self.op)] if self.op is not None else "step"

    @property
    def dense(self) -> Dense | None:
        """Its matrix product, if it has one."""
        return self.op if isinstance(self.op, Dense) else None

    @property
    def product(self) -> Product | None:
        """Its matrix product or convolution, if it has one."""
        return self.op if isinstance(self.op, Dense | Convolution) else None

    @property
    def groups(self) -> int:
        """In how many parts the channels of its product fall."""
        return self.op.groups if isinstance(self.op, Convolution) else 1

    @property
    def depthwise(self) -> bool:
        """Whether its product has one output for every channel."""
        return isinstance(self.op, Convolution) and self.op.depthwise

    @property
    def lanewise(self) -> bool:
        """Whether every output comes from the taps of a window over one channel, tap after tap."""
        return self.depthwise or (isinstance(self.op, Pooling) and self.window is not None)

    @property
    def window(self) -> Window | None:
        """The window that a sliding-window unit makes in front of it; None where it needs none.

        A window of one tap that moves by one over an input without padding is the input itself. A pool whose
        windows neither overlap nor reach into padding combines its pixels as they come.
        """
        match self.op:
            case Convolution(window=window):
                alone = set(window.kernel) == {1} and set(window.strides) == {1} and not window.pads
                return None if alone else window
            case Pooling(window=window):
                places = window.outputs(self.x.shape[:-1])
                apart = all(s >= k or n == 1 for s, k, n in zip(window.strides, window.span, places, strict=True))
                dense_taps = all(d == 1 or k == 1 for d, k in zip(window.dilations, window.kernel, strict=True))
                return None if apart and dense_taps and not window.pads else window
            case Padding(window=window) | PixelUnshuffle(window=window):
                return window
            case _:
                return None

    @property
    def taps(self) -> int:
        """Pixels that one output is computed from."""
        return prod(self.op.window.kernel) if isinstance(self.op, Convolution | Pooling) else 1

    @property
    def core_x(self) -> TensorType:
        """The type of an input behind the window unit: the padding included."""
        if not isinstance(self.op, Convolution | Pooling) or not self.op.window.pads:
            return self.x
        lo, hi = np.minimum(self.x.lo, self.op.pad), np.maximum(self.x.hi, self.op.pad)
        return TensorType(self.x.shape, self.op.tap_type(self.x), lo, hi)

    @property
    def inputs(self) -> int:
        """Elements that one output of a product is computed from."""
        return int(self.product.matrix.shape[0]) if self.product is not None else 1

    @property
    def outputs(self) -> int:
        """Channels of the result; elements of a frame of a bare step function."""
        return prod(self.x.shape) if self.op is None else self.acc.shape[-1]

    @property
    def positions(self) -> int:
        """How many times all outputs are computed in a frame."""
        return 1 if self.op is None else prod(self.acc.shape[:-1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a frame."""
        return self.positions * self.inputs * self.outputs if self.product is not None else 0

    @property
    def xnor(self) -> bool:
        """Whether both operands of the product are bipolar, and counted as ones."""
        return (
            self.product is not None
            and not self.depthwise
            and isinstance(self.product.weight_type, Bipolar)
            and isinstance(self.core_x.element, Bipolar)
        )

    @property
    def pe_options(self) -> list[int]:
        """How many outputs can be computed at once."""
        match self.op:
            case None:  # a divisor of a frame, and of the channels, so that the tables fold with it
                channels = self.step.channels if self.step is not None else 1
                return [pe for pe in divisors(self.outputs) if channels == 1 or channels % pe == 0]
            case Dense() | Convolution() if not self.depthwise:
                return divisors(self.outputs // self.groups)
            case Concatenation():
                return divisors(gcd(*(x.shape[-1] for x in self.xs)))
            case Selection(start=start, stop=stop, step=step):
                whole = start[-1] == 0 and stop[-1] == self.x.shape[-1]
                common = self.x.shape[-1] if whole else gcd(start[-1], stop[-1], self.x.shape[-1])
                return divisors(common) if step[-1] == 1 else [1]
            case PixelUnshuffle():
                return divisors(self.x.shape[-1])
            case ChannelShuffle(order=order) if len(order) > _MOST_REGISTERS:
                return divisors(self.op.run)  # words that move as a whole, in a memory
            case PixelShuffle(depth_last=False):
                return [1]  # neighbours in a word would go to different pixels
            case _:
                return divisors(self.outputs)

    @property
    def simd_options(self) -> list[int]:
        """How many inputs of an output can be read at once."""
        match self.op:
            case Dense():
                return divisors(self.inputs)
            case Convolution() if not self.depthwise:
                return divisors(self.inputs // self.taps)
            case _:
                return [1]


def divisors(n: int) -> list[int]:
    """The numbers that divide ``n``, in order."""
    low = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})


def layers_of(graph: DataflowGraph) -> tuple[Layer, ...]:
    """The layers, in an order in which they can be computed; the last one makes the output.

    Raises:
        UnsupportedModelError: Something of the graph cannot be built.
        ExactnessError: A form differs from its step function (a defect of this program).
    """
    types = infer_types(graph)
    seen = _seen_through(graph)
    readers: dict[str, list[str]] = {name: [] for name in seen.values()}
    for node in graph.nodes:
        if not isinstance(node, Flatten):
            for name in node.inputs:
                readers[seen[name]].append(node.name)
    outputs = {seen[name] for name in graph.outputs}
    _check_supported(graph, types, readers, outputs)
    fused: dict[str, LayerOp] = {}
    for node in graph.nodes:
        if isinstance(node, Step | Lookup):
            before = graph[seen[node.x]]
            alone = readers[before.name] == [node.name] and before.name not in outputs
            if alone and _takes_step(before) and node.channels in (1, types[before.name].shape[-1]):
                assert not isinstance(before, Source | Step | Lookup | Flatten)
                fused[node.name] = before
    inner = {op.name for op in fused.values()}
    layers: list[Layer] = []
    for node in graph.nodes:
        match node:
            case Source() | Flatten():
                pass
            case Step() | Lookup():
                layers.append(_layer(fused.get(node.name), node, types, seen))
            case _ if node.name not in inner:
                layers.append(_layer(node, None, types, seen))
    return tuple(layers)


def _seen_through(graph: DataflowGraph) -> dict[str, str]:
    """For every tensor the one whose stream it is: what stands in front of its reshapes."""
    seen: dict[str, str] = {}
    for node in graph.nodes:
        seen[node.name] = seen[node.x] if isinstance(node, Flatten) else node.name
    return seen


def _takes_step(node: object) -> bool:
    """Whether a step function can be computed with the results of an operation."""
    return isinstance(node, Dense | Convolution | Sum | Gate) or (isinstance(node, Pooling) and node.kind == "sum")


def _check_supported(
    graph: DataflowGraph, types: Mapping[str, TensorType], readers: Mapping[str, list[str]], outputs: set[str]
) -> None:
    problems = []
    if len(outputs) > 1:
        named = tuple(sorted(outputs))
        problems.append(Unsupported(named, "outputs", "a design has one output", "split the model, or join them"))
    unread = tuple(name for name, found in readers.items() if not found and name not in outputs)
    if unread:
        problems.append(Unsupported(unread, "results", "nothing reads them", "take them out of the model"))
    deep = tuple(n.name for n in graph.nodes if isinstance(n, Selection) and len(types[n.x].shape) > _AXES)
    if deep:
        problems.append(
            Unsupported(deep, "slice", f"it has more than {_AXES} axes", "reshape to (height, width, channels)")
        )
    if problems:
        raise UnsupportedModelError(problems)


def _layer(
    op: LayerOp | None, step: Step | Lookup | None, types: Mapping[str, TensorType], seen: Mapping[str, str]
) -> Layer:
    first = op if op is not None else step
    last = step if step is not None else op
    assert first is not None
    assert last is not None
    xs = tuple(types[name] for name in first.inputs)
    forms = {form.name: (form, prove(step, form)) for form in candidates(step)} if step is not None else {}
    reads = tuple(seen[name] for name in first.inputs)
    return Layer(last.name, op, step, reads, xs, types[op.name] if op else xs[0], types[last.name], forms)
