# SPDX-License-Identifier: Apache-2.0
"""Small factors for the sum of two tensors: the same levels for every pair of integers, or no change."""

import numpy as np
import pytest
from pass_helpers import dataflow, ints, step

from flow.ir.dataflow import NEVER, Selection, Source, Step, Sum, execute, verify_dataflow
from flow.ir.types import IntType
from flow.passes.narrow_sums import narrow_sums

WIDE = IntType(48, signed=True)


def pair(factors, thresholds, *, bits=4, signed=True, start=-2, stride=1):
    """A graph whose input holds two channels-wide tensors side by side, so that every pair can be fed."""
    element = IntType(bits, signed)
    factors = np.array(factors, np.int64)
    channels = factors.shape[1]
    thresholds = np.array(thresholds, np.int64)
    total = Sum("s", ("a", "b"), factors, WIDE)
    ends = [int(np.abs(factors).sum(0).max()) << bits] * len(thresholds)
    return dataflow(
        Source("x", (2 * channels,), element, ints(element.min), ints(element.max)),
        Selection("a", "x", (0,), (channels,), (1,)),
        Selection("b", "x", (channels,), (2 * channels,), (1,)),
        total,
        Step(
            "y",
            "s",
            thresholds,
            ints(*[start] * len(thresholds)),
            ints(*[stride] * len(thresholds)),
            -ints(*ends),
            ints(*ends),
            IntType(6, signed=True),
        ),
    )


def every_pair(graph):
    source = graph["x"]
    values = np.arange(source.element.min, source.element.max + 1)
    a, b = (g.reshape(-1, 1) for g in np.meshgrid(values, values))
    half = source.shape[0] // 2
    return np.concatenate([np.repeat(a, half, 1), np.repeat(b, half, 1)], axis=1)


def assert_same(graph):
    found = narrow_sums(graph)
    verify_dataflow(found)
    frames = every_pair(graph)
    assert np.array_equal(execute(found, {"x": frames})["y"], execute(graph, {"x": frames})["y"])
    return found


@pytest.mark.parametrize("seed", range(20))
def test_random_ratios(seed):
    rng = np.random.default_rng(seed)
    factors = rng.integers(1 << 18, 1 << 22, (2, 1)) * rng.choice([-1, 1], (2, 1))
    reach = int(np.abs(factors).sum()) * 8
    thresholds = np.sort(rng.integers(-reach, reach, (1, 7)), axis=1)
    found = assert_same(pair(factors, thresholds, stride=rng.choice([-1, 1]), start=3))
    assert np.abs(found["s"].factors).max() < 1 << 10
    assert (
        narrow_sums(found) is found or np.abs(narrow_sums(found)["s"].factors).max() <= np.abs(found["s"].factors).max()
    )


def test_channels_of_their_own():
    factors = [[1_000_003, 700_001, -65_537], [333_331, 700_003, 99_991]]
    thresholds = [[-5_000_000, 0, 5_000_000], [-3, 4, NEVER], [-99_991, 1, 65_537]]
    found = assert_same(pair(factors, thresholds))
    assert found["s"].factors.shape == (2, 3)
    assert np.abs(found["s"].factors).max() < 64


def test_one_pair_of_factors_for_thresholds_of_their_own():
    found = assert_same(pair([[1_000_003], [333_331]], [[-5_000_000, 0, 5_000_000]]))
    assert found["s"].factors.shape == (2, 1)


def test_a_threshold_that_only_the_exact_factors_hit():
    # every pair is its own level next to this threshold: 255 a + 254 b with a, b of 8 bits
    graph = pair([[255], [254]], [[254 * 255]], bits=8, signed=False)
    assert_same(graph)


def test_small_factors_and_wide_operands_stay():
    small = pair([[3], [-2]], [[-5, 0, 5]])
    assert narrow_sums(small) is small
    wide = pair([[1_000_003], [333_331]], [[0, 5]], bits=9)
    assert narrow_sums(wide) is wide


def test_a_sum_with_another_reader_stays():
    graph = pair([[1_000_003], [333_331]], [[0, 5]])
    more = dataflow(*graph.nodes, step("z", "s", [[7]], 0, 1, int(graph["y"].lo[0]), int(graph["y"].hi[0]), "u1"))
    assert narrow_sums(more) is more
