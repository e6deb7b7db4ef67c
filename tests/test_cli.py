# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: one clear message for each mistake, and what the commands print."""

import gc
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from flow.backend import tools
from flow.cli import main
from flow.emit.fileset import FileSet
from flow.ir.text import parse_graph, print_graph
from flow.passes.pipelines import pass_names
from flow.plan.adder_solver import has_da4ml

QONNX = "qonnx.custom_op.general"
W1 = np.array([[3, -2, 1, 0, 5, -4], [1, 1, -6, 2, 0, 3], [-5, 2, 2, -1, 4, 0], [0, 7, -3, 3, 1, 2]], np.float32)
W2 = np.array([[1, -2, 3], [0, 4, -1], [5, 0, 2], [-3, 1, 1], [2, 2, -6], [7, -1, 0]], np.float32)


def tensor(value, name, kind=np.float32):
    return numpy_helper.from_array(np.asarray(value, kind), name)


def quant(x, scale, bits, output, signed=1):
    attributes = {"signed": signed, "narrow": 0, "rounding_mode": "ROUND", "domain": QONNX}
    return helper.make_node("Quant", [x, scale, "zero", bits], [output], name=f"quant_{output}", **attributes)


def model_of(nodes, initializers, *, output_shape=(1, 3), output="y"):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        initializers,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def tiny_model(*, input_quant=True, output="logits", **changed):
    """Two layers, 4 -> 6 -> 3; ``changed`` replaces an initializer by another value."""
    values = {"zero": 0, "s_in": 1, "b_in": 4, "s_w": 0.5, "b_w": 4, "s_mid": 2, "b_mid": 4}
    values |= {"w1": W1 * 0.5, "w2": W2 * 0.5, **changed}
    nodes = [
        *([quant("x", "s_in", "b_in", "xq")] if input_quant else []),
        quant("w1", "s_w", "b_w", "w1q"),
        helper.make_node("MatMul", ["xq" if input_quant else "x", "w1q"], ["p"], name="product"),
        helper.make_node("Relu", ["p"], ["r"], name="relu"),
        quant("r", "s_mid", "b_mid", "h", signed=0),
        quant("w2", "s_w", "b_w", "w2q"),
        helper.make_node("MatMul", ["h", "w2q"], [output], name="head"),
    ]
    return model_of(nodes, [tensor(value, name) for name, value in values.items()], output=output)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder that is the working directory, with ``tiny.onnx`` in it."""
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny_model(), "tiny.onnx")
    return tmp_path


def flow(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def listing(folder):
    """Every path below with its content, so that nothing can come, go or change unseen."""
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def refused(*arguments):
    """Run; check that it ends in one message, exit code 2, and a folder as it was; the message."""
    before = listing(Path.cwd())
    result = flow(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    assert listing(Path.cwd()) == before
    assert "Traceback" not in result.output
    assert result.stderr.startswith("flow: ")
    assert sum(line.startswith("flow: ") for line in result.stderr.splitlines()) == 1
    assert "what to do: " in result.stderr
    return result.stderr.removeprefix("flow: ").rstrip("\n")


def build_refused(*arguments):
    return refused("build", "tiny.onnx", "--no-csim", "--input-type", "i4", "--out", "out", *arguments)


# ------------------------------------------------------------------------------------------- models that are wrong


def model_refused(model):
    onnx.save(model, "bad.onnx")
    return refused("build", "bad.onnx", "--no-csim", "--out", "out")


def test_file_that_is_not_there(here):
    assert refused("build", "no.onnx", "--no-csim") == ("no.onnx: there is no such file\n  what to do: check the path")


def test_folder_for_a_model(here):
    (here / "models").mkdir()
    assert refused("build", "models", "--no-csim") == (
        "models is a folder, not a model\n  what to do: name the .onnx file in it"
    )


def test_empty_file(here):
    (here / "empty.onnx").touch()
    assert refused("build", "empty.onnx", "--no-csim") == (
        "empty.onnx is empty (0 bytes)\n  what to do: export the model again"
    )


def test_truncated_file(here):
    (here / "cut.onnx").write_bytes((here / "tiny.onnx").read_bytes()[:300])
    assert refused("build", "cut.onnx", "--no-csim") == (
        "cut.onnx is not an ONNX model, or was cut short (300 bytes)\n"
        "  what to do: export or copy it again; `onnx.checker.check_model` tells more"
    )


def test_text_for_a_model(here):
    (here / "text.onnx").write_text("this is no model\n")
    assert "text.onnx is not an ONNX model, or was cut short (17 bytes)" in refused("build", "text.onnx")


def test_float_model(here):
    message = model_refused(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor(W1[:, :3], "w")]))
    assert message == (
        "bad.onnx holds no quantiser (Quant, BipolarQuant, QuantizeLinear): it is a float model\n"
        "  what to do: quantise it in training, e.g. with Brevitas layers, and export with "
        "brevitas.export.export_qonnx"
    )


def test_qcdq_model_that_ends_where_it_begins(here):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    message = model_refused(model_of(nodes, [tensor(0.5, "s"), tensor(0, "z", np.int8)], output_shape=(1, 4)))
    assert message.startswith("nothing is left for the hardware: the model's quantiser would run on the host")


def test_unknown_operations_are_all_listed(here):
    model = tiny_model()
    model.graph.node[3].op_type = "Erf"
    model.graph.node[6].op_type = "LSTM"
    remedy = "replace it by MatMul, Gemm, Conv, pools, elementwise operations, BatchNormalization and Quant"
    assert model_refused(model) == (
        "the model cannot be converted (2 problems):\n"
        "  1. Erf 'relu': this operation is not supported\n"
        f"      what to do: {remedy}\n"
        "  2. LSTM 'head': this operation is not supported\n"
        f"      what to do: {remedy}"
    )


def test_dynamic_batch(here):
    model = tiny_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    assert model_refused(model) == (
        "bad.onnx: the batch dimension of input 'x' is dynamic ('N')\n"
        "  what to do: export with a fixed shape and batch 1 (no dynamic_axes, no dynamic_shapes)"
    )


@pytest.mark.parametrize(
    ("changed", "why", "remedy"),
    [
        (
            {"s_w": np.nan},
            "Quant 'quant_w1q', 'quant_w2q': its scale is not a number (NaN or infinite)",
            "train again; a scale has diverged",
        ),
        (
            {"s_mid": np.inf},
            "Quant 'quant_h': its scale is not a number (NaN or infinite)",
            "train again; a scale has diverged",
        ),
        (
            {"s_mid": 0},
            "Quant 'quant_h': its scale is 0; a scale must be positive",
            "check for an all-zero weight channel or a scale that collapsed in training",
        ),
        (
            {"s_in": -0.5},
            "Quant 'quant_xq': its scale is -0.5; a scale must be positive",
            "check for an all-zero weight channel or a scale that collapsed in training",
        ),
        (
            {"b_mid": 0},
            "Quant 'quant_h': its bit width is 0; whole numbers from 1 to 32 are possible",
            "choose a whole number from 1 to 32",
        ),
        (
            {"b_in": 3.5},
            "Quant 'quant_xq': its bit width is 3.5; whole numbers from 1 to 32 are possible",
            "choose a whole number from 1 to 32",
        ),
        (
            {"b_in": 33},
            "Quant 'quant_xq': its bit width is 33; whole numbers from 1 to 32 are possible",
            "choose a whole number from 1 to 32",
        ),
    ],
)
def test_quantiser_that_means_nothing(here, changed, why, remedy):
    assert model_refused(tiny_model(**changed)) == (
        f"the model cannot be converted (1 problem):\n  1. {why}\n      what to do: {remedy}"
    )


@pytest.mark.parametrize("bits", [np.nan, np.inf])
def test_bit_width_that_is_no_number(here, bits):
    assert "its bit width is" in model_refused(tiny_model(b_mid=bits))


def test_weight_that_is_no_number(here):
    weights = W1 * 0.5
    weights[1, 2] = np.nan
    assert "w1" in model_refused(tiny_model(w1=weights))


@pytest.mark.parametrize("break_it", ["input missing", "input unknown"])
def test_node_that_is_not_whole(here, break_it):
    model = tiny_model()
    if break_it == "input missing":
        del model.graph.node[0].input[2:]
    else:
        model.graph.node[2].input[1] = "nowhere"
    model_refused(model)


def test_input_type_is_missing(here):
    message = model_refused(tiny_model(input_quant=False))
    assert "--input-type" in message
    assert "MatMul 'p'" in message or "'x'" in message


# ------------------------------------------------------------------------------------------ options that are wrong


def test_unknown_board(here):
    assert build_refused("--board", "pynq-z3") == (
        "unknown board 'pynq-z3'; the known boards are arty-a7-100t, arty-a7-35t, arty-z7-20, kv260, pynq-z1, "
        "pynq-z2, u250, u55c, ultra96-v2, zcu102, zcu104, zedboard\n"
        "  what to do: did you mean 'pynq-z2'? For a board of your own, give the path of its .toml file."
    )


@pytest.mark.parametrize("clock", ["900", "0", "-5", "nan"])
def test_clock_that_the_board_has_not(here, clock):
    assert build_refused("--clock", clock) == (
        f"a clock of {float(clock):g} MHz is not possible on pynq-z2\n"
        "  what to do: choose one up to 150 MHz; the default is 100"
    )


@pytest.mark.parametrize("fps", ["0", "-1", "nan"])
def test_frame_rate_that_means_nothing(here, fps):
    assert build_refused("--target-fps", fps) == (
        f"a frame rate of {float(fps):g} means nothing\n  what to do: give a positive number of frames/s"
    )


def test_frame_rate_that_no_board_meets(here):
    assert build_refused("--target-fps", "1e9") == (
        "no design fits: 1e+09 frames/s at 100 MHz leaves less than one cycle a frame; every design of "
        "this network takes at least 5 (its frames cross the AXI streams in 1)\n"
        "  what to do: on pynq-z2 20,000,000 frames/s fit: --target-fps 20000000"
    )


def test_frame_rate_that_a_larger_board_meets(here):
    goal = ("--style", "stream", "--target-fps", "25e6")
    assert build_refused(*goal).endswith("; ultra96-v2 would meet it: --board ultra96-v2")
    assert flow("build", "tiny.onnx", "--no-csim", "-q", *goal, "--board", "ultra96-v2").exit_code == 0


def test_frame_rate_advised_is_met(here):
    message = build_refused("--target-fps", "1e9")
    advised = message.split("--target-fps ")[1].split(";")[0]
    assert flow("build", "tiny.onnx", "--no-csim", "-q", "--target-fps", advised).exit_code == 0


def test_frame_rate_next_to_zero(here):
    assert flow("build", "tiny.onnx", "--no-csim", "-q", "--target-fps", "1e-310").exit_code == 0


def test_unknown_pass(here):
    assert build_refused("--dump-after", "nope") == (
        f"there is no pass 'nope'\n  what to do: choose one of {', '.join(pass_names())}"
    )


@pytest.mark.parametrize("text", ["x3", "u0", "u33", "u8/0", "fixed<40,6>", "float", ""])
def test_bad_input_type(here, text):
    assert refused("build", "tiny.onnx", "--no-csim", "--input-type", text) == (
        f"'{text}' is not an input type\n"
        "  what to do: use an integer (u8, i4, b1), one with a scale (u8/255, i8*0.5), or "
        "fixed<width,integer bits>; 1 to 32 bits"
    )


# ------------------------------------------------------------------------------------------------ tools and files


def test_no_compiler(here, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(here))
    assert refused("build", "tiny.onnx", "--out", "out") == (
        "g++ is needed for C-simulation and was not found: looked for g++ and c++ on PATH; CXX is not set\n"
        "  what to do: Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: brew install gcc. "
        "Without it works: import, planning, emission (flow build --no-csim)"
    )
    assert flow("build", "tiny.onnx", "--out", "out", "--no-csim", "-q").exit_code == 0


def test_compiler_variable_points_nowhere(here, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert refused("build", "tiny.onnx", "--out", "out") == (
        "CXX=/nowhere/g++ does not name a program\n  what to do: unset CXX, or let it name g++"
    )


def test_log_of_a_compiler_that_fails_can_be_read(here, monkeypatch):
    broken = here / "broken"
    broken.write_text("#!/bin/sh\necho 'fatal error: out of cheese'\nexit 3\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(broken))
    result = flow("build", "tiny.onnx", "--out", "out")
    assert result.exit_code == 2
    assert result.stderr == (
        "flow: broken ended with exit code 3:\n    fatal error: out of cheese\n  log: out.failed.log\n"
        "  what to do: this is a defect of flow: please report it with the log\n"
    )
    assert "out of cheese" in Path("out.failed.log").read_text()
    assert not Path("out").exists()


@pytest.mark.parametrize("fails_at", [1, 2])
def test_disk_full(here, monkeypatch, fails_at):
    """At the C++ and at the report; an old build survives."""
    assert flow("build", "tiny.onnx", "--no-csim", "-q", "--out", "old").exit_code == 0
    write, calls = FileSet.write, []

    def full(self, folder):
        calls.append(folder)
        if len(calls) == fails_at:
            write(FileSet(dict(list(self.files.items())[:1])), folder)
            raise OSError(28, os.strerror(28))
        write(self, folder)

    monkeypatch.setattr(FileSet, "write", full)
    for folder in ("old", "new"):
        calls.clear()
        assert refused("build", "tiny.onnx", "--no-csim", "--clock", "50", "--out", folder) == (
            f"{folder} cannot be written: No space left on device\n"
            "  what to do: free some space or name another folder with --out; nothing was left behind"
        )


def test_folder_that_cannot_be_made(here):
    (here / "file").touch()
    assert refused("build", "tiny.onnx", "--no-csim", "--out", "file/out").startswith("file/out cannot be written: ")


def test_old_build_survives_when_the_new_one_cannot_be_moved(here, monkeypatch):
    assert flow("build", "tiny.onnx", "--no-csim", "-q", "--out", "out").exit_code == 0
    before = listing(here)
    rename = Path.rename
    failures = [1]

    def fails(self, target):
        if Path(target).name == "out" and failures:
            failures.pop()
            raise OSError(28, os.strerror(28))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    flow("build", "tiny.onnx", "--no-csim", "-q", "--clock", "50", "--out", "out")
    monkeypatch.undo()
    assert listing(here) == before


def test_folder_that_is_no_build(here):
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter1.tex").write_text("years of work")
    assert refused("build", "tiny.onnx", "--no-csim", "--out", "thesis") == (
        "thesis exists and is not a build directory (it holds no build.lock)\n  what to do: name another with --out"
    )


def test_file_for_an_output_folder(here):
    assert refused("build", "tiny.onnx", "--no-csim", "--out", "tiny.onnx") == (
        "tiny.onnx is a file\n  what to do: name a folder with --out"
    )


# ------------------------------------------------------------------------------------------------------ data, plan

X = np.zeros((3, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"frames": X},
            "holds frames, but no array 'x'\n  what to do: write it with numpy.savez(path, x=frames, y=labels)",
        ),
        (
            {"x": np.zeros((3, 5))},
            "x has shape [3, 5]; expected frames of shape [4], as [frames, 4]\n"
            "  what to do: reshape it, first axis the frames",
        ),
        ({"x": X + np.nan}, "x holds NaN or infinite numbers\n  what to do: clean the data"),
        (
            {"x": X, "y": np.zeros(2)},
            "y has shape [2] (float64) for 3 frames\n  what to do: store one label for each frame",
        ),
        (
            {"x": X, "y": np.array(["a", "b", "c"])},
            "y has shape [3] (<U1) for 3 frames\n  what to do: store one label for each frame",
        ),
    ],
)
def test_bad_data(here, arrays, message):
    np.savez(here / "data.npz", **arrays)
    found = build_refused("--data", "data.npz")
    assert found.removeprefix("data.npz").lstrip(": ") == message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("content", [b"PK\x03\x04 cut", b"hello"])
def test_data_that_is_no_npz(here, content):
    (here / "data.npz").write_bytes(content)
    message = build_refused("--data", "data.npz")
    gc.collect()  # numpy leaves a broken archive open; its warning belongs to this test
    assert message == (
        "data.npz is not an .npz file of plain numbers\n"
        "  what to do: write it with numpy.savez(path, x=frames, y=labels)"
    )


def test_data_that_are_not_there(here):
    assert build_refused("--data", "no.npz") == "no.npz: there is no such file\n  what to do: check the path"


def test_empty_data_file(here):
    (here / "data.npz").touch()
    assert "data.npz" in build_refused("--data", "data.npz")


def test_npy_for_npz(here):
    np.save(here / "data.npy", X)
    assert "data.npy" in build_refused("--data", "data.npy")


@pytest.mark.parametrize("y", [np.array(3), np.full(3, np.nan)])
def test_labels_that_are_none(here, y):
    np.savez(here / "data.npz", x=X, y=y)
    assert "y " in build_refused("--data", "data.npz")


PLAN = """\
board = "pynq-z2"
clock_mhz = 100

