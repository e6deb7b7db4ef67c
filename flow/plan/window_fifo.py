# SPDX-License-Identifier: Apache-2.0
"""What waits in streams where every process spreads its work over the whole frame: a matter of the network alone.

A window unit reads the first rows of a frame in a burst and emits nothing meanwhile, and reads little later on; and
where two ways through the network meet, the words of the shorter one wait. Let all processes do their steps evenly
over a frame, each beginning as soon as its words are always there in time. That is a timetable of the kind of
``flow.plan.fifo`` at the slowest pace there can be at every process. Words are whole pixels here, and times parts of a
frame, so that what waits does not depend on how the layers are folded, but for how often a product reads its inputs.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from math import prod

import numpy as np

from flow.ir.tensor_type import TensorType
from flow.ir.types import Ints
from flow.ir.window import Window
from flow.plan.layers import Layer
from flow.plan.plan import LayerPlan
from flow.plan.processes import LayerProcess, lanes_in, schedule
from flow.plan.window_unit import WindowUnit

_FRAME = 1 << 40
"""Ticks of a frame."""


def behind_window(layer: Layer) -> bool:
    """Whether a layer has a window unit in front of it; what pads or makes channels of pixels is one itself."""
    return layer.window is not None and layer.kind not in ("padding", "pixel_unshuffle")


def values_in_front(layer: Layer) -> int:
    """The most values that wait for the window unit of a layer."""
    assert layer.window is not None
    height, width, channels = layer.x.shape
    return _in_front(height, width, layer.window) * channels


def values_behind(layer: Layer, pe: int) -> int:
    """The most values that wait for what is behind the window unit, with so many outputs at once."""
    assert layer.window is not None
    height, width, channels = layer.x.shape
    groups = 1 if layer.lanewise else layer.groups
    folds = 1 if layer.lanewise else layer.outputs // layer.groups // pe
    return _behind(height, width, layer.window, groups, folds) * (channels // groups)


def values_for_others(layers: Sequence[Layer]) -> Mapping[tuple[str, int], int]:
    """For each operand of a layer that has several the most values that wait until the others are there."""
    if all(len(layer.reads) == 1 for layer in layers):
        return {}
    since: dict[str, int] = {}  # the tick from which a tensor comes evenly
    found: dict[tuple[str, int], int] = {}
    for layer in layers:
        begins = [since.get(name, 0) for name in layer.reads]
        if behind_window(layer):
            assert layer.window is not None
            since[layer.name] = begins[0] + _delay(*layer.x.shape[:2], layer.window)
            continue
        wide = LayerPlan(
            layer.name, _pixel(layer.pe_options, layer.y), _pixel(layer.simd_options, layer.x), "lut", "lut", "none"
        )
        process = LayerProcess(layer, wide, None, None, lanes_in(layer, wide), wide.pe)
        steps = schedule(process)
        reads = [_ticks(places, steps.cycles) for places in steps.reads]
        start = max(begin + _start(_evenly(len(read)), read) for begin, read in zip(begins, reads, strict=True))
        written = _ticks(steps.writes[0] + 1, steps.cycles)
        since[layer.name] = start + _start(written, _evenly(len(written)))
        if len(reads) > 1:
            for number, (begin, read) in enumerate(zip(begins, reads, strict=True)):
                waiting = _most_waiting(begin + _evenly(len(read)), start + read, _FRAME // steps.cycles)
                found[layer.name, number] = waiting * process.in_lanes
    return found


def _pixel(options: Sequence[int], tensor: TensorType) -> int:
    """The most lanes that do not reach beyond a pixel: a step function alone may take a whole frame at once."""
    return max(lanes for lanes in options if lanes <= tensor.shape[-1])


def _ticks(steps: Ints, cycles: int) -> Ints:
    """When steps begin that are spread over a frame."""
    return steps * (_FRAME // cycles)


def _evenly(words: int) -> Ints:
    """When each word of a frame is there, if they come evenly."""
    return _ticks(np.arange(words) + 1, words)


def _start(written: Ints, read: Ints) -> int:
    """How much later than the times in ``read`` words can be read that are there at the times in ``written``."""
    return int((written - read).max())


@cache
def _in_front(height: int, width: int, window: Window) -> int:
    unit = WindowUnit(height, width, 1, window, 1, 1)
    written, read = _evenly(unit.in_words), _ticks(unit.reads(), unit.cycles)
    return _most_waiting(written, read + _start(written, read), _FRAME // unit.cycles)


@cache
def _behind(height: int, width: int, window: Window, groups: int, folds: int) -> int:
    """For each position and group all taps are read one after the other, and again from a memory in each other fold."""
    unit = WindowUnit(height, width, groups, window, 1, groups)
    taps = prod(window.kernel)
    steps = np.arange(unit.positions * groups)[:, None] * (folds * taps) + np.arange(taps)
    written, read = _ticks(unit.writes() + 1, unit.cycles), _ticks(steps.reshape(-1), unit.out_words * folds)
    return _most_waiting(written, read + _start(written, read), _FRAME // (unit.out_words * folds))


@cache
def _delay(height: int, width: int, window: Window) -> int:
    """From a tensor to that which a window unit and what is behind it make of it, all taps of a position being there
    before it is computed: with the most folds that there can be.
    """
    unit = WindowUnit(height, width, 1, window, 1, 1)
    front = _start(_evenly(unit.in_words), _ticks(unit.reads(), unit.cycles))
    there = _ticks(unit.writes().reshape(unit.positions, -1)[:, -1] + 1, unit.cycles)
    return front + _start(there, _ticks(np.arange(unit.positions), unit.positions))


def _most_waiting(written: Ints, read: Ints, step: int) -> int:
    """The most words in a stream in which each frame repeats what the one before does.

    Args:
        written: (words,): the tick at which each word is there.
        read: (words,): when it is read; it leaves its place a step later.
        step: In ticks.
    """
    left, words = read + step, len(written)
    frames = int(left.max() - written.min()) // _FRAME + 1
    gone = sum(np.searchsorted(left - back * -_FRAME, written, side="right") for back in range(-frames, 1))
    return int((frames * words + np.arange(words) + 1 - gone).max())
