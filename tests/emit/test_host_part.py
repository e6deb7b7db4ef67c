# SPDX-License-Identifier: Apache-2.0
"""The host's part of a model as the drivers compute it: Python beside the reference, C++ beside Python."""

import importlib.util
import json
import shutil
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from flow.emit import packing
from flow.emit.driver import from_float, to_float
from flow.emit.host_part import host_part
from flow.ir.graph import Graph
from flow.ir.input_type import parse_input_type
from flow.ir.model import (
    ArgMax,
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Constant,
    Input,
    LeakyRelu,
    Quant,
    QuantizedConstant,
    Reshape,
    Softmax,
    Transpose,
    Unary,
)
from flow.ir.reference import Evaluation, Levels, evaluate
from flow.ir.rounding import Rounding
from flow.passes.integerize import IntegerModel
from flow.resources import templates

SHAPE = (2, 3, 4)
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def accelerator():
    """The class, from the file that a build directory gets."""
    sys.modules["packing"] = packing
    with pytest.MonkeyPatch.context() as patch:
        for folder in ("driver", "driver/pynq"):
            patch.syspath_prepend(str(templates() / folder))
        spec = importlib.util.spec_from_file_location("accelerator", templates() / "driver/accelerator.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module.Accelerator
    for name in ("packing", "device", "accelerator_error"):
        del sys.modules[name]


def chain(*nodes):
    """A graph of nodes behind an input; ``None`` for what they read is the node before."""
    found = [Input("x", SHAPE)]
    for node in nodes:
        found.append(node)
    return Graph(tuple(found), (found[-1].name,))


def decoded(accelerator, tail, integers, scale=(Fraction(1, 8),), offset=(Fraction(0),)):
    output = {"scale": [str(v) for v in scale], "offset": [str(v) for v in offset], "to_float": to_float(tail)}
    output = json.loads(json.dumps(output, allow_nan=False))
    return accelerator.decode(SimpleNamespace(io={"output": output}), integers)


PER_CHANNEL = RNG.normal(size=4)
TAILS = {
    "nothing": [],
    "bias": [Constant("c", PER_CHANNEL), Binary("y", "add", "x", "c")],
    "from a constant": [Constant("c", PER_CHANNEL), Binary("y", "sub", "c", "x")],
    "quantised bias": [
        QuantizedConstant("c", np.array([3, -2, 1, 0]), np.array(0.25)),
        Binary("y", "mul", "x", "c"),
        Unary("z", "relu", "y"),
    ],
    "division": [Constant("c", PER_CHANNEL), Binary("y", "div", "x", "c")],
    "more axes": [Constant("c", RNG.normal(size=(5, 1, 1, 1))), Binary("y", "add", "x", "c")],
    "clip": [Clip("y", "x", -1.0, float("inf")), Clip("z", "y", float("-inf"), 1.5)],
    "leaky": [LeakyRelu("y", "x", np.array(0.125))],
    "functions": [
        Unary("a", "tanh", "x"),
        Unary("b", "neg", "a"),
        Unary("c", "sigmoid", "b"),
        Unary("d", "identity", "c"),
    ],
    "normalised": [BatchNorm("y", "x", PER_CHANNEL, PER_CHANNEL + 1, PER_CHANNEL - 1, np.abs(PER_CHANNEL) + 0.1, 1e-5)],
    "moved": [Transpose("y", "x", (2, 0, 1)), Reshape("z", "y", (4, 6)), Softmax("p", "z", 0)],
    "softmax": [Reshape("y", "x", (24,)), Softmax("z", "y", 0)],
    "argmax": [Reshape("y", "x", (24,)), ArgMax("z", "y", 0, 3, True)],
    "argmax without the axis": [ArgMax("z", "x", 1, 1, False)],
}


@pytest.mark.parametrize("name", TAILS)
def test_what_stands_behind_the_hardware(accelerator, name: str) -> None:
    tail = chain(*TAILS[name])
    integers = RNG.integers(-128, 128, (6, *SHAPE))
    scale, offset = (Fraction(3, 64),), tuple(Fraction(n, 32) for n in (0, -5, 7, 1))
    levels = Levels(integers, scale, offset)
    (expected,) = evaluate(tail, {"x": levels}).values()
    # a few roundings of float64 in another order
    np.testing.assert_allclose(decoded(accelerator, tail, integers, scale, offset), expected, rtol=1e-13, atol=1e-13)


def front(accelerator, head, x):
    described = json.loads(json.dumps(from_float(SimpleNamespace(input_type=None, head=head), SHAPE), allow_nan=False))
    return accelerator.encode(SimpleNamespace(io={"input": {"from_float": described}}), x)


@pytest.mark.parametrize("mode", Rounding)
def test_every_rounding_in_front_of_the_hardware(accelerator, mode: Rounding) -> None:
    scale = np.array([0.5, 0.25, 1.0, 2.0])
    head = chain(Transpose("t", "x", (1, 0, 2)), Quant("q", "t", scale, np.array(1.0), 4, True, False, mode))
    x = RNG.integers(-40, 40, (30, *SHAPE)) / 8  # many ties
    expected = Evaluation(head, {"x": x}).decisions["q"].levels
    np.testing.assert_array_equal(front(accelerator, head, x), expected)


def test_a_bipolar_quantiser_in_front_of_the_hardware(accelerator) -> None:
    head = chain(BipolarQuant("q", "x", np.array(0.5), np.array(0.0)))
    x = RNG.integers(-3, 4, (30, *SHAPE)) / 2
    np.testing.assert_array_equal(front(accelerator, head, x), Evaluation(head, {"x": x}).decisions["q"].levels)


@pytest.mark.parametrize(
    ("nodes", "missing"),
    [
        ([Unary("y", "gelu", "x")], "gelu"),
        ([Constant("c", np.array(2.0)), Binary("y", "pow", "x", "c")], "pow"),
        ([Unary("y", "relu", "x"), Binary("z", "add", "x", "y")], "tensors that meet"),
    ],
)
def test_what_the_driver_does_not_know_is_named(nodes, missing: str) -> None:
    assert to_float(chain(*nodes)) == {"missing": missing}


@pytest.mark.parametrize("written", ["u8/255", "fixed<6,2>", "b1"])
def test_an_input_type_with_its_axes_in_the_order_of_the_hardware(accelerator, written: str) -> None:
    model = SimpleNamespace(input_type=parse_input_type(written), head=None, order=(1, 2, 0))
    x = RNG.integers(-20, 300, (5, *SHAPE)) / 64
    described = json.loads(json.dumps(from_float(model, SHAPE), allow_nan=False))
    found = accelerator.encode(SimpleNamespace(io={"input": {"from_float": described}}), x)
    np.testing.assert_array_equal(found, IntegerModel.encode(model, x))


# -- the same in C++ -------------------------------------------------------------------------------------------------

SCALE, OFFSET = ("3/64",), tuple(str(Fraction(n, 32)) for n in (0, -5, 7, 1))
ROUNDINGS = [mode.value for mode in Rounding]
HEADS = {
    **{
        f"rounding {mode.value}": chain(
            Transpose("t", "x", (1, 0, 2)),
            Quant("q", "t", np.array([0.5, 0.25, 1.0, 2.0]), np.array(1.0), 4, True, False, mode),
        )
        for mode in Rounding
    },
    "bipolar": chain(BipolarQuant("q", "x", np.array(0.5), np.array(0.0))),
    "by the first axis": chain(
        Constant("c", RNG.normal(size=(2, 1, 1))),
        Binary("y", "mul", "x", "c"),
        Quant("q", "y", np.array([[[0.5]], [[0.3]]]), np.array(0.0), 6, True, False, Rounding.HALF_EVEN),
    ),
}
IO = {
    name: {"input": {"from_float": from_float(SimpleNamespace(input_type=None, head=head), SHAPE)}}
    for name, head in HEADS.items()
} | {name: {"output": {"to_float": to_float(chain(*nodes))}} for name, nodes in TAILS.items()}
CPP = """
#include <cstdlib>
#include <functional>
#include <iostream>
#include <numeric>
#include <string>
int main(int, char** argv) {
    const flow::HostPart& part = cases[std::atoi(argv[1])]();
    std::cout << part.missing;
    if (!part.missing.empty()) return 2;
    const bool front = std::string(argv[2]) == "encode";
    const int size = front ? part.frame_values
                           : std::accumulate(part.shape.begin(), part.shape.end(), 1, std::multiplies<int>());
    std::vector<double> x(size), y;
    while (std::cin.read(reinterpret_cast<char*>(x.data()), size * sizeof(double))) {
        if (front) {
            for (std::int64_t level : flow::encode_frame(part, x)) y.push_back(double(level));
        } else {
            for (double value : flow::decode_frame(part, {x.begin(), x.end()})) y.push_back(value);
        }
    }
    std::cout.write(reinterpret_cast<const char*>(y.data()), y.size() * sizeof(double));
}
"""


def whole(name: str) -> dict:
    """``io.json`` with the half that a case has, and nothing in the other."""
    nothing = {"shape": [1], "steps": []}
    quantize = {"scale": 1.0, "zero_point": 0.0, "rounding": "half_even", "least": 0, "greatest": 1}
    io = {"design": "case", "input": {"from_float": {**nothing, "quantize": quantize}}}
    io["output"] = {"to_float": nothing}
    io |= IO[name]
    io["output"] |= {"scale": SCALE, "offset": OFFSET if io["output"]["to_float"]["shape"] == list(SHAPE) else ("0",)}
    return io


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """All cases in one program, with every access to memory checked."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not on PATH")
    folder = tmp_path_factory.mktemp("cpp")
    texts = [host_part(whole(name)).replace("host_part()", f"case_{i}()") for i, name in enumerate(IO)]
    table = ", ".join(f"flow::case_{i}" for i in range(len(IO)))
    cases = f"\nconst flow::HostPart& (*const cases[])() = {{{table}}};\n"
    (folder / "cases.cpp").write_text("".join(texts) + cases + CPP)
    source = templates() / "driver/cpp"
    flags = ["-std=c++14", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=address,undefined"]
    command = ["g++", *flags, "-ffp-contract=off", f"-I{source}", "cases.cpp", str(source / "host.cpp"), "-o", "cases"]
    subprocess.run(command, cwd=folder, check=True)

    def run(name: str, how: str, x: np.ndarray) -> bytes:
        command = [folder / "cases", str(list(IO).index(name)), how]
        return subprocess.run(command, input=x.astype(np.float64).tobytes(), capture_output=True, check=False).stdout

    return run


@pytest.mark.parametrize("name", HEADS)
def test_cpp_in_front_of_the_hardware(accelerator, program, name: str) -> None:
    x = RNG.integers(-40, 40, (30, *SHAPE)) / 8  # many ties
    expected = front(accelerator, HEADS[name], x)
    np.testing.assert_array_equal(np.frombuffer(program(name, "encode", x)).reshape(expected.shape), expected)


@pytest.mark.parametrize("name", [name for name in TAILS if name != "more axes"])
def test_cpp_behind_the_hardware(accelerator, program, name: str) -> None:
    integers = RNG.integers(-128, 128, (6, *SHAPE))
    if name.startswith("argmax"):
        integers = integers // 32  # equal values: the first counts
    expected = decoded(accelerator, chain(*TAILS[name]), integers, map(Fraction, SCALE), map(Fraction, OFFSET))
    found = np.frombuffer(program(name, "decode", integers)).reshape(expected.shape)
    # exp and tanh are numpy's there and the C library's here, each within some last places; a sum of them likewise
    close = 1e-14 if {"functions", "moved", "softmax"} & {name} else 0.0
    np.testing.assert_allclose(found, expected, rtol=close, atol=0)


def test_cpp_names_what_it_does_not_know(program) -> None:
    assert program("more axes", "decode", np.zeros(SHAPE)) == b"a constant larger than the frame"
    io = whole("nothing")
    io["output"]["to_float"] = {"missing": "gelu"}
    assert '"gelu"' in host_part(io)


def test_the_roundings_of_cpp_are_all_of_them() -> None:
    header = (templates() / "driver/cpp/host.hpp").read_text()
    line = next(line for line in header.splitlines() if line.startswith("enum class Rounding"))
    names = line[line.index("{") + 1 : line.index("}")].replace(" ", "").split(",")
    assert sorted(names) == sorted([*ROUNDINGS, "sign"])
