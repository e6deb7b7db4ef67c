# SPDX-License-Identifier: Apache-2.0
"""The examples of training run, and keep what they promise."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flow.cli import main
from flow.plan import board as boards

for package in ("torch", "brevitas", "onnxoptimizer", "sklearn"):
    pytest.importorskip(package)

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(monkeypatch, capsys, script, *arguments):
    """What a script prints, run as from the command line."""
    import torch

    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    torch.set_num_threads(threads)
    return capsys.readouterr().out


def test_learned_bits_to_an_exact_design(tmp_path):
    """The two commands of its README: the plan keeps to the budget, and the build checks every integer."""
    recipe = EXAMPLES / "learned_bits" / "recipe.toml"
    done = CliRunner().invoke(main, ["train", str(recipe), "--out", str(tmp_path / "run"), "--quiet"])
    assert done.exit_code == 0, done.output
    network, plan = tmp_path / "run" / "model.onnx", tmp_path / "run" / "plan.toml"
    built = ["build", str(network), "--plan", str(plan), "--out", str(tmp_path / "build"), "--json"]
    done = CliRunner().invoke(main, built)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["total"]["lut"]["value"] <= 0.166 * boards.load("pynq-z2").resources.lut
    assert report["fps"]["value"] >= 2e6
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["C++ of the whole design against the integer graph"]["differences"] == 0


def test_own_training_loop(monkeypatch, capsys, tmp_path):
    script = EXAMPLES / "own_training_loop.py"
    assert len(script.read_text().splitlines()) < 60
    said = run(monkeypatch, capsys, "own_training_loop.py", tmp_path)
    assert float(said.split("accuracy ")[1].split(",")[0]) > 0.8
    assert "exact in C simulation" in said
    assert (tmp_path / "model.onnx").is_file()


def test_comparison_of_methods(monkeypatch, capsys, tmp_path):
    """After one epoch the widths have not settled, and the script says so of the methods that promise more."""
    said = run(monkeypatch, capsys, "compare_methods.py", tmp_path, 1)
    lines = said.splitlines()[1:]
    assert len(lines) == 8
    accuracy, bits = zip(*(map(float, line.split()[-2:]) for line in lines[:3]), strict=True)
    assert bits == (4, 3, 2)
    assert min(accuracy) > 0.4
