# SPDX-License-Identifier: Apache-2.0
"""Float32 execution by qonnx: a batch in one piece gives what single frames give."""

import numpy as np
import onnx
import pytest
import random_models
from onnx import TensorProto, helper, numpy_helper

from flow.frontend import float_run
from flow.frontend.float_run import run_float32
from flow.frontend.importer import import_proto
from flow.ir.near_ties import activation_quantizers, parameter_quantizers


@pytest.mark.parametrize("seed", range(4))
def test_batch_equals_frame_by_frame(seed):
    proto = random_models.random_model(seed)
    graph = import_proto(proto).graph
    wanted = [*activation_quantizers(graph), graph.outputs[0]]
    (frames,) = random_models.random_feeds(proto, seed, batch=5).values()
    whole = run_float32(proto, frames, wanted, parameter_quantizers(graph))
    for number, frame in enumerate(frames):
        single = run_float32(proto, frame[None], wanted, parameter_quantizers(graph))
        for name in wanted:
            assert np.array_equal(whole[name][number], single[name][0]), name
        for name in parameter_quantizers(graph):
            assert np.array_equal(whole[name], single[name])


def reshaping(target):
    """A Quant, a Reshape to ``target``, and a product with a quantised weight."""
    quant = {"domain": random_models.QUANT_DOMAIN, "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    values = {"scale": 0.5, "zero": 0, "bits": 4, "w": [[0.6, 1], [-1, 2.2], [3, 0], [1, 1]]}
    parameters = [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in values.items()]
    parameters.append(numpy_helper.from_array(np.array(target, np.int64), "target"))
    nodes = [
        helper.make_node("Quant", ["x", "scale", "zero", "bits"], ["q"], **quant),
        helper.make_node("Quant", ["w", "scale", "zero", "bits"], ["wq"], **quant),
        helper.make_node("Reshape", ["q", "target"], ["r"]),
        helper.make_node("MatMul", ["r", "wq"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        parameters,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(random_models.QUANT_DOMAIN, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("target", [[1, 4], [1, -1], [-1, 4], [0, 4]])
def test_reshape_that_holds_the_batch_at_one(target):
    frames = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 4
    found = run_float32(reshaping(target), frames, ["q", "y"], ["wq"])
    weights = np.array([[0.5, 1], [-1, 2], [3, 0], [1, 1]], np.float32)  # 0.6 / 0.5 and 2.2 / 0.5 rounded
    assert np.array_equal(found["wq"], weights)
    assert np.array_equal(found["q"], np.rint(frames * 2) / 2)
    assert np.array_equal(found["y"], (np.rint(frames * 2) / 2).reshape(3, 4) @ weights)


def test_frame_by_frame_where_no_batch_is_possible(monkeypatch):
    proto = reshaping([1, 4])
    frames = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 4
    whole = run_float32(proto, frames, ["y"], ["wq"])
    sizes = []
    run = float_run._run

    def only_one(model, frames, names, fixed):
        sizes.append(len(frames))
        if len(frames) > 1:
            raise ValueError("no batch")
        return run(model, frames, names, fixed)

    monkeypatch.setattr(float_run, "_run", only_one)
    parts = run_float32(proto, frames, ["y"], ["wq"])
    assert sizes == [3, 1, 1, 1]
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)


def test_what_is_wrong_with_one_frame_is_raised():
    with pytest.raises(KeyError):
        run_float32(reshaping([1, 4]), np.zeros((1, 2, 2), np.float32), ["nowhere"], [])


def test_model_is_left_as_it_is():
    proto = reshaping([1, 4])
    before = proto.SerializeToString(deterministic=True)
    run_float32(proto, np.zeros((3, 2, 2), np.float32), ["y"], [])
    assert proto.SerializeToString(deterministic=True) == before
    assert isinstance(proto, onnx.ModelProto)
