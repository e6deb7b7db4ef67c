# SPDX-License-Identifier: Apache-2.0
"""The driver of an Alveo as it lies in a package, on a stand-in for XRT whose kernels run the C-simulation."""

import ast
import hashlib
import importlib
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from answers import check_integers

from flow.api.build import build
from flow.api.compile import random_integers
from flow.api.deploy import deploy
from flow.api.package import package
from flow.backend.remote import Host
from flow.emit.kernels import KERNELS
from flow.errors import PackageError
from flow.ir.dataflow import execute

TESTS = Path(__file__).resolve().parents[1]
MODEL = TESTS.parent / "examples" / "digits_mlp" / "digits_mlp.onnx"


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """The result of a build with an .xclbin."""
    result = build(MODEL, board="u250", out=tmp_path_factory.mktemp("card") / "build")
    path = result.folder / "hls_work/xclbin/digits_mlp.xclbin"
    path.parent.mkdir(parents=True)
    path.write_text("xclbin2\n")
    record = result.folder / "hls_work/steps/link.json"
    record.parent.mkdir(parents=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps({"reports": {"hls_work/xclbin/digits_mlp.xclbin": digest}}))
    return result


@pytest.fixture(scope="module")
def archive(card, tmp_path_factory):
    return package(card.folder, tmp_path_factory.mktemp("packed") / "digits.tar.gz").archive


@pytest.fixture
def on_host(archive, tmp_path):
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / "digits_mlp"


@pytest.fixture
def driver(on_host, card, imported, monkeypatch):
    """The module of the package's driver."""
    monkeypatch.delenv("FLOW_CARD", raising=False)
    return imported(on_host, card.folder)


@pytest.fixture(scope="module")
def frames(card):
    integers = card.compiled.integers
    x = random_integers(integers, 53, seed=5)
    return x, execute(integers.graph, {integers.source.name: x})[integers.output]


def test_what_is_in_the_package(on_host) -> None:
    files = json.loads((on_host / "manifest.json").read_text())["files"]
    assert {"digits_mlp.xclbin", "accelerator.py", "device.py", "run.sh", "packing.py"} <= files.keys()
    assert not {name for name in files if name.endswith((".bit", ".hwh")) or name.startswith("cpp/")}
    for path in on_host.glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 8))  # of Ubuntu 20.04


def test_an_xclbin_that_is_not_finished(card, tmp_path) -> None:
    folder = Path(shutil.copytree(card.folder, tmp_path / "build"))
    (folder / "hls_work/xclbin/digits_mlp.xclbin").write_text("of another run")
    with pytest.raises(PackageError, match=r"digits_mlp\.xclbin is not what the last step of --synth xclbin left"):
        package(folder)
    (folder / "hls_work/steps/link.json").unlink()
    with pytest.raises(PackageError, match="holds no finished xclbin") as caught:
        package(folder)
    assert caught.value.remedy == "flow build MODEL --synth xclbin"


def test_the_places_of_arguments_are_those_of_the_kernels(card, driver) -> None:
    """In the C++ that v++ compiles, in the driver, and in the stand-in."""
    arguments = importlib.import_module("pyxrt")._ARGUMENTS
    assert tuple(arguments) == KERNELS
    for kernel, kinds in arguments.items():
        text = (card.folder / f"kernels/{kernel}.cpp").read_text()
        head = next(line for line in text.splitlines() if line.startswith('extern "C"'))
        parameters = head.partition("(")[2].split(", ")
        found = ["stream" if "hls::stream" in p else "buffer" if "*" in p else "scalar" for p in parameters]
        assert tuple(found) == kinds


@pytest.mark.parametrize("batch", [1, 7, 26, 53, None])
def test_integers_are_those_of_the_graph(driver, frames, batch) -> None:
    with driver.Accelerator(batch=batch) as accelerator:
        check_integers(driver, accelerator, *frames)
    with driver.Accelerator() as accelerator:  # the card was given back
        assert accelerator.self_test() == 2 * 20 * 10


