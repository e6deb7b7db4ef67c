# SPDX-License-Identifier: Apache-2.0
"""Reshapes and transpositions become what they do to channels and pixels, and the graph computes the same."""

import math

import numpy as np
import pytest

from flow.ir.graph import Graph
from flow.ir.model import DepthToSpace, Input, Permute, Reshape, SpaceToDepth, Transpose
from flow.ir.model_rules import verify_model
from flow.ir.reference import Evaluation
from flow.passes.find_shuffles import find_shuffles


def graph_of(shape, split, order, joined):
    nodes = Input("x", shape), Reshape("r", "x", split), Transpose("t", "r", order), Reshape("y", "t", joined)
    return Graph(nodes, ("y",))


def found_in(graph):
    """What the pass finds; it must compute the same."""
    found = find_shuffles(graph)
    verify_model(found)
    assert found.outputs == graph.outputs
    shape = graph.nodes[0].shape
    x = np.arange(2.0 * math.prod(shape)).reshape(2, *shape)
    before, after = (Evaluation(g, {"x": x}).tensors["y"].value for g in (graph, found))
    np.testing.assert_array_equal(after, before)
    return found


FOUND = {
    # shape, first shape, order, last shape, what is found
    "channel shuffle": ((6, 2, 5), (2, 3, 2, 5), (1, 0, 2, 3), (6, 2, 5), [Permute]),
    "of channels that lie last": ((2, 5, 6), (2, 5, 2, 3), (0, 1, 3, 2), (2, 5, 6), [Permute]),
    "over pixels of one row": ((6, 1, 5), (2, 3, 1, 5), (1, 0, 2, 3), (6, 1, 5), [Permute]),
    "of a sequence": ((6, 5), (3, 2, 5), (1, 0, 2), (6, 5), [Permute]),
    "of three parts": ((12, 2, 5), (2, 3, 2, 10), (2, 0, 1, 3), (12, 2, 5), None),
    "of more parts": ((12, 2, 5), (2, 3, 2, 2, 5), (2, 0, 1, 3, 4), (12, 2, 5), [Permute]),
    "pixel unshuffle": ((3, 4, 6), (3, 2, 2, 2, 3), (0, 2, 4, 1, 3), (18, 2, 2), [SpaceToDepth, Permute]),
    "space to depth": ((3, 4, 6), (3, 2, 2, 2, 3), (2, 4, 0, 1, 3), (18, 2, 2), [SpaceToDepth]),
    "rows alone": ((3, 4, 7), (3, 2, 2, 7), (2, 0, 1, 3), (6, 2, 7), [SpaceToDepth]),
    "of pixels last": ((4, 6, 3), (2, 2, 2, 3, 3), (0, 2, 1, 3, 4), (2, 2, 18), [SpaceToDepth]),
    "crd": ((12, 2, 5), (3, 2, 2, 2, 5), (0, 3, 1, 4, 2), (3, 4, 10), [DepthToSpace]),
    "dcr": ((12, 2, 5), (2, 2, 3, 2, 5), (2, 3, 0, 4, 1), (3, 4, 10), [DepthToSpace]),
    "columns before rows": ((12, 2, 5), (2, 2, 3, 2, 5), (2, 3, 1, 4, 0), (3, 4, 10), [Permute, DepthToSpace]),
    "pixels of a sequence": ((6, 5), (2, 3, 5), (0, 2, 1), (2, 15), [Permute, Reshape]),
    "unshuffled sequence": ((2, 15), (2, 5, 3), (2, 0, 1), (6, 5), [Reshape]),
    "attention heads": ((4, 6), (4, 2, 3), (1, 0, 2), (8, 3), None),
    "a transposition": ((2, 4, 6), (2, 24), (1, 0), (4, 6, 2), None),
    "another rank": ((2, 4, 6), (2, 2, 2, 6), (0, 2, 1, 3), (2, 24), None),
    "rows and columns apart": ((3, 4, 6), (3, 2, 2, 6), (0, 2, 1, 3), (3, 4, 6), None),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_is_found(case):
    *moves, kinds = FOUND[case]
    graph = graph_of(*moves)
    if kinds is None:
        assert find_shuffles(graph) is graph
        return
    found = found_in(graph)
    made = [node for node in found.nodes[3:] if not isinstance(node, Transpose)]
    assert [type(node) for node in made] == kinds


def test_one_block_a_mode():
    assert found_in(graph_of(*FOUND["crd"][:4]))["y:moved1"].depth_last is False
    assert found_in(graph_of(*FOUND["dcr"][:4]))["y:moved1"].depth_last is True
    assert found_in(graph_of(*FOUND["rows alone"][:4]))["y:moved1"].block == (2, 1)


@pytest.mark.parametrize("seed", range(300))
def test_random_moves(seed):
    """Axes split into random parts, which are joined to random axes."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 4))
    split = tuple(int(size) for size in rng.integers(1, 4, rng.integers(rank, 6)))

    def joined(sizes):
        ends = np.sort(rng.choice(np.arange(1, len(sizes)), rank - 1, replace=False))
        return tuple(int(np.prod(part)) for part in np.split(np.array(sizes), ends))

    order = tuple(rng.permutation(len(split)).tolist())
    if seed % 2:  # neighbours change places: nearer to what exporters write
        place = int(rng.integers(len(split) - 1))
        order = (*range(place), place + 1, place, *range(place + 2, len(split)))
    found_in(graph_of(joined(split), split, order, joined([split[axis] for axis in order])))
