# SPDX-License-Identifier: Apache-2.0
"""Methods that bring more than a loss, by recipe: told their data, stopped, and gone on with."""

import json
import os
import signal

import pytest

from flow.quant.training import train

RECIPE = """
epochs = 2
batch = 250
[data]
name = "digits"
[model]
name = "mlp"
hidden = [12]
weight_bits = 5
[method]
name = "{}"
"""
OPTIONS = {
    "hgq": "",
    "fdmp": "weight_kb = 0.6\nact_kb = 0.08",
    "greedy": "choices = [3, 5]\nbudget = 4\ntune = 2",
    "releq": "choices = [3, 5]\nevaluations = 4\ntune = 2",
    "dcq": "sections = 2",
    "po2": "",
    "sensitivity": "choices = [3, 5]\nbudget = 4\nevaluations = 2\ntune = 2",
    "ptq": 'rounding = "learned"\nsteps = 5\nframes = 64',
    "ptilmpq": "frames = 64",
}


def press(step, steps, row):
    if step == 7:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_in_two_parts(tmp_path, name):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE.format(name) + OPTIONS[name])
    whole = train(recipe, tmp_path / "whole")
    assert not train(recipe, tmp_path / "parts", press).finished
    parts = train(recipe, tmp_path / "parts")
    assert whole.finished
    assert parts.finished
    tables = ["sensitivity.csv", "interactions.csv"] if name == "sensitivity" else []
    for file in ("metrics.csv", "widths.json", "model.onnx", *tables):
        assert (whole.folder / file).read_bytes() == (parts.folder / file).read_bytes(), file
    layers = json.loads((whole.folder / "widths.json").read_text())["layers"]
    if name == "hgq":
        assert sum(layers["2.0"]["bits"].values()) == layers["2.0"]["weights"]
        assert int(layers["2.0"]["bits"]["0"]) > 0, "no weight was pruned"
