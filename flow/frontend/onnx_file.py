# SPDX-License-Identifier: Apache-2.0
"""Reads the bytes of an ONNX file, and says clearly what is wrong where that cannot be done."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from flow.errors import ModelFileError


def load(path: Path) -> onnx.ModelProto:
    """The model in ``path``.

    Raises:
        ModelFileError: There is no such file, it is empty or cut short, it is no ONNX model, or it refers to
            data files that are not there.
    """
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file", "check the path")
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder, not a model", "name the .onnx file in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    if not data:
        raise ModelFileError(f"{path} is empty (0 bytes)", "export the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(
            f"{path} is not an ONNX model, or was cut short ({len(data)} bytes)",
            "export or copy it again; `onnx.checker.check_model` tells more",
        ) from error
    if not model.graph.node:
        raise ModelFileError(f"{path}: the file can be read, but its graph has no nodes", "export the model again")
    _load_external(model, path)
    return model


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelFileError(
            f"{path}: {len(outside)} tensors lie in another file, which cannot be read ({error})",
            "put the .data file beside the model, or export with external_data=False",
        ) from error


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """The attributes of a node as Python values; bytes become text."""
    values: dict[str, object] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return values


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every initializer as an array of its own type."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def input_annotations(model: onnx.ModelProto) -> dict[str, str]:
    """The ``finn_datatype`` that the file gives to tensors (QONNX's type annotations)."""
    return {
        annotation.tensor_name: pair.value
        for annotation in model.graph.quantization_annotation
        for pair in annotation.quant_parameter_tensor_names
        if pair.key == "finn_datatype"
    }


_PROXIES = {"act_quant", "weight_quant", "bias_quant", "input_quant", "output_quant", "tensor_quant", "trunc_quant"}


def module_of(node: onnx.NodeProto) -> str:
    """The source module of a node, where the exporter kept it; else an empty text.

    The legacy exporter writes it into the node's name (``/fc1/act_quant/Relu``; a child of a container repeats the
    container, ``/body/body.0/Conv``), the dynamo exporter into the metadata entry ``pkg.torch.onnx.name_scopes``.
    What Brevitas puts inside a layer is cut off.
    """
    parts: list[str] = []
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = [s for s in entry.value.strip("[]").replace("'", "").split(", ") if s]
            parts = scopes[-2].split(".") if len(scopes) > 1 else []
    if not parts and node.name.startswith("/"):
        for part in node.name.strip("/").split("/")[:-1]:
            if parts and part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts.append(part)
    proxy = next((place for place, part in enumerate(parts) if part in _PROXIES), len(parts))
    return ".".join(parts[:proxy])
