# SPDX-License-Identifier: Apache-2.0
"""Progressive binarisation: layer after layer, and binary in the file at the end."""

import numpy as np
import pytest
from test_methods import X, accuracy, model, train, widths

from flow import quant
from flow.api.compile import compile_model
from flow.errors import OptionError
from flow.ir.dataflow import Dense
from flow.quant.methods.bitat import Bitat


def test_layers_turn_from_the_input_on():
    network, method = model(hidden=(12, 12, 12, 12)), Bitat(start=0.2, end=0.6)
    method.prepare(network, X[:8], 100)
    found = []
    for step in (19, 20, 39, 40, 60, 100):
        method.on_step(step)
        found.append(list(widths(method).values()))
    assert found[0] == [4, 4, 4, 4, 4]
    assert found[1] == found[2] == [4, 1, 4, 4, 4]
    assert found[3] == [4, 1, 1, 4, 4]
    assert found[4] == found[5] == [4, 1, 1, 1, 4]


def test_the_file_is_binary(tmp_path):
    network, method = model(), Bitat(inner=False)
    train(network, method)
    method.finalize()
    assert set(widths(method).values()) == {1}
    assert accuracy(network) > 0.6  # chance is 0.1
    compiled = compile_model(quant.export(network, tmp_path / "m.onnx", X[:8]))
    weights = [node.weight for node in compiled.graph.nodes if isinstance(node, Dense)]
    assert all(set(np.unique(w)) == {-1, 1} for w in weights)


def test_messages():
    with pytest.raises(OptionError, match=r"start = 0\.8, end = 0\.4"):
        Bitat(0.8, 0.4)
    with pytest.raises(OptionError, match=r"2 layers, and none between.*\n.*inner = false"):
        Bitat().prepare(model(hidden=(8,)), X[:8], 10)
