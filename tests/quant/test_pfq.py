# SPDX-License-Identifier: Apache-2.0
"""PFQ: the next width begins at a plateau or when its time is over, and the target is what is exported."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import TASK, X, accuracy, model, train, widths

from flow import quant
from flow.api.compile import compile_model
from flow.errors import OptionError
from flow.ir.dataflow import Dense
from flow.quant.methods.pfq import Pfq, Plateau


def begun(steps=100, **options):
    network, method = model(), Pfq(**options)
    method.see(TASK)
    method.prepare(network, X[:8], steps)
    return network, method


@given(st.lists(st.floats(0.01, 4.0), min_size=1, max_size=12), st.floats(0.01, 0.5))
def test_a_plateau_is_its_rule(losses, tolerance):
    plateau = Plateau(tolerance)
    for count, loss in enumerate(losses, 1):
        seen = losses[:count]
        # the mean of the code is a running sum, in the order of numpy's cumsum
        mean = np.cumsum(seen)[-1] / count
        expected = count >= 5 and all(abs(each - loss) / mean <= tolerance for each in seen[-5:])
        assert plateau.add(loss) == expected


def test_after_a_plateau_the_rule_is_stricter_and_starts_anew():
    plateau = Plateau(0.1)
    assert [plateau.add(1.0) for _ in range(5)] == [False] * 4 + [True]
    plateau.next_stage(0.3)
    assert (int(plateau.stage), float(plateau.tolerance)) == (1, pytest.approx(0.03, rel=1e-12))
    assert [plateau.add(1.0) for _ in range(5)] == [False] * 4 + [True]
    assert not plateau.add(1.05)  # within 0.1, not within 0.03


def test_widths_follow_the_plateaus(monkeypatch):
    _, method = begun(stages=[8, 3], layers={"1.0": 6}, looks=50)
    falling = iter([3, 2, 1, 1, 1, 1, 1, *[0.5] * 20])
    monkeypatch.setattr(method, "_measured", lambda: next(falling))
    found = []
    for step in range(1, 31):
        method.on_step(step)
        found.append(tuple(widths(method).values()))
    assert found[:13] == [(8, 8, 8)] * 13  # looks at every second step; the five losses are 1 at step 14
    assert found[13:23] == [(3, 3, 3)] * 10
    assert found[23:] == [(6, 4, 4)] * 7


def test_a_stage_ends_in_time_without_a_plateau(monkeypatch):
    _, method = begun(stages=[2, 3], end=0.6)
    falling = itertools.count(1000, -30)
    monkeypatch.setattr(method, "_measured", lambda: next(falling))
    found = {}
    for step in range(1, 101):
        method.on_step(step)
        found[step] = list(widths(method).values())
    assert found[29] == [2, 2, 2]
    assert found[30] == found[59] == [3, 3, 3]
    assert found[60] == found[100] == [4, 4, 4]


def test_what_is_exported_has_the_target(tmp_path):
    network, method = model(), Pfq(layers={"2.0": 3})
    before = set(network.state_dict())
    train(network, method, steps=100)
    method.finalize()
    assert list(widths(method).values()) == [4, 3, 4]
    assert {name for name in network.state_dict() if "pfq" in name} == set() <= before
    assert accuracy(network) > 0.7  # 0.9 without a schedule
    compiled = compile_model(quant.export(network, tmp_path / "m.onnx", X[:8]))
    products = [node for node in compiled.graph.nodes if isinstance(node, Dense)]
    found = [int(np.abs(node.weight).max()) for node in products]
    assert found == [2 ** (bits - 1) - 1 for bits in widths(method).values()]


def test_the_loss_is_measured_without_a_trace():
    network, method = begun()
    network.train()
    network(X[:64])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = method._measured(), method._measured()
    assert first == second
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": []}, r"stages = \[\]\n.*each from 2 to 16"),
        ({"stages": [4, 1]}, r"stages = \[4, 1\]"),
        ({"tolerance": 0.0}, "tolerance = 0, shrink"),
        ({"end": 1.0}, "end = 1"),
        ({"looks": 0}, "looks = 0"),
    ],
)
def test_messages(options, message):
    with pytest.raises(OptionError, match=message):
        Pfq(**options)
    with pytest.raises(OptionError, match="needs the data"):
        Pfq().prepare(model(), X[:8], 10)
