# SPDX-License-Identifier: Apache-2.0
"""Random graphs of every operation, in chunks that xdist spreads: 2,000 down to integers, 200 of them as C++.

``make fuzz`` runs more of them and shrinks what it finds.
"""

import collections

import fuzz
import numpy as np
import pytest
from fuzz_graphs import ITEMS, Recipe, make

from flow.backend import tools

CHUNKS, GRAPHS, CPP, FLOAT32 = 16, 125, 13, 4
EVERY_OPERATION = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Add", "Sub", "Mul"),
    *("Div", "Concat", "Split", "Slice", "Pad", "Flatten", "Reshape", "Transpose", "Resize", "DepthToSpace"),
    *("SpaceToDepth", "LeakyRelu", "PRelu", "Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu"),
    *("Erf", "Elu", "Softplus", "Sign", "BatchNormalization", "ReduceMean", "ReduceSum", "ReduceMax", "Gemm"),
    *("MatMul", "BipolarQuant", "Quant", "Squeeze", "Unsqueeze", "Upsample", "Gather"),
}


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_graphs(chunk):
    """Integers equal the reference, the reference float32 (one graph in some), the C++ the integers (some too)."""
    cpp = CPP if tools.find(tools.GXX) else 0
    outcomes = fuzz.run_chunk(list(range(chunk, CHUNKS * GRAPHS, CHUNKS)), cpp, FLOAT32)
    findings = [o for o in outcomes if o.finding]
    assert not findings, "\n".join(f"--again '{o.recipe.dump()}': {o.finding}\n{o.detail}" for o in findings)
    assert sum(o.cpp for o in outcomes) >= cpp - 2  # one or two may be refused by the plan
    refused = [o.refused for o in outcomes if o.refused]
    assert len(refused) < GRAPHS / 3, collections.Counter(refused)
    assert sum(o.levels for o in outcomes) > 200 * GRAPHS


def test_every_operation_occurs():
    seen: collections.Counter[str] = collections.Counter()
    for seed in range(CHUNKS * GRAPHS):
        seen.update({node.op_type for node in make(Recipe(seed)).model.graph.node})
    assert seen.keys() >= EVERY_OPERATION, EVERY_OPERATION - seen.keys()
    assert min(seen.values()) >= 5, seen


def test_a_recipe_makes_one_graph():
    for seed in range(20):
        recipe = Recipe.load(Recipe(seed, frozenset({1}), frozenset({"start.channels"})).dump())
        assert make(recipe).model == make(recipe).model
        assert make(recipe).model.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 1


def test_findings_shrink():
    """Of all graphs with a pool in them, the smallest: a quantiser and a pool, or little more."""

    def has_pool(recipe):
        return any(node.op_type == "MaxPool" for node in make(recipe).model.graph.node)

    seeds = [seed for seed in range(300) if has_pool(Recipe(seed))][:10]
    sizes = [len(make(fuzz.shrunk(Recipe(seed), has_pool)).model.graph.node) for seed in seeds]
    assert np.median(sizes) <= 3, sizes
    assert len(ITEMS) > 15
