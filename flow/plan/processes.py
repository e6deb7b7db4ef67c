# SPDX-License-Identifier: Apache-2.0
"""The processes of a design, and in which iteration of a frame each reads and writes its words."""

from dataclasses import dataclass
from math import gcd, prod
from typing import Literal, TypeAlias

import numpy as np

from flow.ir.dataflow import (
    ChannelShuffle,
    Concatenation,
    Convolution,
    Gate,
    Padding,
    PixelShuffle,
    PixelUnshuffle,
    Pooling,
    Repeat,
    Selection,
    Sum,
)
from flow.ir.step_forms import Certificate, Form
from flow.ir.types import ElementType, Ints
from flow.plan.layers import Layer
from flow.plan.plan import LayerPlan
from flow.plan.window_unit import WindowUnit

Block: TypeAlias = Literal[
    "step",
    "dense",
    "lanewise",
    "window",
    "pool",
    "join",
    "gate",
    "concatenate",
    "select",
    "repeat",
    "pixel_shuffle",
    "channel_shuffle",
]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the words of a frame pass, in iterations of the process's loop, one of which can start each cycle.

    Attributes:
        reads: For every input the iteration in which each word is read.
        writes: For every output the iteration in which each word is written.
        cycles: Iterations of a frame.
    """

    reads: tuple[Ints, ...]
    writes: tuple[Ints, ...]
    cycles: int


@dataclass(frozen=True, slots=True)
class LayerProcess:
    """A layer with its place in the design; behind its window unit, if it has one.

    Attributes:
        layer: What it computes.
        plan: How it is folded.
        form: How its step function is realised; None without one.
        certificate: The proof of the form; None without one.
        in_lanes: Values of a word that it reads, of every operand.
        out_lanes: Values of a word that it writes.
    """

    layer: Layer
    plan: LayerPlan
    form: Form | None
    certificate: Certificate | None
    in_lanes: int
    out_lanes: int

    @property
    def block(self) -> Block:
        """Which hardware it is."""
        match self.layer.op:
            case None:
                return "step"
            case Pooling() if not self.layer.lanewise:
                return "pool"
            case Pooling() | Convolution() if self.layer.lanewise:
                return "lanewise"
            case Padding() | PixelUnshuffle():
                return "window"
            case Sum():
                return "join"
            case Gate():
                return "join" if self.layer.xs[0].shape == self.layer.xs[1].shape else "gate"
            case Concatenation():
                return "concatenate"
            case Selection():
                return "select"
            case Repeat():
                return "repeat"
            case PixelShuffle():
                return "pixel_shuffle"
            case ChannelShuffle():
                return "channel_shuffle"
            case _:
                return "dense"

    @property
    def unit(self) -> WindowUnit:
        """The window unit that it is, for a layer that pads or makes channels of pixels."""
        assert isinstance(self.layer.op, Padding | PixelUnshuffle)
        unit = window_unit(self.layer, self.plan)
        assert unit is not None
        return unit

    @property
    def cycles(self) -> int:
        """Cycles of a frame at II = 1."""
        layer, plan = self.layer, self.plan
        match self.block:
            case "step" | "join" | "concatenate" | "repeat":
                return self.out_words
            case "dense":
                return layer.positions * (layer.outputs // plan.pe) * (layer.inputs // plan.simd)
            case "lanewise":
                return layer.positions * (layer.outputs // plan.pe) * layer.taps
            case "window":
                return self.unit.cycles
            case "pool" | "select":
                return self.in_words
            case "gate":
                return self.out_words + layer.xs[1].size // plan.pe
            case "pixel_shuffle":  # it reads a row while it writes the one before
                return (layer.x.shape[0] + 1) * (self.in_words // layer.x.shape[0])
            case "channel_shuffle":  # it reads a pixel while it writes the one before
                return self.in_words + self.lag

    @property
    def lag(self) -> int:
        """By how many words the channels in another order lie behind: a pixel, or nothing where a word holds all."""
        words = self.layer.outputs // self.in_lanes
        return words if words > 1 else 0

    @property
    def in_words(self) -> int:
        """Words of its (first) operand in a frame."""
        seen = self.layer.window is not None and self.block in ("dense", "lanewise")
        values = self.layer.positions * self.layer.taps * self.layer.x.shape[-1] if seen else self.layer.x.size
        return values // self.in_lanes

    @property
    def out_words(self) -> int:
        return self.layer.y.size // self.out_lanes


@dataclass(frozen=True, slots=True)
class WindowProcess:
    """The sliding-window unit in front of a layer's core.

    Attributes:
        layer: The layer that it belongs to.
        unit: Its geometry.
    """

    layer: Layer
    unit: WindowUnit

    @property
    def cycles(self) -> int:
        return self.unit.cycles

    @property
    def element(self) -> ElementType:
        """Of what it emits."""
        return self.layer.core_x.element

    @property
    def in_lanes(self) -> int:
        return self.unit.lanes

    @property
    def out_lanes(self) -> int:
        return self.unit.lanes

    @property
    def in_words(self) -> int:
        return self.unit.in_words

    @property
    def out_words(self) -> int:
        return self.unit.out_words


@dataclass(frozen=True, slots=True)
class Fork:
    """Copies of a stream, one for each reader.

    Attributes:
        after: The layer in front of it; None at the input.
        element: The type of the values.
        values: Values of a frame.
        lanes: Values of a word.
        copies: How many streams leave.
    """

    after: str | None
    element: ElementType
    values: int
    lanes: int
    copies: int

    @property
    def cycles(self) -> int:
        return self.values // self.lanes

    @property
    def in_lanes(self) -> int:
        return self.lanes

    @property
    def out_lanes(self) -> int:
        return self.lanes

    @property
    def in_words(self) -> int:
        return self.cycles

    @property
    def out_words(self) -> int:
        return self.cycles


@dataclass(frozen=True, slots=True)
class Gearbox:
    """Words of one width into words of another, once a frame.

    Attributes:
        role: Whether it reads the input port, writes the output port, or stands between two layers.
        after: The layer in front of it; None at the input.
        element: The type of the values.
        values: Values of a frame.
        in_lanes: Values of a word that it reads.
        out_lanes: Values of a word that it writes.
        cycles: Iterations of a frame.
        last_read: The iteration behind that of the last read.
    """

    role: Literal["input", "output", "between"]
    after: str | None
    element: ElementType
    values: int
    in_lanes: int
    out_lanes: int
    cycles: int
    last_read: int

    @property
    def step(self) -> int:
        """Values held are a multiple of this."""
        return gcd(self.in_lanes, self.out_lanes)

    @property
    def places(self) -> int:
        """How many different fillings a read can meet."""
        return self.out_lanes // self.step

    @property
    def capacity(self) -> int:
        """The most values that are held."""
        return (self.places - 1) * self.step + self.in_lanes

    @property
    def in_words(self) -> int:
        return -(-self.values // self.in_lanes)

    @property
    def out_words(self) -> int:
        return -(-self.values // self.out_lanes)


Process: TypeAlias = LayerProcess | WindowProcess | Fork | Gearbox


def element_of(process: Process) -> ElementType:
    """The type of the values that a process writes."""
    return process.layer.y.element if isinstance(process, LayerProcess) else process.element


def lanes_in(layer: Layer, plan: LayerPlan) -> int:
    """The values that a layer needs in one cycle, of each operand."""
    return plan.simd if layer.product is not None and not layer.depthwise else plan.pe


def window_unit(layer: Layer, plan: LayerPlan) -> WindowUnit | None:
    """The sliding-window unit of a layer; None where it needs none."""
    if layer.window is None:
        return None
    height, width, channels = layer.x.shape
    lanes = lanes_in(layer, plan)
    blocks = channels // lanes if layer.lanewise else layer.groups
    return WindowUnit(height, width, channels, layer.window, lanes, blocks)


def layer_cycles(layer: Layer, plan: LayerPlan) -> int:
    """Cycles of a frame of the slower of a layer's processes."""
    core = LayerProcess(layer, plan, None, None, lanes_in(layer, plan), plan.pe).cycles
    unit = window_unit(layer, plan)
    return max(core, unit.cycles) if unit is not None else core


