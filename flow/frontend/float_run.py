# SPDX-License-Identifier: Apache-2.0
"""Executes a file in float32 by other implementations: QONNX by qonnx's executor, QCDQ by onnxruntime.

Operations of the channels-last dialect run as those of ONNX between transposes, as qonnx itself runs them.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_QUANTIZERS = {"Quant", "IntQuant", "BipolarQuant", "Trunc"}
_GENERAL = "qonnx.custom_op.general"


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

    Returns:
        Those of them that are tensors of the file: parts of a node (``y:levels`` of a Trunc ``y``) are none.
    """
    held = {name for node in proto.graph.node for name in node.output}
    names, fixed = (
        [name for name in dict.fromkeys(group) if name in held or name.rpartition(":")[0] not in held]
        for group in (wanted, parameters)
    )
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
    if all(node.domain in ("", "ai.onnx") and node.op_type not in _QUANTIZERS for node in proto.graph.node):
        context = _run_onnxruntime(proto, frames, [*names, *parameters])
    else:
        context = _run_qonnx(proto, frames)
    results = {name: np.asarray(context[name], np.float32) for name in names}
    for name, value in results.items():
        if value.shape[:1] != frames.shape[:1]:
            raise ValueError(f"'{name}' has shape {value.shape} for a batch of {len(frames)}")
    return {**results, **{name: np.asarray(context[name], np.float32) for name in parameters}}


def _run_onnxruntime(proto: onnx.ModelProto, frames: NDArray[np.float32], names: list[str]) -> dict[str, NDArray[Any]]:
    """Every operation as it stands: onnxruntime's own optimisations would compute in integers."""
    import onnxruntime

    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(names, {session.get_inputs()[0].name: frames})
    return dict(zip(names, values, strict=True))


def _run_qonnx(proto: onnx.ModelProto, frames: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    source = next(i.name for i in proto.graph.input)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on shapes that were not inferred, node by node
        model = ModelWrapper(proto).transform(InferShapes())
        context: dict[str, NDArray[Any]] = execute_onnx(model, {source: frames}, return_full_exec_context=True)
    return context


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
            node.domain = _GENERAL  # old files use other domains, or none
    _give_trunc_its_version(copy)
    _stand_channels_first(copy)
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


def _give_trunc_its_version(proto: onnx.ModelProto) -> None:
    """For qonnx, which takes the version from the operator set: the number of inputs says which one a file means."""
    versions = {2 if len(node.input) > 5 else 1 for node in proto.graph.node if node.op_type == "Trunc"}
    if len(versions) == 1:
        kept = [o for o in proto.opset_import if o.domain != _GENERAL]
        del proto.opset_import[:]
        proto.opset_import.extend([*kept, onnx.helper.make_opsetid(_GENERAL, versions.pop())])


def _stand_channels_first(proto: onnx.ModelProto) -> None:
    """Replaces the operations of the channels-last dialect."""
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if not node.domain.endswith("channels_last"):
            nodes.append(node)
            continue
        window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), None)
        rank = len(window) + 2 if window is not None else 4
        first, last = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
        output = node.output[0]
        inner = onnx.NodeProto()
        inner.CopyFrom(node)
        inner.domain = ""
        inner.output[0] = f"{output}:first"
        for place in range(2 if node.op_type == "Conv" else 1):
            inner.input[place] = f"{output}:input{place}"
            nodes.append(onnx.helper.make_node("Transpose", [node.input[place]], [inner.input[place]], perm=first))
        nodes += [inner, onnx.helper.make_node("Transpose", [inner.output[0]], [output], perm=last)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
