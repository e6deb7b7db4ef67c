# SPDX-License-Identifier: Apache-2.0
"""The Python driver as it lies in a package, on a board whose DMA runs the C-simulation."""

import ast
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from answers import check_integers

from flow.api.compile import random_integers
from flow.emit.packing import Layout
from flow.ir.dataflow import execute


@pytest.fixture(scope="module")
def frames(digits):
    """Integers that enter, and those that leave by the integer graph."""
    integers = digits.compiled.integers
    x = random_integers(integers, 53, seed=5)
    return x, execute(integers.graph, {integers.source.name: x})[integers.output]


@pytest.mark.parametrize("batch", [1, 2, 7, 26, 53, 1000, None])
def test_integers_are_those_of_the_graph(driver, frames, batch) -> None:
    with driver.Accelerator(batch=batch) as accelerator:
        check_integers(driver, accelerator, *frames)
    assert driver.board.memory == {}
    assert driver.board.loaded == ["digits_mlp.bit"]


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_no_buffer_is_touched_while_it_is_under_way(driver, frames, batch) -> None:
    driver.board.coherent = True
    x, y = frames
    with driver.Accelerator(batch=batch) as accelerator:
        np.testing.assert_array_equal(accelerator.predict_ints(x), y)


def test_floats_are_those_of_the_model(driver, digits) -> None:
    integers = digits.compiled.integers
    x = np.random.default_rng(2).uniform(-0.2, 1.2, (40, 64))
    with driver.Accelerator(batch=16) as accelerator:
        np.testing.assert_array_equal(accelerator.encode(x), integers.encode(x))
        y = accelerator.predict(x)
        expected = integers.decode(execute(integers.graph, {integers.source.name: integers.encode(x)})[integers.output])
        # a scale of 24 bits times an integer of 8 is exact in float64, here and there
        np.testing.assert_array_equal(y, expected)
        with pytest.raises(ValueError, match=r"expected frames \[64\], got \[40, 63\]"):
            accelerator.predict(x[:, :63])
        assert accelerator.predict(x[:0]).shape == (0, 10)


def test_the_self_test_compares_the_known_answers_twice(driver, digits) -> None:
    with driver.Accelerator() as accelerator:
        assert accelerator.self_test() == 2 * 20 * 10
        assert driver.board.frames == 2 * 20
        driver.board.fault = "wrong"
        with pytest.raises(
            driver.SelfTestError, match=r"^self test, frames all together: 1 of 200 .* frame 19, value 0"
        ):
            accelerator.self_test()
    known = [line.split() for line in (digits.folder / "tb/vectors/expected.dat").read_text().splitlines()]
    with driver.Accelerator() as accelerator:
        driver.board.fault = None
        raw = driver._known(accelerator.folder / "known_output.hex", accelerator._output)
        assert driver.unpack(raw, accelerator._output).tolist() == [[int(v) for v in row] for row in known]


def test_measurements(driver) -> None:
    driver.board.rails = {
        "INT": SimpleNamespace(power=SimpleNamespace(value=1.25)),
        "AUX": SimpleNamespace(power=None),
    }
    with driver.Accelerator(batch=64) as accelerator:
        found = accelerator.measure(frames=200, calls=3)
    assert found["frames"] == 200
    assert found["power_w"] == {"INT": 1.25}
    assert found["frames_per_second"] > 0
    assert found["call_us"] > 0
    assert found["planned_frames_per_second"] == 1e8 / accelerator.io["interval_cycles"]
    assert driver.board.frames == 64 + 200 + 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("short", "320 bytes of results came for 40 frames, expected 640"),
        ("last_high", "8 bytes of results came for 40 frames, expected 640"),
        ("last_low", "the DMA ended its transfer of results with an internal error (status 0x00000013)"),
        ("no_results", "after 1 s the DMA of results still waits for words that do not come"),
    ],
)
def test_a_transfer_that_goes_wrong_is_told_and_the_next_works(driver, frames, fault: str, message: str) -> None:
    x, y = frames
    accelerator = driver.Accelerator(batch=40, timeout=1.0)
    driver.board.fault = fault
    with pytest.raises(driver.AcceleratorError) as caught:
        accelerator.predict_ints(x)
    assert message in str(caught.value)
    assert "what to do: " in str(caught.value)
    driver.board.fault = None
    np.testing.assert_array_equal(accelerator.predict_ints(x), y)
    assert len(driver.board.loaded) == 2  # loaded anew, which empties the accelerator