[[layer]]
name = "h"
pe = 6
simd = 4
weight_memory = "lut"
multiplier = "lut"
form = "thresholds"

[[layer]]
name = "logits"
pe = 3
simd = 6
weight_memory = "lut"
multiplier = "lut"
form = "none"
"""
FORMS = "shift, table, thresholds, search"


def test_plan_is_used(here):
    (here / "plan.toml").write_text(PLAN.replace("simd = 6", "simd = 3"))
    arguments = ("build", "tiny.onnx", "--no-csim", "-q", "--input-type", "i4", "--out", "out")
    result = flow(*arguments, "--plan", "plan.toml")
    assert result.exit_code == 0
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["optimality"] == "given by the user"
    assert [layer["cycles"]["value"] for layer in report["layers"]] == [1, 2]


def test_depth_of_the_plan_is_used(here):
    """It is in the C++, in the report and in the plan that is written."""
    given = '\n[[fifo]]\nname = "from_layer_p"\ndepth = 9\n'
    (here / "plan.toml").write_text(PLAN + given)
    result = flow("build", "tiny.onnx", "--no-csim", "-q", "--input-type", "i4", "--out", "out", "--plan", "plan.toml")
    assert result.exit_code == 0, result.output
    streams = {s["name"]: s for s in json.loads((here / "out" / "report.json").read_text())["streams"]}
    assert (streams["from_layer_p"]["depth"], streams["from_layer_p"]["chosen"]) == (9, "given")
    assert {s["chosen"] for name, s in streams.items() if name != "from_layer_p"} == {"least price"}
    assert "#pragma HLS stream variable=from_layer_p depth=9\n" in (here / "out" / "hls" / "top.cpp").read_text()
    assert (here / "out" / "plan.toml").read_text().endswith(given)


def test_depth_of_a_stream_that_is_not_there(here):
    (here / "plan.toml").write_text(PLAN + '\n[[fifo]]\nname = "from_z"\ndepth = 9\n')
    assert build_refused("--plan", "plan.toml") == (
        "the plan gives depths for streams that there are not: from_z\n"
        "  what to do: streams of this design: from_read_input, from_layer_p, from_logits"
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("pe = 6", "pe = 6\ncolour = 1", "layer 'h': unknown key 'colour'"),
        ("pe = 6\n", "", "layer 'h': missing key 'pe'"),
        ("clock_mhz", "speed = 1\nclock_mhz", "the plan: unknown key 'speed'"),
        ("pe = 6", "pe = 4", "layer 'h': pe = 4 does not divide its 6 outputs; possible: 1, 2, 3, 6"),
        ("simd = 4", "simd = 0", "layer 'h': simd = 0 does not divide its 4 inputs; possible: 1, 2, 4"),
        ("simd = 4", "simd = 4.0", "layer 'h': simd = 4.0 does not divide its 4 inputs; possible: 1, 2, 4"),
        ('"thresholds"', '"magic"', f"layer 'h': form = 'magic'; possible: {FORMS}"),
        ('"thresholds"', '"none"', f"layer 'h': form = 'none'; possible: {FORMS}"),
        ('"thresholds"', '"wire"', f"layer 'h': form = 'wire'; possible: {FORMS}"),
        ('"logits"', '"z"', "it must hold one [[layer]] for each layer, in this order: h, logits"),
        ("100", '"fast"', "clock_mhz must be a positive number; found 'fast'"),
        ("100", "-1", "clock_mhz must be a positive number; found -1"),
    ],
)
def test_bad_plan(here, old, new, problem):
    (here / "plan.toml").write_text(PLAN.replace(old, new))
    assert build_refused("--plan", "plan.toml") == (
        f"plan.toml cannot be used:\n  - {problem}\n  what to do: start from the plan.toml of a build"
    )


def test_plan_that_is_no_toml(here):
    (here / "plan.toml").write_text("board =\n")
    assert build_refused("--plan", "plan.toml").startswith("plan.toml is not TOML: Invalid value")
    assert build_refused("--plan", "no.toml") == "no.toml: No such file or directory\n  what to do: check the path"


def test_plan_for_another_board(here):
    (here / "plan.toml").write_text(PLAN.replace("pynq-z2", "kv260"))
    assert build_refused("--plan", "plan.toml") == (
        "the plan is for kv260, the build for pynq-z2\n  what to do: pass --board kv260, or edit the plan"
    )


def test_all_that_is_wrong_with_a_plan_is_said_at_once(here):
    (here / "plan.toml").write_text(PLAN.replace("pynq-z2", "kv260").replace("clock_mhz = 100", "clock_mhz = 9000"))
    assert build_refused("--plan", "plan.toml", "--clock", "50") == (
        "the plan is for kv260, the build for pynq-z2; the plan is for 9000 MHz, the build for 50; "
        "its clock of 9000 MHz is not possible on pynq-z2 (150)\n"
        "  what to do: pass --board kv260, leave --clock out, lower clock_mhz in the plan, or edit the plan"
    )


@pytest.mark.parametrize("clock", ["9000", "inf"])
def test_clock_of_a_plan_above_the_boards(here, clock):
    (here / "plan.toml").write_text(PLAN.replace("100", clock))
    build_refused("--plan", "plan.toml")


def test_clock_beside_a_plan(here):
    (here / "plan.toml").write_text(PLAN)
    result = flow("build", "tiny.onnx", "--no-csim", "-q", "--plan", "plan.toml", "--clock", "50", "--out", "out")
    assert result.exit_code == 2 or json.loads((here / "out/report.json").read_text())["clock_mhz"] == 50


@pytest.mark.parametrize(
    "text",
    [
        PLAN.replace("clock_mhz = 100", "clock_mhz = nan"),
        PLAN.replace("clock_mhz = 100", "clock_mhz = true"),
        PLAN.replace("pe = 6", "pe = true"),
        'board = "pynq-z2"\nclock_mhz = 100\nlayer = [1]\n',
    ],
)
def test_plan_of_the_wrong_types(here, text):
    (here / "plan.toml").write_text(text)
    assert build_refused("--plan", "plan.toml").startswith("plan.toml cannot be used:\n")


# ----------------------------------------------------------------------------------------------------------- plan


def test_lock_names_who_found_the_adders(here):
    for style in ("stream", "unrolled"):
        result = flow("build", "tiny.onnx", "--no-csim", "-q", "--input-type", "i4", "--style", style, "--out", style)
        assert result.exit_code == 0
        packages = json.loads((here / style / "build.lock").read_text())["packages"]
        assert ("da4ml" in packages) == (style == "unrolled" and has_da4ml())


def test_picture_is_checked_before_the_work_begins(here, monkeypatch):
    monkeypatch.setattr("flow.api.plan.trade_off", lambda *_, **__: pytest.fail("it was searched first"))
    assert plan_refused("--pareto", "--plot", "p.txt").startswith("p.txt is no picture that can be drawn")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert plan_refused("--pareto", "--plot", "no/p.png").startswith("no/p.png cannot be written: there is no such")


def plan_refused(*arguments):
    return refused("plan", "tiny.onnx", *arguments)


def test_plan_prints_a_table_and_writes_nothing(here):
    before = listing(here)
    result = flow("plan", "tiny.onnx", "--style", "stream")
    assert result.exit_code == 0, result.output
    assert listing(here) == before
    assert "a frame every 5 cycles, 20,000,000 frames/s; slowest: " in result.stdout
    assert "optimal: no design within 70 % of the board is faster, and none as fast costs less" in result.stdout
    rows = [re.split(r" *│ *", line)[1:-1] for line in result.stdout.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == [
        "layer_p",
        "logits",
        "layers",
        "converters",
        "fifos",
        "shell",
        "total",
        "board",
        "share",
    ]
    parts = np.array([[int(cell.replace(",", "")) for cell in row[1:]] for row in rows[2:7]])
    assert (parts[:4].sum(0) == parts[4]).all()


def test_plan_as_json_and_as_a_file_for_the_build(here):
    result = flow("plan", "tiny.onnx", "--style", "stream", "--target-fps", "1e7", "--out", "wanted.toml", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["optimal"] is True
    assert found["fps"] >= 1e7
    arguments = ("build", "tiny.onnx", "--no-csim", "-q", "--plan", "wanted.toml", "--out", "out")
    assert flow(*arguments).exit_code == 0
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["interval"]["value"] == found["interval"]
    assert {name: figure["value"] for name, figure in report["total"].items()} == found["total"]
    assert [layer["pe"] for layer in report["layers"]] == [layer["pe"] for layer in found["layers"]]


def test_build_takes_the_goals_of_a_plan(here):
    for goal in (("--min-resources",), ("--max-latency", "1"), ("--max-utilization", "lut=20%")):
        planned = json.loads(flow("plan", "tiny.onnx", "--json", *goal).stdout)
        assert flow("build", "tiny.onnx", "--no-csim", "-q", "--out", "out", *goal).exit_code == 0
        report = json.loads((here / "out" / "report.json").read_text())
        assert report["optimality"] == planned["optimality"]
        assert report["total"]["lut"]["value"] == planned["total"]["lut"]
        shutil.rmtree("out")


def test_cheaper_plans_are_slower(here):
    fast, cheap = (
        json.loads(flow("plan", "tiny.onnx", "--style", "stream", "--json", goal).stdout)
        for goal in ("--max-fps", "--min-resources")
    )
    assert fast["fps"] > cheap["fps"]
    assert fast["cost"] > cheap["cost"]


def test_unless_told_the_better_style_is_planned(here):
    styles = ("stream", "unrolled", "auto")
    for goal, worth in (("--max-fps", lambda p: (p["interval"], p["cost"])), ("--min-resources", lambda p: p["cost"])):
        found = {s: json.loads(flow("plan", "tiny.onnx", "--json", "--style", s, goal).stdout) for s in styles}
        assert worth(found["auto"]) == min(worth(found["stream"]), worth(found["unrolled"]))
        untold = json.loads(flow("plan", "tiny.onnx", "--json", goal).stdout)
        assert {**untold, "seconds": 0} == {**found["auto"], "seconds": 0}
    assert plan_refused("--pareto", "--style", "unrolled").startswith("--pareto shows foldings")


def test_trade_off(here):
    result = flow("plan", "tiny.onnx", "--pareto", "--json")
    points = json.loads(result.stdout)
    assert [point["interval"] for point in points] == sorted({point["interval"] for point in points})
    table = flow("plan", "tiny.onnx", "--pareto")
    assert table.exit_code == 0
    assert table.stdout.count("│ optimal │") == len(points) > 2


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_trade_off_as_a_picture(here, kind):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert flow("plan", "tiny.onnx", "--pareto", "--plot", f"p.{kind}").exit_code == 0
    assert (here / f"p.{kind}").read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[kind])


def test_plan_of_a_person_is_checked_and_priced(here):
    (here / "plan.toml").write_text(PLAN.replace("simd = 6", "simd = 3"))
    result = flow("plan", "tiny.onnx", "--plan", "plan.toml")
    assert result.exit_code == 0, result.output
    assert "a frame every 5 cycles" in result.stdout
    assert "given by the user" in result.stdout
    (here / "plan.toml").write_text(PLAN.replace("pe = 6", "pe = 4").replace("simd = 6", "simd = 5\nspeed = 9"))
    assert plan_refused("--plan", "plan.toml") == (
        "plan.toml cannot be used:\n"
        "  - layer 'h': pe = 4 does not divide its 6 outputs; possible: 1, 2, 3, 6\n"
        "  - layer 'logits': unknown key 'speed'\n"
        "  what to do: start from the plan.toml of a build"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target-fps", "0"), "a frame rate of 0 means nothing"),
        (("--max-latency", "-1"), "a latency of -1 us means nothing"),
        (("--solver-time", "0"), "0 seconds for the solver mean nothing"),
        (("--max-utilization", "0%"), "--max-utilization 0%: '0%': a share must be above 0 % and at most 100 %"),
        (("--max-utilization", "101"), "--max-utilization 101: '101': a share must be above 0 % and at most 100 %"),
        (("--max-utilization", "much"), "--max-utilization much: 'much': a share must be above 0 % and at most 100 %"),
        (
            ("--max-utilization", "luts=50%,dsp=0,60%,ff=1,ff=2"),
            "--max-utilization luts=50%,dsp=0,60%,ff=1,ff=2: 'luts=50%': no resource 'luts'; the resources are lut, "
            "ff, dsp, bram18, uram; 'dsp=0': a share must be above 0 % and at most 100 %; '60%': of which resource?; "
            "'ff=2': ff is given twice",
        ),
        (("--max-fps", "--min-resources"), "the greatest frame rate and the least resources are asked for at once"),
        (("--max-fps", "--target-fps", "5"), "the greatest frame rate and a target frame rate are asked for at once"),
        (("--plot", "p.png"), "--plot draws a trade-off"),
        (("--pareto", "--plot", "p.pdf.txt"), "p.pdf.txt is no picture that can be drawn"),
        (("--pareto", "--max-fps"), "--pareto shows the fastest, the cheapest and what lies between"),
        (("--pareto", "--out", "p.toml"), "--pareto is about many plans"),
        (("--plan", "p.toml", "--target-fps", "5"), "a plan, and goals for one, are given at once"),
    ],
)
def test_goals_that_mean_nothing(here, options, message):
    assert plan_refused(*options).partition("\n")[0] == message


def test_latency_that_no_design_meets(here):
    message = plan_refused("--max-latency", "0.01")
    least = re.search(r"a latency of 0.01 us at 100 MHz leaves 1 cycles .*; every design takes at least (\d+)", message)
    assert least is not None
    met = next(
        n for n in range(int(least[1]), 200) if flow("plan", "tiny.onnx", "--max-latency", n / 100).exit_code == 0
    )
    assert met < 2 * int(least[1])


def test_what_a_board_lacks_and_where_it_goes(here):
    text = flow_board(here, lut=7000, ff=14000, dsp=4, bram18=4)
    message = plan_refused("--board", text, "--min-resources")
    found = re.match(
        r"no design fits: any frame rate on small at 100 MHz needs at least ([\d,]+) LUT; 7,000 may be used "
        r"\(([\d,]+) are missing\). Most of them go into '(h|logits)' \(\d+\), '(h|logits)' \(\d+\)",
        message,
    )
    assert found is not None, message
    assert int(found[1].replace(",", "")) - 7000 == int(found[2].replace(",", ""))
    assert "arty-a7-35t would meet it" in message


def flow_board(folder, **amounts):
    """A board file with these resources."""
    path = folder / "small.toml"
    text = (Path(__file__).resolve().parents[1] / "boards" / "pynq-z2.toml").read_text()
    text = re.sub(r"^name = .*$", 'name = "small"', text, flags=re.M)
    for name, amount in {**amounts, "lutram": 100}.items():
        text = re.sub(rf"^{name} = \d.*$", f"{name} = {amount}", text, flags=re.M)
    path.write_text(text)
    return "small.toml"


# ----------------------------------------------------------------------------------------------- what is printed


def test_errors_as_json(here):
    result = flow("build", "no.onnx", "--no-csim", "--json")
    assert result.exit_code == 2
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "error": {
            "kind": "ModelFileError",
            "message": "no.onnx: there is no such file",
            "remedy": "check the path",
        }
    }


def test_quiet_prints_nothing(here):
    result = flow("build", "tiny.onnx", "--no-csim", "-q", "--out", "out")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (here / "out" / "build.lock").is_file()


def figures(value):
    if isinstance(value, dict):
        if "kind" in value and "value" in value:
            yield value
        for part in value.values():
            yield from figures(part)
    elif isinstance(value, list):
        for part in value:
            yield from figures(part)


def test_json_is_one_document(here):
    result = flow("build", "tiny.onnx", "--no-csim", "--json", "--out", "out")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    found = list(figures(report))
    assert len(found) > 10
    assert {figure["kind"] for figure in found} == {"estimated"}
    assert all(figure["model"] for figure in found)
    assert report.pop("folder") == "out"
    assert report == json.loads((here / "out" / "report.json").read_text())


def test_dump_after_prints_graphs(here):
    result = flow("build", "tiny.onnx", "--no-csim", "-q", "--dump-after", "integerize", "--dump-after", "import")
    assert result.exit_code == 0
    first, second = result.stdout.split("# after ")[1:]
    for text, name in ((first, "import"), (second, "integerize")):
        head, graph = text.split("\n", 1)
        assert head == name
        assert print_graph(parse_graph(graph)) == graph


def test_dump_after_every_pass(here):
    everything = [word for name in pass_names() for word in ("--dump-after", name)]
    result = flow("build", "tiny.onnx", "--no-csim", "-q", *everything)
    parts = result.stdout.split("# after ")[1:]
    assert {part.split("\n", 1)[0] for part in parts} == set(pass_names())
    for part in parts:
        parse_graph(part.split("\n", 1)[1])


def test_dump_after_list_names_the_passes(here):
    result = flow("build", "tiny.onnx", "--dump-after", "list")
    assert result.stdout.splitlines() == list(pass_names())


def test_json_and_dump_after(here):
    result = flow("build", "tiny.onnx", "--no-csim", "--json", "--dump-after", "import")
    json.loads(result.stdout)


def test_brackets_in_a_file_name(here):
    shutil.copy("tiny.onnx", "net[v2].onnx")
    result = flow("build", "net[v2].onnx", "--no-csim", "--out", "out")
    assert "net[v2].onnx on PYNQ-Z2" in result.stdout
    assert "net[v2].onnx" in (here / "out" / "report.txt").read_text()


def test_inspect(here):
    result = flow("inspect", "tiny.onnx", "--input-type", "i4")
    assert result.exit_code == 0
    assert "the input arrives as i4" in result.stdout
    assert "42 MACs a frame, 0.0 KiB of weights; everything is supported" in result.stdout
    assert [p.name for p in here.iterdir()] == ["tiny.onnx"]


def test_inspect_as_json(here):
    found = json.loads(flow("inspect", "tiny.onnx", "--json").stdout)
    assert found["problems"] == []
    assert (found["input_shape"], found["output_shape"]) == ([4], [3])
    assert [layer["shape"] for layer in found["layers"]] == ["4 x 6", "6 x 3"]
    assert [layer["weight"] for layer in found["layers"]] == ["i4", "i4"]
    assert [layer["macs"] for layer in found["layers"]] == [24, 18]
    assert [layer["weight_bits"] for layer in found["layers"]] == [96, 72]


def test_inspect_remarks_on_unlike_scales(here):
    """Two quantisers of one input side by side: the step of scales 1 and float32(1/3) is 2**-25."""
    nodes = [
        quant("x", "s_in", "b_in", "xq"),
        quant("xq", "s_one", "b_in", "one"),
        quant("xq", "s_other", "b_in", "other"),
        helper.make_node("Concat", ["one", "other"], ["joined"], name="join", axis=1),
        quant("w", "s_w", "b_w", "wq"),
        helper.make_node("MatMul", ["joined", "wq"], ["logits"], name="head"),
    ]
    values = {"zero": 0, "s_in": 1, "b_in": 4, "s_one": 1, "s_w": 0.5, "b_w": 4, "w": np.concatenate([W1, W1]) * 0.5}
    for scale, expected in (
        (1 / 3, "remark: 'logits': its weights take 29 bits instead of 4, for its inputs have unlike scales"),
        (1, ""),
    ):
        tensors = [tensor(value, name) for name, value in {**values, "s_other": scale}.items()]
        onnx.save(model_of(nodes, tensors, output_shape=(1, 6), output="logits"), "joined.onnx")
        result = flow("inspect", "joined.onnx", "--input-type", "i4")
        assert result.exit_code == 0
        assert expected in " ".join(result.stdout.split())
        assert ("remark" in result.stdout) == bool(expected)


def test_inspect_of_what_is_not_supported(here):
    model = tiny_model()
    model.graph.node[3].op_type = "Erf"
    model.graph.node[6].op_type = "LSTM"
    onnx.save(model, "bad.onnx")
    result = flow("inspect", "bad.onnx")
    assert result.exit_code == 2
    assert "bad.onnx\ncannot be built as it is:\n  1. Erf 'relu': this operation is not supported" in result.stdout
    assert "2. LSTM 'head'" in result.stdout
    result = flow("inspect", "bad.onnx", "--json")
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)["problems"]) == 2


def test_inspect_of_what_is_no_model(here):
    assert "there is no such file" in refused("inspect", "no.onnx")
    assert "is not an input type" in refused("inspect", "tiny.onnx", "--input-type", "x3")


def test_boards():
    result = flow("boards")
    assert result.exit_code == 0
    for name in ("pynq-z2", "kv260", "u250", "xc7z020clg400-1"):
        assert name in result.stdout
    known = json.loads(flow("boards", "--json").stdout)
    assert {"name": "pynq-z2", "part": "xc7z020clg400-1", "lut": 53200}.items() <= next(
        b for b in known if b["name"] == "pynq-z2"
    ).items()


def test_doctor(here, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(here))
    result = flow("doctor")
    assert result.exit_code == 0
    assert "missing  g++" in result.stdout
    assert "how to get it: Debian, Ubuntu: apt-get install g++" in result.stdout
    assert "works without it: import, planning, emission (flow build --no-csim)" in result.stdout
    found = {finding["title"]: finding for finding in json.loads(flow("doctor", "--json").stdout)}
    assert found["g++"]["found"] is False
    assert found["ap_int headers"]["found"] is True
    assert found["numpy"]["version"] == np.__version__


def test_help_is_quick():
    """Neither numpy nor onnx is imported before a command needs it."""
    code = (
        "import sys\n"
        "from flow.cli import main\n"
        "for words in (['--help'], ['build', '--help'], ['sim', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "print('imported:', sorted({'numpy', 'onnx', 'onnxruntime', 'rich', 'qonnx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:\n  boards" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported: []"


# ------------------------------------------------------------------------------------------------ with a compiler


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A build with its C-simulation, data for it, and what the command printed."""
    if tools.find(tools.GXX) is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("built")
    onnx.save(tiny_model(), folder / "tiny.onnx")
    rng = np.random.default_rng(5)
    np.savez(folder / "data.npz", x=rng.integers(-8, 8, (50, 4)), y=rng.integers(0, 3, 50))
    arguments = (
        "build",
        folder / "tiny.onnx",
        "--style",
        "stream",
        "--input-type",
        "i4",
        "--data",
        folder / "data.npz",
    )
    result = flow(*arguments, "--out", folder / "first")
    assert result.exit_code == 0
    return folder, arguments, result.stdout


