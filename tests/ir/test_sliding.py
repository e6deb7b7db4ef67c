# SPDX-License-Identifier: Apache-2.0
"""Sums over windows against their definition, whatever the blocks in which they are made."""

import numpy as np
import pytest
from window_definitions import plain_conv, plain_transposed

from flow.ir import sliding
from flow.ir.dataflow import Convolution, Pooling
from flow.ir.types import IntType
from flow.ir.window import Window

RNG = np.random.default_rng(7)
WINDOWS = (
    Window.of((1, 1)),
    Window.of((1, 1), (2, 3)),
    Window.of((3, 2)),
    Window((3, 2), (2, 1), (1, 2), (1, 0), (0, 2)),
    Window((2, 3), (1, 2), (3, 1), (2, 1), (1, 1)),
)
BLOCKS = (1, 40, 150, 1000, 1 << 20)  # less than a line, some lines, a frame, some frames, all


@pytest.fixture(params=BLOCKS)
def blocks(request, monkeypatch):
    monkeypatch.setattr(sliding, "_GATHERED", request.param)
    monkeypatch.setattr(sliding, "_MULTIPLIED", request.param)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("outputs", [4, 8])
@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
@pytest.mark.usefixtures("blocks")
def test_convolutions(groups, outputs, kind):
    for window in WINDOWS:
        x = RNG.integers(-9, 9, (3, 7, 6, 4))
        weight = RNG.integers(-9, 9, (*window.kernel, 4 // groups, outputs))
        found = sliding.convolved(window.padded(x.astype(kind), 0), weight.astype(kind), window, groups)
        assert found.dtype == kind
        assert np.array_equal(found, plain_conv(x, weight, window, groups))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_ones(groups):
    for window in WINDOWS:
        x, weight = RNG.integers(-9, 9, (2, 4, 5, 4)), RNG.integers(-9, 9, (*window.kernel, 4 // groups, 8))
        found = sliding.spread(x, weight, window, groups)
        assert np.array_equal(found, plain_transposed(x, weight, window, groups, window.transposed_outputs((4, 5))))


def test_a_sequence_and_no_frames():
    window = Window((3,), (2,), (1,), (1,), (0,))
    x, weight = RNG.integers(-9, 9, (2, 8, 3)), RNG.integers(-9, 9, (3, 3, 5))
    assert np.array_equal(sliding.convolved(window.padded(x, 0), weight, window, 1), plain_conv(x, weight, window, 1))
    assert sliding.convolved(window.padded(x[:0], 0), weight, window, 1).shape == (0, 4, 5)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("x", [2**8, 2**11 + 1, -(2**11) - 1, 2**24 + 1, 2**26 + 1, -(2**26) - 1, 2**27 + 1, 2**29 - 1])
@pytest.mark.parametrize("pad", [0, 5, -(2**30) + 1])
def test_convolutions_are_exact_at_every_size(x, groups, pad):
    """Sums whose last bit counts, on both sides of what float32 and float64 hold."""
    window = Window((2, 2), (1, 1), (1, 1), (1, 0), (0, 1))
    values = RNG.choice(np.array([x, x - 1, x + 2, 1]), (2, 3, 4, 4))
    weight = RNG.choice(np.array([x, -x, x - 2, 3, 1]), (2, 2, 4 // groups, 4))
    node = Convolution("c", "x", weight, window, groups, pad, IntType(48, signed=True))
    surrounded = window.padded(values.astype(object), pad)
    inside = Window.of(window.kernel)
    assert node.evaluate(values).tolist() == plain_conv(surrounded, weight.astype(object), inside, groups).tolist()


@pytest.mark.parametrize(("kind", "combine"), [("max", max), ("sum", sum)])
def test_pools(kind, combine):
    x = RNG.integers(-9, 9, (2, 5, 6, 3))
    window = Window((2, 3), (2, 1), (1, 1), (1, 0), (0, 1))
    found = Pooling("p", "x", kind, window, -9).evaluate(x)
    padded = window.padded(x, -9)
    for frame, row, column, channel in np.ndindex(found.shape):
        seen = padded[frame, 2 * row : 2 * row + 2, column : column + 3, channel]
        assert found[frame, row, column, channel] == combine(seen.reshape(-1).tolist())
    untouched = x.copy()
    Pooling("p", "x", kind, Window.of((1, 1)), 0).evaluate(x)[...] = 0
    assert np.array_equal(x, untouched)
