# SPDX-License-Identifier: Apache-2.0
"""Methods that bring more than a loss, by recipe: told their data, and exported.

That each can be stopped and gone on with is in test_methods; that a run can, in test_training.
"""

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
    "releq": "choices = [3, 5]\nevaluations = 4\ntune = 2",
    "dcq": "sections = 2",
    "po2": "",
    "sensitivity": "choices = [3, 5]\nbudget = 4\nevaluations = 2\ntune = 2",
    "ptq": 'rounding = "learned"\nsteps = 5\nframes = 64',
    "ptilmpq": "frames = 64",
    "pfq": "stages = [3, 4]\n[method.layers]\n3 = 3",
    "dynasty": "low = 2\n[method.layers]\n3 = 3",
    "admm": 'grid = "codebook"\ncodebook = [-3, 0, 1, 4]\nrounds = 3',
    "dynhp": "remove = 0.4\nmultiple = 4",
}


def press(step, steps, row):
    if step == 7:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "sensitivity"])
def test_a_run(tmp_path, name):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE.format(name) + OPTIONS[name])
    run = train(recipe, tmp_path / "run")
    assert run.finished
    layers = json.loads((run.folder / "widths.json").read_text())["layers"]
    if name in ("pfq", "dynasty"):
        assert [layer["bits"] for layer in layers.values()] == [5, 3]
    if name == "dynhp":
        assert layers["2.0"]["weights"] == 64 * 8
    if name == "hgq":
        assert sum(layers["2.0"]["bits"].values()) == layers["2.0"]["weights"]
        assert int(layers["2.0"]["bits"]["0"]) > 0, "no weight was pruned"


def test_tables_beside_the_model_survive_a_stop(tmp_path):
    """What a method writes itself, at the end of a run in two parts."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE.format("sensitivity") + OPTIONS["sensitivity"])
    whole = train(recipe, tmp_path / "whole")
    assert not train(recipe, tmp_path / "parts", press).finished
    parts = train(recipe, tmp_path / "parts")
    for file in ("metrics.csv", "widths.json", "model.onnx", "sensitivity.csv", "interactions.csv"):
        assert (whole.folder / file).read_bytes() == (parts.folder / file).read_bytes(), file
