# SPDX-License-Identifier: Apache-2.0
"""Power-of-two weights: every integer has one bit set at most, and the design is exact."""

import built
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import X, accuracy, model, train

from flow.errors import OptionError
from flow.quant.methods.po2 import Po2, Shifts


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20), st.integers(1, 6))
def test_weights_are_zero_or_powers_of_two(values, levels):
    weight = np.array(values, np.float32)
    if np.abs(weight).max() < 1e-9:
        return
    value, scale, _, bits = (t.numpy() for t in Shifts(levels)(torch.from_numpy(weight)))
    integers = np.rint(value / scale).astype(np.int64)
    np.testing.assert_array_equal(integers * scale, value)  # powers of two: float32 is exact
    assert set(np.abs(integers)) <= {0, *(2**k for k in range(levels))}
    assert np.abs(integers).max() == 2 ** (levels - 1) <= 2 ** (int(bits) - 1) - 1
    kept = integers != 0
    assert np.all(np.abs(np.log2(np.abs(value[kept] / weight[kept]))) <= 0.5 + 1e-5)  # log2 in float32
    assert np.all(np.abs(weight[~kept]) <= float(scale) * 2**-0.5 * (1 + 1e-5))


def test_a_trained_network_only_shifts(tmp_path, monkeypatch):
    network, method = model(), Po2(4)
    train(network, method)
    method.finalize()
    assert accuracy(network) > 0.85  # 0.92 with 4 bits anywhere
    for node in built.exactly(network, X[:8], tmp_path, monkeypatch).values():
        sizes = np.abs(node.weight)
        assert np.all(sizes & (sizes - 1) == 0)


def test_messages():
    with pytest.raises(OptionError, match="levels is 0"):
        Po2(0)