def test_output_that_is_called_y(here):
    onnx.save(tiny_model(output="y"), "y.onnx")
    result = flow("build", "y.onnx", "--input-type", "i4", "-q")
    assert result.exit_code == 0, result.stderr


def test_build_prints_every_check(built):
    _, _, text = built
    for line in (
        "float32 execution by qonnx against the exact reference",
        "integer graph against the exact reference",
        "C++ of the whole design against the integer graph",
        "C++ of each layer against the integer graph",
        "C++ of each layer at its boundaries",
    ):
        assert f"check: {line}: " in text
    assert text.count("│ exact │") == 5
    assert "200 random frames, 50 frames of data" in text
    assert "accuracy of the hardware's integers on the labels: " in text


def test_same_inputs_give_the_same_bytes(built, tmp_path):
    folder, arguments, _ = built
    second = tmp_path / "another" / "place"
    assert flow(*arguments, "-q", "--out", second).exit_code == 0
    ours, theirs = ({p.relative_to(f): p for p in f.rglob("*") if p.is_file()} for f in (folder / "first", second))
    assert ours.keys() == theirs.keys()
    different = [str(p) for p in ours if ours[p].read_bytes() != theirs[p].read_bytes()]
    assert set(different) <= {"csim/design.so"}
    locks = [json.loads((f / "build.lock").read_text()) for f in (folder / "first", second)]
    assert locks[0] == locks[1]
    assert {"model", "plan", "templates", "generated"} <= locks[0].keys()


