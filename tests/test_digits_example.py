# SPDX-License-Identifier: Apache-2.0
"""The committed digits network is what its README says, and its script exports what PyTorch computes."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.infer_shapes import InferShapes

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits_mlp"
MODELS = ("digits_mlp.onnx", "digits_mlp_dynamo.onnx")


def classes(name, x):
    """The class of every row of ``x`` (N, 64), by qonnx's executor."""
    model = ModelWrapper(str(EXAMPLE / name)).transform(ChangeBatchSize(len(x))).transform(InferShapes())
    return execute_onnx(model, {"x": x})["logits"].argmax(axis=1)


@pytest.fixture(scope="module")
def samples():
    with np.load(EXAMPLE / "samples.npz") as file:
        return file["x"], file["y"]


@pytest.fixture
def train():
    """The example's script as a module; it needs the packages of the extra ``train``."""
    for package in ("torch", "brevitas", "onnxoptimizer", "onnxscript", "sklearn"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("digits_mlp_train", EXAMPLE / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_small_and_complete():
    for name in ("README.md", "train.py", "samples.npz", *MODELS):
        assert (EXAMPLE / name).stat().st_size < 100_000, name


def test_samples_are_pixels_and_labels(samples):
    x, y = samples
    assert (x.dtype, x.shape) == (np.float32, (450, 64))
    assert (y.dtype, y.shape) == (np.int64, (450,))
    assert set(np.unique(x * 16)) == set(range(17))
    assert set(y) == set(range(10))


@pytest.mark.parametrize("name", MODELS)
def test_model_has_one_input_and_one_output_of_batch_one(name):
    graph = onnx.load(EXAMPLE / name).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"x": [1, 64], "logits": [1, 10]}


@pytest.mark.parametrize("name", MODELS)
def test_model_holds_no_paths_of_the_machine_that_exported_it(name):
    assert not re.search(rb"site-packages|\.py\b", (EXAMPLE / name).read_bytes())


def test_accuracy_is_what_the_readme_states(samples):
    x, y = samples
    stated = re.search(r"\*\*(\d+) of (\d+)\*\*", (EXAMPLE / "README.md").read_text(encoding="utf-8"))
    predicted = [classes(name, x) for name in MODELS]
    np.testing.assert_array_equal(*predicted)
    assert (int((predicted[0] == y).sum()), len(y)) == (int(stated[1]), int(stated[2]))


@pytest.mark.parametrize("name", MODELS)
def test_model_runs_as_committed_one_sample_at_a_time(name, samples):
    x, _ = samples
    model = ModelWrapper(str(EXAMPLE / name)).transform(InferShapes())
    single = [execute_onnx(model, {"x": row[np.newaxis]})["logits"].argmax() for row in x[:4]]
    np.testing.assert_array_equal(single, classes(name, x[:4]))


# both are raised by brevitas while it is imported
@pytest.mark.filterwarnings("ignore:brevitas.fx is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:fast_hadamard_transform package not found:UserWarning")
def test_export_round_trip(train, tmp_path):
    import torch

    torch.manual_seed(1)
    model = train.build_model()
    x = torch.rand(32, 64)
    model.train()
    model(x)  # the activation quantisers take their scales from what they see
    logits = train.predict(model, x)
    assert len(np.unique(logits)) > 10
    for name, dynamo in train.EXPORTS.items():
        train.export(model, tmp_path / name, x[:4], dynamo=dynamo, names=("x", "logits"))
        train.check(tmp_path / name, x, logits)
        with pytest.raises(SystemExit, match=f"^{name} does not compute what PyTorch computes: expected "):
            train.check(tmp_path / name, x, logits + 0.001)
    assert {path.name for path in tmp_path.iterdir()} == set(MODELS)