def test_floats_are_those_of_the_model(driver, card) -> None:
    integers = card.compiled.integers
    x = np.random.default_rng(2).uniform(-0.2, 1.2, (40, 64))
    expected = integers.decode(execute(integers.graph, {integers.source.name: integers.encode(x)})[integers.output])
    with driver.Accelerator(batch=16) as accelerator:
        # a scale of 24 bits times an integer of 8 is exact in float64, here and there
        np.testing.assert_array_equal(accelerator.predict(x), expected)


def test_power_is_that_of_the_card(driver) -> None:
    with driver.Accelerator() as accelerator:
        assert accelerator.power() == {}
        driver.board.rails = {"electrical": '{"power_consumption_watts": "31.25", "power_rails": []}'}
        assert accelerator.measure(frames=30, calls=2)["power_w"] == {"card": 31.25}
        driver.board.rails = {"electrical": '{"power_consumption_watts": "N/A"}'}
        assert accelerator.power() == {}


@pytest.mark.parametrize("which", ["0", "0000:65:00.1"])
def test_a_card_is_named(driver, monkeypatch, which: str) -> None:
    monkeypatch.setenv("FLOW_CARD", which)
    assert driver.Accelerator().self_test() == 400


@pytest.mark.parametrize(
    ("fault", "message", "remedy"),
    [
        ("no_card", "there is no card 0 (Could not open device", "lists them; set FLOW_CARD"),
        ("other_platform", "digits_mlp.xclbin cannot be loaded (The xclbin shell UUID", "platform of this card"),
        ("no_memory", "there is no memory for two batches of 16,384 frames (failed to allocate", "--batch N"),
    ],
)
def test_a_card_that_cannot_run_it(driver, fault: str, message: str, remedy: str) -> None:
    driver.board.fault = fault
    with pytest.raises(driver.AcceleratorError) as caught:
        driver.Accelerator()
    assert message in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no_results", "after 1 s write_results still waits for words that do not come"),
        ("error", "write_results ended in the state ert_cmd_state.ERT_CMD_STATE_ERROR"),
    ],
)
def test_after_a_call_that_failed_the_card_must_be_reset(driver, frames, fault: str, message: str) -> None:
    """What it left in the streams would shift all results that follow."""
    accelerator = driver.Accelerator(batch=40, timeout=1.0)
    driver.board.fault = fault
    with pytest.raises(driver.AcceleratorError) as caught:
        accelerator.predict_ints(frames[0])
    assert message in str(caught.value)
    assert "reset the card" in str(caught.value)
    driver.board.fault = None
    with pytest.raises(driver.AcceleratorError, match="its words may still be in the accelerator"):
        accelerator.predict_ints(frames[0])


def test_wrong_integers_fail_the_self_test(driver) -> None:
    driver.board.fault = "wrong"
    with pytest.raises(driver.SelfTestError, match="self test, frames all together: 1 of 200 integers differ"):
        driver.Accelerator().self_test()


def test_without_pyxrt(driver, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyxrt", None)
    with pytest.raises(driver.AcceleratorError, match="pyxrt cannot be imported"):
        driver.Accelerator()


def test_another_file_is_refused(driver, on_host) -> None:
    (on_host / "digits_mlp.xclbin").write_text("another")
    with pytest.raises(driver.AcceleratorError, match=r"digits_mlp\.xclbin is not the file that was packaged"):
        driver.Accelerator()
    assert driver.board.loaded == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not on PATH")
def test_a_host_with_a_card_gets_the_package(card, archive, tmp_path, monkeypatch) -> None:
    """By flow deploy; XRT's own script is what makes pyxrt found there."""
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    (tmp_path / "xrt").mkdir()
    (tmp_path / "xrt/setup.sh").write_text(f'[[ 1 == 1 ]] && export PYTHONPATH="{TESTS}/fake_board"\necho XRT\n')
    for name, value in {
        "FLOW_SSH": str(Path(__file__).with_name("ssh")),
        "FLOW_FAKE_SSH_LOG": str(tmp_path / "calls.jsonl"),
        "FLOW_FAKE_HOME": str(tmp_path / "home"),
        "FLOW_FAKE_BUILD": str(card.folder),
        "XILINX_XRT": str(tmp_path / "xrt"),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    (found,) = deploy(archive, [Host("host")])
    assert (found.compared, found.power_w) == (400, {})
