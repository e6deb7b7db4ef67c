# SPDX-License-Identifier: Apache-2.0
"""A built design, its package with a stand-in bitstream, and the driver in it on a stand-in board."""

import hashlib
import importlib
import json
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from flow.api.build import build
from flow.api.package import package

TESTS = Path(__file__).resolve().parents[1]
MODEL = TESTS.parent / "examples" / "digits_mlp" / "digits_mlp.onnx"
MODULES = ("accelerator", "accelerator_error", "device", "packing", "pynq", "pyxrt")
DATA = TESTS.parent / "examples" / "digits_mlp" / "samples.npz"


def with_bitstream(folder: Path) -> None:
    """What the last step of --synth bitstream leaves."""
    design = json.loads((folder / "io.json").read_text())["design"]
    reports = {}
    for suffix in ("bit", "hwh"):
        path = folder / f"hls_work/bitstream/{design}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the {suffix} of {design}\n")
        reports[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    record = folder / "hls_work/steps/system_build.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"reports": reports}))


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The result of a build with a bitstream."""
    result = build(MODEL, data=DATA, out=tmp_path_factory.mktemp("digits") / "build")
    with_bitstream(result.folder)
    return result


@pytest.fixture(scope="session")
def packed(digits, tmp_path_factory):
    """The folder in the archive, unpacked."""
    folder = tmp_path_factory.mktemp("packed")
    with tarfile.open(package(digits.folder, folder / "digits.tar.gz").archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "digits_mlp"


@pytest.fixture
def on_board(packed, tmp_path):
    """A copy of the package, which a test may damage."""
    return Path(shutil.copytree(packed, tmp_path / "on board"))


@pytest.fixture
def imported(monkeypatch):
    """The driver of a package as a module, beside stand-ins for pynq and pyxrt that run a build's C-simulation."""
    boards = []

    def of(package: Path, folder: Path):
        for name in MODULES:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(str(TESTS / "fake_board"))
        monkeypatch.syspath_prepend(str(package))
        module = importlib.import_module("accelerator")
        module.board = importlib.import_module("pynq").board
        module.board.insert(folder / "csim/design.so", json.loads((folder / "io.json").read_text()))
        boards.append(module.board)
        return module

    yield of
    for board in boards:
        board.fault = None  # who still waits for words ends
        board.thread.shutdown()
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def driver(on_board, digits, imported):
    """The module of the package's driver."""
    return imported(on_board, digits.folder)
