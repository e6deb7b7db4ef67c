# SPDX-License-Identifier: Apache-2.0
"""The sliding-window unit: which line buffer it has, and what it does in each iteration."""

from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from flow.ir.types import Ints
from flow.ir.window import Window

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class WindowUnit:
    """Reads the pixels of a frame and emits, for every output position, the pixels under its taps.

    In every iteration it reads a word if the line buffer has room, and emits one if the last pixel of its
    position had been read before. For each position it emits, for each block of channels, for each tap, the
    words of that block.

    Attributes:
        height: Rows of the input.
        width: Pixels of a row.
        channels: Values of a pixel.
        window: Where the taps lie.
        lanes: Values of a word; divides the values of a block.
        blocks: Parts of a pixel that are emitted one behind the other, each for all taps.
    """

    height: int
    width: int
    channels: int
    window: Window
    lanes: int
    blocks: int

    @property
    def pixel_words(self) -> int:
        return self.channels // self.lanes

    @property
    def row_words(self) -> int:
        return self.width * self.pixel_words

    @property
    def block_words(self) -> int:
        return self.pixel_words // self.blocks

    @property
    def in_words(self) -> int:
        return self.height * self.row_words

    @property
    def positions(self) -> int:
        return prod(self.window.outputs((self.height, self.width)))

    @property
    def position_words(self) -> int:
        """Words that are emitted for one position."""
        return prod(self.window.kernel) * self.pixel_words

    @property
    def out_words(self) -> int:
        return self.positions * self.position_words

    @property
    def rows(self) -> int:
        """Rows of the line buffer: those under a window, and those that the next one adds; no more than there are
        (but a step down or to the next tap must not go around twice).
        """
        span, stride, dilation = self.window.span[0], self.window.strides[0], self.window.dilations[0]
        return min(span + stride - 1, max(self.height, stride, dilation if span > 1 else 1))

    def needed(self, top: int | Ints, left: int | Ints) -> Ints:
        """Words that must have been read before the window at (top, left) can leave; of one window, or of many."""
        bottom = np.minimum(top + self.window.span[0], self.height) - 1
        right = np.minimum(left + self.window.span[1], self.width) - 1
        words = bottom * self.row_words + (right + 1) * self.pixel_words
        return np.where((bottom >= 0) & (right >= 0), words, 0)

    def limit(self, top: int | Ints, left: int | Ints) -> Ints:
        """Words that may have been read while the window is at (top, left): what lies ``rows`` rows before the next
        one is in front of the window, and not read any more.
        """
        passed = np.where(np.less(top, 0), 0, np.clip(left, 0, self.width))
        words = (np.maximum(top, 0) + self.rows) * self.row_words + passed * self.pixel_words
        return np.asarray(np.minimum(words, self.in_words), np.int64)

    @property
    def cycles(self) -> int:
        """Iterations of a frame."""
        return _run(self).cycles

    @property
    def distance(self) -> int | None:
        """The fewest iterations from a write to a place of the line buffer to a read of what it holds, or from such
        a read to the write that replaces it, if by the next frame; None where no word of the input is emitted.

        The words of a pixel's block leave in one iteration each, and come in one or more each: the last of them
        leaves the soonest after it has come, and the first the soonest before it is replaced.
        """
        run, reads = _run(self), self.reads()
        places = np.indices(self.window.outputs((self.height, self.width))).reshape(2, -1)
        taps = list(self.window.taps())
        held, last = self.rows * self.row_words, self.block_words - 1
        found: list[int] = []
        for number, tap in enumerate(taps):
            first = self.window.inputs(tap, (0, 0))
            rows, columns = (first[i] + places[i] * self.window.strides[i] for i in range(2))
            inside = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
            for block in range(self.blocks):
                words = (rows * self.row_words + columns * self.pixel_words)[inside] + block * self.block_words
                leaves = run.emissions[inside] + (block * len(taps) + number) * self.block_words
                later = words + held < self.in_words
                replaced = np.where(later, reads[(words + held) % self.in_words], self.cycles + reads[words % held])
                found += [int((leaves + last - reads[words + last]).min(initial=_NEVER))]
                found += [int((replaced - leaves).min(initial=_NEVER))]
        return min(found) if min(found) < _NEVER else None

    def reads(self) -> Ints:
        """The iteration in which each word is read."""
        run = _run(self)
        first = np.repeat(run.starts - np.concatenate([[0], np.cumsum(run.lengths)[:-1]]), run.lengths)
        return first + np.arange(self.in_words, dtype=np.int64)

    def writes(self) -> Ints:
        """The iteration in which each word is emitted."""
        return (_run(self).emissions[:, None] + np.arange(self.position_words)).reshape(-1)


@dataclass(frozen=True, slots=True)
class _Run:
    """A frame: for each position its first emission; reads come in one run a position, and one at the end."""

    cycles: int
    emissions: Ints
    starts: Ints
    lengths: Ints


@cache
def _run(unit: WindowUnit) -> _Run:
    """Sums, minima and maxima of whole pixels: where a pixel is several words, all takes so many times as long."""
    pixels, words = _pixels(unit.height, unit.width, unit.window), unit.pixel_words
    return _Run(pixels.cycles * words, pixels.emissions * words, pixels.starts * words, pixels.lengths * words)


@cache
def _pixels(height: int, width: int, window: Window) -> _Run:
    """The frame with pixels of one word."""
    unit = WindowUnit(height, width, 1, window, 1, 1)
    time = read = 0
    emissions, starts, lengths = [], [], []
    words = unit.position_words
    top, left = (
        np.arange(count) * stride - before
        for count, stride, before in zip(window.outputs((height, width)), window.strides, window.before, strict=True)
    )
    needed, limit = (words_at(top[:, None], left).reshape(-1).tolist() for words_at in (unit.needed, unit.limit))
    for least, most in zip(needed, limit, strict=True):
        ready = max(read, least)
        after = max(ready, min(ready + words, most))
        starts.append(time)
        lengths.append(after - read)
        emissions.append(time + ready - read)
        time += ready - read + words
        read = after
    starts.append(time)
    lengths.append(unit.in_words - read)
    cycles = time + unit.in_words - read
    return _Run(cycles, *(np.array(found, np.int64) for found in (emissions, starts, lengths)))
