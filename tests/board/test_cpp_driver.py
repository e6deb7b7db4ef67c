# SPDX-License-Identifier: Apache-2.0
"""The C++ driver as it lies in a package: built by CMake, run on a device whose DMA is the C-simulation."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from flow.emit.packing import Layout, pack
from flow.ir.dataflow import execute

HERE = Path(__file__).resolve().parent
CXX = shutil.which("g++")
FLAGS = ["-std=c++14", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=address,undefined"]


@pytest.fixture(scope="module")
def program(packed, tmp_path_factory) -> Path:
    """With every access to memory checked."""
    path = tmp_path_factory.mktemp("cpp") / "fake_device"
    own = ("accelerator.cpp", "host.cpp", "host_part.cpp")
    sources = [*(str(packed / "cpp" / name) for name in own), str(HERE / "fake_device.cpp")]
    command = [CXX, *FLAGS, f"-I{packed / 'cpp'}", *sources, "-o", str(path), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def run(program: Path, *words: object, stdin: str = "") -> list[str]:
    found = subprocess.run([program, *map(str, words)], input=stdin, capture_output=True, text=True, timeout=60)
    assert found.stderr == ""
    return found.stdout.splitlines()


@pytest.mark.parametrize(("batch", "taken"), [(0, 680), (1, 1), (3, 3), (7, 7), (20, 20), (64, 64)])
def test_the_known_answers(program, digits, packed, batch: int, taken: int) -> None:
    said = run(program, "run", digits.folder / "csim/design.so", packed, batch)
    place = 39 % taken
    bad = f"frame {place}, value 63: 1000 does not fit u4"
    assert said == [f"batch {taken}", "200 equal", "200 equal", bad]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("short", "160 bytes of results came for frames 0 to 19, expected 320: they ended early (TLAST)"),
        (
            "last_low",
            "the DMA ended its transfer of results with an error (status 0x13): the results did not end where",
        ),
        ("no_results", "after 0.2 s the DMA of results still waits for words that do not come"),
        ("wrong", "self test: frame 0, value 0: expected 26, got 27"),
    ],
)
def test_faults(program, digits, packed, fault: str, message: str) -> None:
    said = run(program, "run", digits.folder / "csim/design.so", packed, 0, fault)
    assert said[1].startswith(message)
    assert said[2] == "200 equal"  # the driver goes on when the fault is over


def test_a_device_that_cannot_be_used(program, digits, packed) -> None:
    library = digits.folder / "csim/design.so"
    assert run(program, "run", library, packed, 0, "stuck_reset") == ["the DMA does not come out of its reset"]
    assert run(program, "run", library, packed, 10_000)[0].startswith("the memory of 65536 bytes holds two batches of")


@pytest.mark.parametrize(
    ("element", "container"),
    [("u3", 4), ("i4", 4), ("u1", 1), ("b1", 1), ("i2", 2), ("u8", 8), ("i13", 16), ("i48", 64)],
)
def test_packing_is_that_of_python(program, element: str, container: int) -> None:
    layout = Layout(element, 11, container, 64)
    low, high = layout.bounds
    values = np.random.default_rng(1).integers(low, high, (3, 11), endpoint=True)
    values = np.where(values > 0, 1, -1) if element == "b1" else values
    numbers = " ".join(map(str, values.reshape(-1).tolist()))
    (said,) = run(program, "pack", element[0], element[1:], 11, container, layout.frame_bytes, stdin=numbers)
    packed, _, unpacked = said.partition("|")
    assert packed == pack(values, layout).tobytes().hex()
    assert unpacked.strip() == numbers


def test_floats_are_those_of_python(program, digits) -> None:
    """Bit by bit: every step of this network rounds as IEEE 754 says."""
    integers = digits.compiled.integers
    x = np.random.default_rng(2).uniform(-0.2, 1.2, (40, 64))
    y = execute(integers.graph, {integers.source.name: integers.encode(x)})[integers.output]
    command = [program, "predict", digits.folder / "csim/design.so", "7"]
    said = subprocess.run(command, input=x.tobytes(), capture_output=True, timeout=60)
    np.testing.assert_array_equal(np.frombuffer(said.stdout).reshape(40, 10), integers.decode(y))
    said = subprocess.run(command, input=x.tobytes()[:-8], capture_output=True, timeout=60)
    assert (said.returncode, said.stdout) == (2, b"2559 values are no whole frames of 64\n")


def test_power_is_read_from_hwmon(program, tmp_path) -> None:
    """As the kernel's documentation has it (hwmon/sysfs-interface): microwatts."""
    for sensor, name, powers in (("hwmon0", "ina226_u76", [1250000, 31]), ("hwmon1", "thermal", [])):
        (tmp_path / sensor).mkdir()
        (tmp_path / sensor / "name").write_text(name + "\n")
        for number, microwatts in enumerate(powers, 1):
            (tmp_path / sensor / f"power{number}_input").write_text(f"{microwatts}\n")
    said = run(program, "power", tmp_path)
    assert said == ["ina226_u76 hwmon0/power1: 1.25", "ina226_u76 hwmon0/power2: 3.1e-05"]
    assert run(program, "power", tmp_path / "none") == []


def test_cmake_builds_the_program(packed, tmp_path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not on PATH")
    for command in (["-S", str(packed / "cpp"), "-B", "."], ["--build", "."]):
        built = subprocess.run(["cmake", *command], cwd=tmp_path, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout + built.stderr
        assert "warning" not in (built.stdout + built.stderr).lower()
    for words, code, message in (
        ([], 2, "usage: "),
        (["self-test", "--uio"], 2, "usage: "),
        (["predict", "frames"], 2, "usage: "),
        (["predict", "frames", "answers", "--uio"], 2, "usage: "),
        (["self-test", "--uio", "none"], 2, "accelerator: /dev/none cannot be opened: No such file"),
        (["self-test", "--uio", "null"], 2, "accelerator: /dev/null cannot be mapped: No such device"),
        # registers are there, and no memory for the DMA
        (["self-test", "--uio", "zero"], 2, "accelerator: /sys/class/u-dma-buf/udmabuf0/size cannot be read: is the"),
    ):
        found = subprocess.run([tmp_path / "accelerator", *words], capture_output=True, text=True)
        assert (found.returncode, found.stderr.startswith(message)) == (code, True), found.stderr


def test_the_sums_are_those_of_the_files(packed) -> None:
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=packed, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "cpp/accelerator.cpp: OK" in checked.stdout