def test_wrong_frames_in_the_middle_end_what_is_under_way(driver, frames) -> None:
    x, y = frames
    bad = x.copy()
    bad[45, 3] = 16
    accelerator = driver.Accelerator(batch=20)
    with pytest.raises(ValueError, match=r"values from 0 to 16 do not fit u4"):
        accelerator.predict_ints(bad)
    np.testing.assert_array_equal(accelerator.predict_ints(x), y)
    assert len(driver.board.loaded) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no_dma", "digits_mlp.bit has no AXI DMA called dma"),
        ("root", "the bitstream cannot be loaded: Root permissions required."),
        ("stuck_reset", "after 0.2 s the DMA of frames still does not come out of its reset"),
        ("no_memory", "there is no contiguous memory for two batches of 32,768 frames (Failed to allocate Memory!)"),
    ],
)
def test_a_board_that_cannot_run_it(driver, fault: str, message: str) -> None:
    driver.board.fault = fault
    with pytest.raises(driver.AcceleratorError) as caught:
        driver.Accelerator(timeout=0.2)
    assert message in str(caught.value)


def test_without_pynq(driver, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(driver.AcceleratorError, match="pynq cannot be imported"):
        driver.Accelerator()


@pytest.mark.parametrize("batch", [0, -1, 1 << 22])
def test_a_batch_that_is_not_possible(driver, batch: int) -> None:
    with pytest.raises(driver.AcceleratorError, match="choose from 1 to 2,097,151"):
        driver.Accelerator(batch=batch)


def test_after_it_is_closed(driver, frames) -> None:
    with driver.Accelerator() as accelerator:
        pass
    with pytest.raises(driver.AcceleratorError, match="the accelerator is closed"):
        accelerator.predict_ints(frames[0])


@pytest.mark.parametrize("name", ["digits_mlp.bit", "digits_mlp.hwh", "io.json", "packing.py", "known_output.hex"])
def test_a_file_that_is_not_the_packaged_one_is_refused(driver, on_board, name: str) -> None:
    (on_board / name).write_text((on_board / name).read_text() + " ")
    with pytest.raises(driver.AcceleratorError, match=f"{name} is not the file that was packaged: its digest is"):
        driver.Accelerator()
    (on_board / name).unlink()
    with pytest.raises(driver.AcceleratorError, match=f"{name} is missing"):
        driver.Accelerator()
    assert driver.board.loaded == []


def test_a_manifest_without_the_bitstream_is_refused(driver, on_board) -> None:
    manifest = json.loads((on_board / "manifest.json").read_text())
    del manifest["files"]["digits_mlp.bit"]
    (on_board / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(driver.AcceleratorError, match=r"the manifest does not name digits_mlp\.bit"):
        driver.Accelerator()
    (on_board / "manifest.json").write_text("{")
    with pytest.raises(driver.AcceleratorError, match=r"is no package: manifest\.json cannot be read"):
        driver.Accelerator()


def test_the_command_line(driver, frames, tmp_path, capsys) -> None:
    x, y = frames
    assert driver.main(["self-test"]) == 0
    assert capsys.readouterr().out == "self test: 400 integers compared, all equal\n"
    assert driver.main(["--batch", "8", "measure", "--frames", "50"]) == 0
    assert json.loads(capsys.readouterr().out)["batch"] == 8
    np.savez(tmp_path / "x.npz", x=x)
    assert driver.main(["predict", str(tmp_path / "x.npz"), str(tmp_path / "y.npz"), "--integers"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y_int"], y)
    assert driver.main(["predict", str(tmp_path / "x.npz"), str(tmp_path / "y.npz")]) == 0
    assert np.load(tmp_path / "y.npz")["y"].shape == (53, 10)
    np.savez(tmp_path / "z.npz", z=x)
    for path, message in (("z.npz", "has no array x"), ("gone.npz", "No such file")):
        assert driver.main(["predict", str(tmp_path / path), "y.npz"]) == 2
        assert message in capsys.readouterr().err
    driver.board.fault = "wrong"
    assert driver.main(["self-test"]) == 1
    assert capsys.readouterr().err.startswith("accelerator: self test, frames all together")


def test_it_is_python_3_8_with_numpy_and_pynq(packed) -> None:
    imported = set()
    for path in packed.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        imported |= {n.module if isinstance(n, ast.ImportFrom) else a.name for n in ast.walk(tree)
                     if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}  # fmt: skip
    own = {path.stem for path in packed.glob("*.py")}
    assert {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - own == {"numpy", "pynq"}


def test_io_json_describes_the_streams(digits) -> None:
    io = json.loads((digits.folder / "io.json").read_text())
    for side, port in (("input", digits.design.source), ("output", digits.design.sink)):
        layout = Layout.of(io[side])
        assert (layout.words, layout.per_word) == (port.words, port.per_word)
        assert (io[side]["words"], io[side]["values_per_word"]) == (port.words, port.per_word)
        assert io[side]["frame_bytes"] == layout.frame_bytes