def test_a_build_replaces_a_build(built, tmp_path):
    folder, _, _ = built
    out = tmp_path / "out"
    shutil.copytree(folder / "first", out)
    (out / "left over").touch()
    assert flow("build", folder / "tiny.onnx", "--no-csim", "-q", "--out", out).exit_code == 0
    assert not (out / "left over").exists()
    assert not (out / "csim" / "design.so").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def arrays_of(path):
    with np.load(path) as archive:
        return dict(archive)


def test_sim(built, tmp_path):
    folder, _, _ = built
    out = tmp_path / "out.npz"
    result = flow("sim", folder / "first", "--data", folder / "data.npz", "--trace", "--save", out)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "50 frames: 150 output integers compared with the model, 0 differ"
    assert lines[1].startswith("accuracy: ")
    assert lines[2] == "trace: every layer agrees"
    data, saved = arrays_of(folder / "data.npz"), arrays_of(out)
    assert sorted(saved) == ["y", "y_int"]
    exact = data["x"] @ W1 * 0.5 / 2
    hidden = np.clip(np.rint(np.maximum(exact, 0)), 0, 15)
    assert np.array_equal(saved["y_int"], hidden @ W2)
    assert np.array_equal(saved["y"], hidden @ W2 * (2 * 0.5))
    accuracy = float((saved["y"].argmax(1) == data["y"]).mean())
    assert lines[1] == f"accuracy: {accuracy:.2%}"


