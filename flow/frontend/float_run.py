# SPDX-License-Identifier: Apache-2.0
"""Executes a QONNX file in float32 with qonnx's own executor: an implementation that is not ours."""

import warnings
from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

_QUANTIZERS = {"Quant", "IntQuant", "BipolarQuant"}


def run_float32(
    proto: onnx.ModelProto, frames: NDArray[np.float32], wanted: Iterable[str], parameters: Iterable[str]
) -> dict[str, NDArray[np.float32]]:
    """The values of the wanted tensors for a batch, in float32 as qonnx and onnxruntime compute them.

    The batch runs in one piece where the graph allows it, else frame by frame (some 20 a second).

    Args:
        proto: A model with a batch dimension of 1.
        frames: (frames, *shape).
        wanted: Names of tensors that depend on the input.
        parameters: Names of tensors that do not.
    """
    names, fixed = list(dict.fromkeys(wanted)), list(parameters)
    try:
        return _run(_with_batch(proto, len(frames)), frames, names, fixed)
    except Exception:  # qonnx and onnxruntime raise all kinds; a batch of one tells what is really wrong
        if len(frames) == 1:
            raise
    parts = [_run(_with_batch(proto, 1), frame[None], names, fixed) for frame in frames]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return {**whole, **{name: parts[0][name] for name in fixed}}


def _run(
    proto: onnx.ModelProto, frames: NDArray[np.float32], names: list[str], parameters: list[str]
) -> dict[str, NDArray[np.float32]]:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    source = next(i.name for i in proto.graph.input)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on shapes that were not inferred, node by node
        model = ModelWrapper(proto).transform(InferShapes())
        context = execute_onnx(model, {source: frames}, return_full_exec_context=True)
    results = {name: np.asarray(context[name], np.float32) for name in names}
    for name, value in results.items():
        if value.shape[:1] != frames.shape[:1]:
            raise ValueError(f"'{name}' has shape {value.shape} for a batch of {len(frames)}")
    return {**results, **{name: np.asarray(context[name], np.float32) for name in parameters}}


def _with_batch(proto: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy for that batch, without what would hold it at another: stored shapes and type annotations."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    parameters = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name not in parameters]
    del graph.input[:]
    graph.input.extend(inputs)
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_value = batch
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                value.type.tensor_type.ClearField("shape")
                break
    del graph.value_info[:]
    del graph.quantization_annotation[:]  # qonnx refuses inputs that are not integers to float precision
    for node in graph.node:
        if node.op_type in _QUANTIZERS:
            node.domain = "qonnx.custom_op.general"  # old files use other domains, or none
    if batch > 1:
        _free_batch_of_reshapes(copy)
    return copy


def _free_batch_of_reshapes(proto: onnx.ModelProto) -> None:
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "Reshape" or len(node.input) < 2 or node.input[0] in tensors:
            continue
        shape = tensors.get(node.input[1])
        if shape is None:
            continue
        dims = onnx.numpy_helper.to_array(shape).copy()
        if dims.size and dims[0] == 1:
            dims[0] = -1 if -1 not in dims else 0
            shape.CopyFrom(onnx.numpy_helper.from_array(dims, shape.name))
