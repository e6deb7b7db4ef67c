# SPDX-License-Identifier: Apache-2.0
"""Recipes and runs: the folder, resuming, determinism, and every error that a user can make."""

import csv
import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import flow
from flow.cli import main
from flow.errors import DataError, OptionError, OutputError, RecipeError, TrainingError
from flow.quant import models, training
from flow.quant.recipe import read_recipe
from flow.quant.training import train

RECIPE = """
epochs = 3
batch = 128
lr = 0.01
[data]
name = "digits"
[model]
name = "mlp"
hidden = [12]
weight_bits = [5, 3]
[method]
name = "uniform"
"""


@pytest.fixture
def recipe(tmp_path):
    def written(text=RECIPE, **changes):
        for old, new in changes.items():
            text = text.replace(old, new)
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return written


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_a_run(recipe, tmp_path):
    seen = []
    result = train(recipe(), tmp_path / "run", lambda *step: seen.append(step))
    assert (result.finished, result.step, result.folder) == (True, 30, tmp_path / "run")
    assert [step for step, steps, _ in seen] == list(range(1, 31))
    names = {path.name for path in result.folder.iterdir()}
    pictures = {f"{name}.png" for name in ("loss", "score", "bits", "cost")} if result.pictures else set()
    assert names == {"recipe.toml", "metrics.csv", "checkpoint.pt", "widths.json", "model.onnx"} | pictures
    table = rows(result.folder)
    assert [int(row["epoch"]) for row in table] == [1, 2, 3]
    assert float(table[-1]["test_accuracy"]) == result.score > 0.5
    assert float(table[-1]["loss"]) < float(table[0]["loss"])
    widths = json.loads((result.folder / "widths.json").read_text())
    assert widths["layers"] == {"2.0": {"weights": 768, "bits": 5}, "3": {"weights": 120, "bits": 3}}
    assert widths["average_bits"] == pytest.approx((768 * 5 + 120 * 3) / 888)
    assert result.model is not None
    assert not flow.inspect(result.model).problems