def test_sim_as_json(built):
    folder, _, _ = built
    found = json.loads(flow("sim", folder / "first", "--data", folder / "data.npz", "--json").stdout)
    assert (found["frames"], found["compared"], found["differences"]) == (50, 150, 0)
    assert (found["mismatches"], found["frames_that_differ"], found["first_diverging"]) == ([], [], None)


def test_sim_names_the_first_layer_that_differs(built, tmp_path):
    """A weight of the first layer changed behind our back: both layers' outputs are wrong, the first is named."""
    folder, _, _ = built
    wrong = tmp_path / "wrong"
    shutil.copytree(folder / "first", wrong)
    (wrong / "csim" / "design.so").unlink()
    weights = sorted((wrong / "hls" / "weights").glob("*.hpp"))[0]
    text = weights.read_text()
    word = re.search(r"0x[0-9a-f]+", text)
    weights.write_text(text[: word.start()] + f"0x{int(word[0], 16) ^ 0x7:x}" + text[word.end() :])
    result = flow("sim", wrong, "--data", folder / "data.npz", "--trace")
    assert result.exit_code == 1, result.output
    assert "differ" in result.stdout
    assert "first layer that differs: 'h', frame " in result.stdout
    again = json.loads(flow("sim", wrong, "--data", folder / "data.npz", "--trace", "--json").stdout)
    assert again["first_diverging"].startswith("'h', frame ")
    assert 0 < again["differences"] <= 150


