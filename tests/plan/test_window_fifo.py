# SPDX-License-Identifier: Apache-2.0
"""What waits in streams, as the search for a folding reckons it: counted anew, tick by tick, and by hand."""

import numpy as np
import pytest
import test_random_networks as networks

from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan import window_fifo
from flow.plan.layers import layers_of
from flow.plan.window_unit import WindowUnit

SAME = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))
VALID = Window((3, 3), (1, 1), (1, 1), (0, 0), (0, 0))
HALF = Window((2, 2), (2, 2), (1, 1), (0, 0), (0, 0))
WIDE = Window((1, 5), (1, 2), (1, 1), (0, 2), (0, 2))


def most(written, read, step, frame):
    """Words in a stream when each is written, looked at one by one in the sixth frame of seven."""
    end = [f * frame + w for f in range(7) for w in written]
    out = [f * frame + r + step for f in range(7) for r in read]
    return max(sum(w <= t for w in end) - sum(r <= t for r in out) for t in end[5 * len(written) : 6 * len(written)])


@pytest.mark.parametrize("window", [SAME, VALID, HALF, WIDE])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (6, 5)])
def test_words_in_front_of_a_window_unit(height, width, window):
    """Pixels come evenly; the unit does its steps evenly, from when no word is ever late."""
    unit = WindowUnit(height, width, 1, window, 1, 1)
    ticks = 1 << 40
    pixel, step = ticks // (height * width), ticks // unit.cycles
    written = [pixel * (w + 1) for w in range(height * width)]
    read = [step * int(k) for k in unit.reads()]
    start = max(w - r for w, r in zip(written, read, strict=True))
    assert window_fifo._in_front(height, width, window) == most(written, [start + r for r in read], step, ticks)


@pytest.mark.parametrize("window", [SAME, HALF, WIDE])
@pytest.mark.parametrize(("groups", "folds"), [(1, 1), (1, 4), (3, 2)])
def test_words_behind_a_window_unit(window, groups, folds):
    """A product reads the taps of a position and group, then works on their other folds."""
    height, width, ticks = 6, 5, 1 << 40
    unit = WindowUnit(height, width, groups, window, 1, groups)
    taps = len(unit.writes()) // (unit.positions * groups)
    written = [ticks // unit.cycles * (int(k) + 1) for k in unit.writes()]
    cycles = unit.positions * groups * taps * folds
    step = ticks // cycles
    read = [step * k for k in range(cycles) if k // taps % folds == 0]
    start = max(w - r for w, r in zip(written, read, strict=True))
    found = window_fifo._behind(height, width, window, groups, folds)
    assert found == most(written, [start + r for r in read], step, ticks)


def test_most_waiting_by_hand():
    """A word leaves a step after it was read: two that come and go at once still are two."""
    written = np.array([0, 5])
    assert window_fifo._most_waiting(written, written, window_fifo._FRAME // 2) == 1 + 1
    assert window_fifo._most_waiting(written, written, 5) == 1
    assert window_fifo._most_waiting(written, written, 6) == 2


@pytest.mark.parametrize("element", [(8, 8, 4), (16, 8, 2)])
def test_the_short_way_holds_the_rows_that_the_long_way_reads_ahead(element):
    """Each 3 x 3 window with padding is there a row and a pixel behind its centre, and the unit reads in bursts."""
    row = element[1] * element[2]
    waiting = {}
    for convolutions in (1, 2):
        net = networks.Network(np.random.default_rng(0), element, IntType(4, signed=False))
        short = long = net.step("x")
        for _ in range(convolutions):
            long = net.step(net.convolution(long, window=SAME, outputs=element[2]))
        join = net.step(net.sum(short, long))
        found = window_fifo.values_for_others(layers_of(net.graph(join)))
        assert set(found) == {(join, 0), (join, 1)}
        assert found[join, 1] <= 2 * element[2]  # the last to come waits for nobody
        waiting[convolutions] = found[join, 0]
    assert 2 * row < waiting[1] < 4 * row
    assert 2 * row < waiting[2] - waiting[1] < 4 * row


def test_a_bare_step_function_holds_nothing_back():
    """It could take a whole frame at once, and then the stream beside it would have to hold one."""
    net = networks.Network(np.random.default_rng(0), (8, 8, 4), IntType(4, signed=False))
    short = net.step("x")
    join = net.step(net.sum(short, net.step(short)))
    layers = layers_of(net.graph(join))
    assert max(options := layers[1].pe_options) == 8 * 8 * 4, options
    assert max(window_fifo.values_for_others(layers).values()) <= 2 * 4
