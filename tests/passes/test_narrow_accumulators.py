# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from pass_helpers import assert_becomes, assert_contract, dataflow, dense, random_dataflow, source, step

from flow.ir.dataflow import Dense, infer_types
from flow.ir.types import IntType
from flow.passes.narrow_accumulators import narrow_accumulators


@pytest.mark.parametrize(
    ("weight", "lo", "hi", "acc"),
    [
        ([[1], [2]], 0, 5, "u4"),
        ([[1], [2]], 1, 5, "u4"),  # never 0 at the end, but 0 to begin with
        ([[1], [-1]], 1, 1, "i2"),  # ends at 0, but 1 or -1 on the way
        ([[-1], [-1]], 0, 4, "i4"),  # -8 fits four bits
        ([[-1], [-1]], 0, 5, "i5"),
        ([[0], [0]], -4, 3, "u1"),
        ([[1, -8], [1, 0]], 0, 1, "i4"),  # the widest channel counts: -8 to 2
    ],
)
def test_the_width_holds_every_partial_sum(weight, lo, hi, acc):
    x = source("x", (2,), lo, hi)
    y = ("y", "d", [[1]], 0, 1, -99, 99, "u1")
    before = dataflow(x, dense("d", "x", weight, "i30"), step(*y))
    assert_becomes(narrow_accumulators, before, dataflow(x, dense("d", "x", weight, acc), step(*y)))


def test_other_widths_of_the_same_size_are_changed_too():
    x = source("x", (1,), 0, 3)
    before, after = dataflow(x, dense("d", "x", [[1]], "i3")), dataflow(x, dense("d", "x", [[1]], "u2"))
    assert_becomes(narrow_accumulators, before, after)
    assert narrow_accumulators(after) is after


def test_no_narrower_type_would_do():
    for seed in range(60):
        graph = narrow_accumulators(random_dataflow(seed))
        types = infer_types(graph)
        for node in graph.nodes:
            if not isinstance(node, Dense) or types[node.x].lo.size > 1:
                continue
            lo, hi = int(types[node.x].lo[0]), int(types[node.x].hi[0])
            least = greatest = 0
            for column in node.weight.T:
                for subset in itertools.product([0, 1], repeat=len(column)):  # terms that were added so far
                    for ends in itertools.product([lo, hi], repeat=len(column)):
                        total = int(np.dot(column * subset, ends))
                        least, greatest = min(least, total), max(greatest, total)
            assert node.acc == IntType.holding(least, greatest)


def test_random_chains():
    assert_contract(narrow_accumulators)