def test_sim_refuses_what_is_no_build(here):
    np.savez("data.npz", x=X)
    assert refused("sim", "nothing", "--data", "data.npz") == (
        "nothing is not a build directory: it holds no build.lock, model.txt, graph.txt, plan.toml, host.json\n"
        "  what to do: build it: flow build MODEL --out DIR"
    )


def test_sim_refuses_a_changed_graph(built, here):
    folder, _, _ = built
    shutil.copytree(folder / "first", "out")
    graph = Path("out/graph.txt").read_text()
    Path("out/graph.txt").write_text(graph.replace("i9", "i10", 1) if "i9" in graph else graph + "# changed\n")
    np.savez("data.npz", x=X)
    assert refused("sim", "out", "--data", "data.npz") == (
        "out: graph.txt is not what this version of flow makes of model.txt\n  what to do: build it again"
    )


def test_sim_refuses_bad_data_and_places(built, here):
    folder, _, _ = built
    np.savez("data.npz", x=np.zeros((2, 9)))
    assert "x has shape [2, 9]" in refused("sim", folder / "first", "--data", "data.npz")
    np.savez("data.npz", x=X)
    assert refused("sim", folder / "first", "--data", "data.npz", "--save", "no/out.npz") == (
        "no/out.npz cannot be written: No such file or directory\n  what to do: name another file"
    )


