# SPDX-License-Identifier: Apache-2.0
"""ADMM: the projection is the nearest point, weights approach it, and at the end they are on the grid."""

import itertools

import built
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import X, accuracy, model, train

from flow import quant
from flow.api.compile import compile_model
from flow.errors import OptionError
from flow.ir.dataflow import Dense
from flow.quant.layers import weight_layers
from flow.quant.methods.admm import Admm, OnTable

TABLES = {
    "pow2": ({}, [-8, -4, -2, -1, 0, 1, 2, 4, 8]),
    "ternary": ({}, [-1, 0, 1]),
    "codebook": ({"codebook": [-5, -2, 0, 1, 6]}, [-5, -2, 0, 1, 6]),
}


@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=12),
    st.lists(st.integers(-9, 9), min_size=2, max_size=6, unique=True),
)
def test_entries_are_the_nearest(values, table):
    weight = torch.tensor(values)
    on = OnTable(table, torch.ones(3))
    found = on.nearest(weight).numpy()
    distance = np.abs(weight.numpy()[:, None] / float(on.scale) - np.array(sorted(table)))
    chosen = np.abs(weight.numpy() / float(on.scale) - found)
    assert set(found) <= set(table)
    np.testing.assert_allclose(chosen, distance.min(1), atol=1e-5)  # a quotient in float32 lies on either side


def test_the_projection_is_the_nearest_point_over_all_scales():
    """Against every choice of entries with its best scale."""
    table = (-1, 0, 1, 2)
    for weight in ([0.9, -1.1, 2.1, 0.1], [0.31, 0.28, -0.33, 0.62], [1.9, 1.0, 0.1, -0.9]):
        on = OnTable(table, torch.tensor(weight))
        on.project(torch.tensor(weight))
        w, best = np.array(weight), np.inf
        for entries in itertools.product(table, repeat=4):
            q = np.array(entries)
            scale = max(w @ q / (q @ q), 0) if q.any() else 0
            best = min(best, np.sum((w - scale * q) ** 2))
        assert float((torch.tensor(weight) - on.target).square().sum()) == pytest.approx(best, abs=1e-6)  # in float32


def test_the_dual_adds_up_what_is_missing_and_the_pull_is_its_gradient():
    weight = torch.nn.Parameter(torch.tensor([0.4, 1.1, -0.9]))
    on = OnTable([-1, 0, 1], weight)
    on.project(weight)
    first = weight.detach() - on.target
    torch.testing.assert_close(on.dual, first)
    on.project(weight)
    torch.testing.assert_close(on.dual, first + weight.detach() - on.target)
    on.pull(weight).backward()
    torch.testing.assert_close(weight.grad, weight.detach() - on.target + on.dual)


def test_weights_approach_the_grid_before_they_settle():
    found = {}
    for strength in (0.0, 1.0):
        network, method = model(), Admm("ternary", strength=strength, rounds=4)
        train(network, method, steps=120, last=83)
        assert all(bool(table.free) for table, _ in method._tables())
        found[strength] = method.metrics()["off_grid"]
    assert found[1.0] < 0.5 * found[0.0]


@pytest.mark.parametrize("grid", TABLES)
def test_at_the_end_weights_are_on_the_grid(tmp_path, monkeypatch, grid):
    options, table = TABLES[grid]
    network, method = model(), Admm(grid, **options)
    train(network, method, steps=100)
    method.finalize()
    assert method.metrics()["off_grid"] < 1e-6  # entry times scale over scale, in float32
    assert accuracy(network) > 0.7  # 0.9 with 4 bits anywhere
    for layer in weight_layers(network).values():
        on = layer.weight_quant.tensor_quant
        assert torch.equal(layer.weight, on.nearest(layer.weight) * on.scale)
    if grid == "codebook":  # one of them also in C++: to the compiler they differ in their numbers only
        products = list(built.exactly(network, X[:8], tmp_path, monkeypatch).values())
    else:
        compiled = compile_model(quant.export(network, tmp_path / "m.onnx", X[:8]))
        products = [node for node in compiled.graph.nodes if isinstance(node, Dense)]
    assert len(products) == 3
    for node in products:
        assert {0, 1} <= set(np.abs(np.unique(node.weight)))
        assert set(np.unique(node.weight)) <= set(table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "pow3"}, "there is no grid 'pow3'"),
        ({"grid": "codebook"}, "grid = 'codebook' without a codebook"),
        ({"codebook": [1, 2]}, "grid = 'pow2' with a codebook"),
        ({"grid": "codebook", "codebook": [3]}, r"codebook = \[3\]\n.*two integers"),
        ({"grid": "codebook", "codebook": [0, 40_000]}, "from -32767 to 32767"),
        ({"levels": 0}, "levels is 0"),
        ({"settle": 1.0}, "settle = 1"),
    ],
)
def test_messages(options, message):
    with pytest.raises(OptionError, match=message):
        Admm(**options)