def gearbox(
    role: Literal["input", "output", "between"],
    after: str | None,
    element: ElementType,
    values: int,
    in_lanes: int,
    out_lanes: int,
) -> Gearbox:
    """A gearbox with its iterations counted: in each it reads a word if it holds too few values for the next
    one, and writes a word if it then holds enough, or if the frame ends.

    Wider words come in one an iteration: a word leaves with every read that completes it, and with the last read;
    one more iteration where that leaves values over. Narrower words leave one an iteration, and word r is read when
    r * in_lanes // out_lanes words have left.
    """
    in_words, out_words = -(-values // in_lanes), -(-values // out_lanes)
    if in_lanes <= out_lanes:
        written = (in_words - 1) * in_lanes // out_lanes + 1
        cycles, last_read = in_words + out_words - written, in_words
    else:
        cycles, last_read = out_words, (in_words - 1) * in_lanes // out_lanes + 1
    return Gearbox(role, after, element, values, in_lanes, out_lanes, cycles, last_read)


def schedule(process: Process) -> Schedule:
    """When each word of a frame passes a process."""
    match process:
        case Gearbox():
            return _gearbox_schedule(process)
        case Fork():
            every = np.arange(process.cycles, dtype=np.int64)
            return Schedule((every,), (every,) * process.copies, process.cycles)
        case WindowProcess(unit=unit):
            return Schedule((unit.reads(),), (unit.writes(),), unit.cycles)
        case LayerProcess():
            return _layer_schedule(process)


def _gearbox_schedule(box: Gearbox) -> Schedule:
    """A wider word comes when the values of the one before it do not suffice; a wider one leaves as soon as it is
    whole, the last as it is, in the last iteration.
    """
    if box.in_lanes > box.out_lanes:
        reads = np.arange(box.in_words, dtype=np.int64) * box.in_lanes // box.out_lanes
        return Schedule((reads,), (np.arange(box.out_words, dtype=np.int64),), box.cycles)
    every = np.arange(box.in_words, dtype=np.int64)
    full = every[(every + 1) * box.in_lanes // box.out_lanes > every * box.in_lanes // box.out_lanes]
    writes = np.append(full[: box.out_words - 1], box.cycles - 1)
    return Schedule((every,), (writes,), box.cycles)


def _layer_schedule(process: LayerProcess) -> Schedule:
    layer = process.layer
    every = np.arange(process.cycles, dtype=np.int64)
    match process.block:
        case "step" | "join":
            return Schedule((every,) * len(layer.xs), (every,), process.cycles)
        case "dense":
            return _dense_schedule(process)
        case "lanewise":
            return Schedule((every,), (every[layer.taps - 1 :: layer.taps],), process.cycles)
        case "window":
            return Schedule((process.unit.reads(),), (process.unit.writes(),), process.cycles)
        case "gate":
            gates = layer.xs[1].size // process.in_lanes
            return Schedule((every[gates:], every[:gates]), (every[gates:],), process.cycles)
        case "pool":
            return Schedule((every,), (every[_pool_ends(layer, process.in_lanes)],), process.cycles)
        case "concatenate":
            words = np.array([x.shape[-1] // process.in_lanes for x in layer.xs])
            source = np.tile(np.repeat(np.arange(len(words)), words), layer.positions)
            return Schedule(tuple(every[source == i] for i in range(len(words))), (every,), process.cycles)
        case "select":
            return Schedule((every,), (every[_kept(layer, process.in_lanes)],), process.cycles)
        case "repeat":
            assert isinstance(layer.op, Repeat)
            (rows, columns), (height, width, channels) = layer.op.factors, layer.x.shape
            order = every.reshape(height, rows, width, columns, channels // process.in_lanes)
            return Schedule((order[:, 0, :, 0].reshape(-1),), (every,), process.cycles)
        case "pixel_shuffle":
            row = process.in_words // layer.x.shape[0]
            return Schedule((every[:-row],), (every[row:],), process.cycles)
        case "channel_shuffle":
            return Schedule((every[: process.in_words],), (every[process.lag :],), process.cycles)


def _dense_schedule(process: LayerProcess) -> Schedule:
    layer, plan = process.layer, process.plan
    synapses = layer.inputs // plan.simd
    neurons = layer.outputs // layer.groups // plan.pe
    position = np.arange(layer.positions * layer.groups, dtype=np.int64)[:, None] * (synapses * neurons)
    # of a word of several slices only the first is read
    slices, parts = process.in_lanes // plan.simd, process.out_lanes // plan.pe
    reads = (position + np.arange(synapses)).reshape(-1)[::slices]
    writes = (position + np.arange(neurons) * synapses + synapses - 1).reshape(-1)[parts - 1 :: parts]
    return Schedule((reads,), (writes,), process.cycles)


def _pool_ends(layer: Layer, lanes: int) -> Ints:
    """The words with which a window of a pool is complete."""
    assert isinstance(layer.op, Pooling)
    height, width, channels = layer.x.shape
    kernel, strides = layer.op.window.kernel, layer.op.window.strides
    words = np.arange(height * width * channels // lanes).reshape(height, width, -1)
    rows, columns = layer.acc.shape[:2]
    last = [slice(k - 1, k + (n - 1) * s, s) for k, n, s in zip(kernel, (rows, columns), strides, strict=True)]
    return np.asarray(words[last[0], last[1]], np.int64).reshape(-1)


def kept_places(layer: Layer, lanes: int) -> tuple[Ints, Ints, Ints]:
    """Which rows, columns and words of a pixel a selection keeps: 1 where it does."""
    assert isinstance(layer.op, Selection)
    op = layer.op
    missing = 3 - len(op.start)
    shape = (1,) * missing + layer.x.shape
    parts = [(0, 1, 1)] * missing + list(zip(op.start, op.stop, op.step, strict=True))
    kept = []
    for size, (start, stop, step) in zip(shape, parts, strict=True):
        place = np.arange(size)
        kept.append(((place >= start) & (place < stop) & ((place - start) % step == 0)).astype(np.int64))
    return kept[0], kept[1], kept[2][::lanes]


def _kept(layer: Layer, lanes: int) -> Ints:
    rows, columns, words = kept_places(layer, lanes)
    whole = rows[:, None, None] * columns[:, None] * words
    return np.flatnonzero(whole.reshape(prod(whole.shape)))