@pytest.mark.parametrize("file", ["host.json", "csim/design.so"])
def test_sim_of_a_damaged_build(built, here, file):
    folder, _, _ = built
    shutil.copytree(folder / "first", "out")
    Path("out", file).write_text("{")
    np.savez("data.npz", x=X)
    refused("sim", "out", "--data", "data.npz")


def test_sim_of_a_build_for_a_board_of_ones_own(built, here):
    folder, _, _ = built
    from flow import resources

    text = (resources.boards() / "pynq-z2.toml").read_text().replace('name = "pynq-z2"', 'name = "mine"')
    Path("mine.toml").write_text(text)
    shutil.copytree(folder / "first", "design")  # a library with the same interface
    arguments = ("build", folder / "tiny.onnx", "--input-type", "i4", "--board", "mine.toml")
    assert flow(*arguments, "--no-csim", "-q", "--out", "out").exit_code == 0
    shutil.copy("design/csim/design.so", "out/csim/design.so")
    np.savez("data.npz", x=X)
    assert flow("sim", "out", "--data", "data.npz").exit_code == 0


# ---------------------------------------------------------------------------------------------- the vendor's tools

MOCKS = Path(__file__).resolve().parent / "mock_tools"
TINY = ("build", "tiny.onnx", "--no-csim", "--input-type", "i4", "--out", "out")