def test_the_same_recipe_gives_the_same_run(recipe, tmp_path):
    first, second = (train(recipe(), tmp_path / name) for name in ("one", "two"))
    for name in ("metrics.csv", "widths.json", "model.onnx"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name
    other = train(recipe(**{"epochs = 3": "epochs = 3\nseed = 7"}), tmp_path / "three")
    assert (other.folder / "metrics.csv").read_bytes() != (first.folder / "metrics.csv").read_bytes()


def test_frames_come_in_another_order_each_epoch_and_for_each_seed():
    orders = [training.order_of(seed, epoch, 50).tolist() for seed in (0, 1, 2**31 - 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 6
    assert training.order_of(1, 0, 50).tolist() == orders[2]


@pytest.mark.parametrize("place", [10, 13], ids=["between epochs", "within an epoch"])
def test_ctrl_c_and_resume(recipe, tmp_path, place):
    def press(step, steps, row):
        if step == place:
            os.kill(os.getpid(), signal.SIGINT)

    text = RECIPE.replace("uniform", "sinreq")
    whole = train(recipe(text), tmp_path / "whole")
    stopped = train(recipe(text), tmp_path / "parts", press)
    assert (stopped.finished, stopped.step, stopped.model) == (False, place, None)
    assert not (tmp_path / "parts" / "model.onnx").exists()
    steps = []
    train(recipe(text), tmp_path / "parts", lambda step, *_: steps.append(step))
    assert steps[0] == place + 1
    for name in ("metrics.csv", "widths.json", "model.onnx"):
        assert (whole.folder / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_a_run_that_was_killed_goes_on(recipe, tmp_path):
    """Without a word of farewell: from the last checkpoint, with the metrics of what it had not counted."""

    def die(step, steps, row):
        if step == 17:
            raise SystemExit

    whole = train(recipe(), tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(recipe(), tmp_path / "parts", die)
    steps = []
    train(recipe(), tmp_path / "parts", lambda step, *_: steps.append(step))
    assert steps[0] == 11
    assert (whole.folder / "metrics.csv").read_bytes() == (tmp_path / "parts" / "metrics.csv").read_bytes()


def test_a_finished_run_is_not_trained_again(recipe, tmp_path):
    first = train(recipe(), tmp_path / "run")
    steps = []
    again = train(recipe(), tmp_path / "run", lambda step, *_: steps.append(step))
    assert (steps, again.score) == ([], first.score)


def test_another_recipe_does_not_go_on_with_a_run(recipe, tmp_path):
    train(recipe(), tmp_path / "run")
    with pytest.raises(OutputError, match="holds a run of another recipe"):
        train(recipe(**{"epochs = 3": "epochs = 4"}), tmp_path / "run")


def test_a_loss_that_is_no_number(recipe, tmp_path, monkeypatch):
    """It stops at once, says where, and the checkpoint of the last whole epoch stays."""
    given = training._task_loss

    def diverging(recipe, output, x, y):
        calls.append(1)
        return given(recipe, output, x, y) * (math.nan if len(calls) > 13 else 1)

    calls = []
    monkeypatch.setattr(training, "_task_loss", diverging)
    with pytest.raises(TrainingError, match=r"is nan at step 14 \(epoch 2\).*checkpoint\.pt still holds step 10"):
        train(recipe(), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 10
    tensors = saved["model"]["tensors"].values()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point())


def test_frames_that_are_rebuilt(recipe, tmp_path):
    text = RECIPE.replace('name = "mlp"\nhidden = [12]\nweight_bits = [5, 3]', 'name = "autoencoder"\nwidth = 0.25')
    result = train(recipe("task = 'rebuild'\n" + text), tmp_path / "run")
    table = rows(result.folder)
    assert float(table[-1]["test_error"]) < float(table[0]["test_error"])
    assert "train_accuracy" not in table[0]
    assert flow.inspect(result.model).output_shape == (64,)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs = 3": "epochs = 3\nepoch = 4"}, RecipeError, "unknown key 'epoch'\n.*epochs"),
        ({"hidden": "hiden"}, RecipeError, r"unknown key 'hiden' in \[model\]\n.*hidden"),
        ({'"uniform"': '"uniform"\nstrength = 1.0'}, RecipeError, r"unknown key 'strength' in \[method\]"),
        ({'"uniform"': '"sinareq"\nmin_bits = 6\nmax_bits = 5'}, OptionError, "no width lies in that range"),
        ({'"uniform"': '"magic"'}, RecipeError, "no method 'magic'\n.*sinareq"),
        ({'"mlp"': '"mlq"'}, RecipeError, "no model 'mlq'"),
        ({'"digits"': '"svhn"\npath = "nowhere"'}, DataError, "nowhere: there is no such file or folder"),
        ({"epochs = 3": "epochs = 0"}, RecipeError, "epochs = 0\n.*1 or more"),
        ({"epochs = 3": ""}, RecipeError, "does not say how many epochs"),
        ({"lr = 0.01": 'lr = "fast"'}, RecipeError, "lr = 'fast'\n.*lr is a number"),
        ({"lr = 0.01": "lr = -1.0"}, RecipeError, "lr is not negative"),
        ({"lr = 0.01": 'optimiser = "lion"'}, RecipeError, 'optimiser is "adam" or "sgd"'),
        ({"[5, 3]": "true"}, RecipeError, "weight_bits is a whole number or a list, each a whole number"),
        ({"batch = 128": "batch = 5000"}, OptionError, "a batch of 5000 for 1347 frames"),
        ({"batch = 128": 'device = "abacus"'}, OptionError, "no device 'abacus'"),
        ({"[method]": "[methods]"}, RecipeError, r"no \[method\] with a name"),
        ({"[data]": "[data"}, RecipeError, "is not TOML"),
    ],
)
def test_messages(recipe, tmp_path, changes, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        train(recipe(**changes), tmp_path / "run")


def test_paths_are_relative_to_the_recipe(recipe, tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (300, 3, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=(x.reshape(300, -1).mean(axis=1) > 127).astype(np.int64))
    path = recipe(**{'"digits"': '"npz"\npath = "mine.npz"', "batch = 128": "batch = 32"})
    assert read_recipe(path).data["path"] == tmp_path / "mine.npz"
    assert train(path, tmp_path / "run").finished


def test_a_start_from_a_run_and_from_a_state_dict(recipe, tmp_path):
    """Weights of 8 bits are tuned at 3: at a rate of nearly 0 they stay as they were."""
    teacher = train(recipe(**{"[5, 3]": "8"}), tmp_path / "teacher")
    still = {"lr = 0.01": "lr = 1e-9", "epochs = 3": "epochs = 1", "hidden = [12]": 'hidden = [12]\nstart = "{}"'}
    whole = torch.load(tmp_path / "teacher" / "checkpoint.pt", weights_only=True)["model"]["tensors"]
    own = {"2.0.weight", "2.1.running_mean", "3.weight", "3.bias"}
    assert own < {name for name in whole if "_quant" not in name}
    torch.save({name: value for name, value in whole.items() if "_quant" not in name}, tmp_path / "float.pt")
    for start in ("teacher/checkpoint.pt", "float.pt"):
        path = recipe(**{old: new.format(start) for old, new in still.items()})
        run = train(path, tmp_path / f"from {start.replace('/', ' ')}")
        found = torch.load(run.folder / "checkpoint.pt", weights_only=True)["model"]["tensors"]
        for name in ("2.0.weight", "3.weight", "3.bias"):
            assert torch.allclose(found[name], whole[name], atol=1e-6)  # Adam takes steps of the rate
        assert run.score > teacher.score - 0.1
    fresh = train(recipe(**{"lr = 0.01": "lr = 1e-9", "epochs = 3": "epochs = 1"}), tmp_path / "fresh")
    assert fresh.score < 0.4


def test_a_start_that_does_not_fit(recipe, tmp_path):
    model = models.build("mlp", (1, 8, 8), 10, hidden=[12])
    torch.save(model.state_dict() | {"3.weight": torch.zeros(10, 11)}, tmp_path / "shape.pt")
    torch.save({n: v for n, v in model.state_dict().items() if not n.startswith("3.")}, tmp_path / "short.pt")
    torch.save(model.state_dict() | {"4.weight": torch.zeros(1)}, tmp_path / "long.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name, error, message in (
        ("shape", OptionError, r"another network: 3\.weight is \[10, 11\], not \[10, 12\]"),
        ("short", OptionError, r"3\.weight is missing, 3\.bias is missing"),
        ("long", OptionError, r"4\.weight is in no layer"),
        ("list", DataError, "holds no state_dict"),
        ("text", DataError, "is no file of weights"),
        ("empty", DataError, "is no file of weights"),
        ("none", DataError, r"none\.pt cannot be read"),
    ):
        path = recipe(**{"hidden = [12]": f'hidden = [12]\nstart = "{name}.pt"'})
        with pytest.raises(error, match=message):
            train(path, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_command_line(recipe, tmp_path):
    done = CliRunner().invoke(main, ["train", str(recipe()), "--out", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["model"] == str(tmp_path / "run" / "model.onnx")
    wrong = CliRunner().invoke(main, ["train", str(tmp_path / "none.toml")])
    assert (wrong.exit_code, "cannot be read" in wrong.stderr) == (2, True)
