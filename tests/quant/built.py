# SPDX-License-Identifier: Apache-2.0
"""What a trained network comes to: a design that gives the same integers in C-simulation."""

import flow
from flow import quant
from flow.api import checks
from flow.ir.dataflow import Convolution, Dense
from flow.quant.layers import weight_layers

FRAMES = 32


def exactly(network, example, tmp_path, monkeypatch):
    """Exports, builds and runs the C++; the products of the design by the module path of their layer."""
    monkeypatch.setattr(checks, "RANDOM_FRAMES", FRAMES)
    result = flow.build(quant.export(network, tmp_path / "model.onnx", example), out=tmp_path / "design")
    assert result.report.held
    assert all(check.compared > 0 and check.differences == 0 for check in result.report.checks)
    assert "C++ of each layer at its boundaries" in [check.name for check in result.report.checks]
    origins = result.compiled.imported.origin_of
    products = [node for node in result.compiled.graph.nodes if isinstance(node, Dense | Convolution)]
    found = {origins(node.name).module: node for node in products}
    assert set(found) == set(weight_layers(network))
    return found
