# SPDX-License-Identifier: Apache-2.0
"""The window unit: its timetable and its line buffer against the loop of hls/window.hpp.j2, iteration by iteration."""

import numpy as np
import pytest

from flow.ir.window import Window
from flow.plan.window_unit import WindowUnit


def random_unit(rng):
    """A window that fits, over a small input."""
    while True:
        height, width = (int(n) for n in rng.integers(1, 8, 2))
        kernel, strides, dilations = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(3))
        before, after = (tuple(map(int, rng.integers(0, 4, 2))) for _ in range(2))
        window = Window(kernel, strides, dilations, before, after)
        if all(s <= n + b + a for s, n, b, a in zip(window.span, (height, width), before, after, strict=True)):
            lanes, inner, blocks = (int(n) for n in rng.integers(1, 3, 3))
            return WindowUnit(height, width, lanes * inner * blocks, window, lanes, blocks)


def run(unit):
    """The loop in Python: what it emits (None for padding), and the iterations of its reads and writes."""
    line, read, reads, writes, out = {}, 0, [], [], []
    order = [
        (place, unit.window.inputs(tap, place), block * unit.block_words + word)
        for place in np.ndindex(*unit.window.outputs((unit.height, unit.width)))
        for block in range(unit.blocks)
        for tap in unit.window.taps()
        for word in range(unit.block_words)
    ]
    emitted = 0
    came, gone, between = {}, {}, []  # iterations in which each place is written and last read; those between
    for iteration in range(unit.cycles):
        place = order[emitted][0] if emitted < len(order) else None
        top, left = unit.window.inputs((0, 0), place) if place is not None else (0, 0)
        leaves = place is not None and read >= unit.needed(top, left)
        limit = unit.limit(top, left) if place is not None else unit.in_words
        if read < limit:
            row, rest = divmod(read, unit.row_words)
            line[row % unit.rows, rest] = read
            if (row % unit.rows, rest) in gone:
                between.append(iteration - gone.pop((row % unit.rows, rest)))
            came[row % unit.rows, rest] = iteration
            read += 1
            reads.append(iteration)
        if leaves:
            _, (row, column), word = order[emitted]
            inside = 0 <= row < unit.height and 0 <= column < unit.width
            at = row % unit.rows, column * unit.pixel_words + word
            out.append(line[at] if inside else None)
            if inside:
                between.append(iteration - came[at])
                gone[at] = iteration
            writes.append(iteration)
            emitted += 1
    assert (read, emitted) == (unit.in_words, len(order))
    for (row, rest), last in gone.items():  # replaced by the next frame
        between.append(unit.cycles + reads[row * unit.row_words + rest] - last)
    return out, reads, writes, min(between, default=None)


@pytest.mark.parametrize("seed", range(150))
def test_window_unit_word_by_word(seed):
    unit = random_unit(np.random.default_rng(seed))
    out, reads, writes, distance = run(unit)
    # the window of numbered words, by the definition
    numbers = np.arange(unit.in_words).reshape(1, unit.height, unit.width, unit.pixel_words)
    padded = unit.window.padded(numbers, -1)
    seen = np.stack([unit.window.seen(padded, tap) for tap in unit.window.taps()], axis=-2)  # positions, taps, words
    split = seen.reshape(*seen.shape[1:3], -1, unit.blocks, unit.block_words).swapaxes(2, 3)
    assert [-1 if word is None else word for word in out] == split.reshape(-1).tolist()
    assert unit.reads().tolist() == reads
    assert unit.writes().tolist() == writes
    assert unit.distance == distance
    assert unit.cycles == max(reads[-1], writes[-1]) + 1


def test_rows_of_the_line_buffer():
    """A window of 3 rows needs 3; one that moves by 2 also those that the next one adds."""

    def rows(kernel, stride, height=100):
        return WindowUnit(height, 9, 1, Window.of((kernel, 1), (stride, 1)), 1, 1).rows

    assert (rows(3, 1), rows(3, 2), rows(1, 1), rows(2, 2), rows(7, 1, height=7)) == (3, 4, 1, 3, 7)


@pytest.mark.parametrize(("stride", "slack"), [(1, 40), (2, 120)])
def test_window_unit_reads_while_it_emits(stride, slack):
    """A 3x3 window over 32 x 32 pixels takes hardly longer than its reads or its emissions."""
    window = Window((3, 3), (stride, stride), (1, 1), (1, 1), (1, 1))
    unit = WindowUnit(32, 32, 8, window, 8, 1)
    assert max(unit.in_words, unit.out_words) <= unit.cycles <= max(unit.in_words, unit.out_words) + slack