@pytest.fixture
def vendor(here, monkeypatch):
    monkeypatch.setenv("PATH", f"{MOCKS}{os.pathsep}{os.environ['PATH']}")
    for tool in (tools.VITIS_HLS, tools.VIVADO_HLS, tools.VIVADO):
        monkeypatch.delenv(tool.variable, raising=False)


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not on PATH (package tcl)")
def test_synth_to_a_bitstream(vendor):
    dry = flow(*TINY, "--synth", "bitstream", "--dry-run", "-j", "2")
    assert dry.exit_code == 0, dry.output
    commands = [line for line in dry.stdout.splitlines() if line.startswith("cd ")]
    assert [line.split()[-1] for line in commands] == [
        *("csim.tcl", "csynth.tcl", "export.tcl", "system_design.tcl", "system_build.tcl")
    ]
    assert all("FLOW_JOBS=2 " in line for line in commands)
    done = flow(*TINY, "--synth", "bitstream", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (Path(found["folder"]) / found["synthesis"]["bitstream"]).is_file()
    again = flow(*TINY, "--synth", "bitstream", "--dry-run", "-q")
    assert again.stdout == "everything is done: nothing would be run\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dry-run"], "--dry-run is about --synth"),
        (["--synth", "bitstream", "--board", "u250"], "there is no bitstream for u250"),
    ],
)
def test_synth_options_that_mean_nothing(vendor, options, message):
    assert build_refused(*options).startswith(message)


def test_synth_without_a_tool(here, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("FLOW_VITIS_HLS", raising=False)
    message = build_refused("--synth", "csynth")
    assert message.startswith("Vitis HLS is needed for synthesis of the C++")
