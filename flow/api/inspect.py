# SPDX-License-Identifier: Apache-2.0
"""What a model is, in integers, and whether it can be built."""

from dataclasses import dataclass
from pathlib import Path

from flow.api.compile import Compiled, chosen_input_type, compile_model
from flow.api.names import layer_labels, layer_origins
from flow.errors import OptionError, UnsupportedModelError
from flow.frontend.importer import import_model
from flow.ir.model import Conv, Input, MatMul, QuantizedConstant
from flow.ir.model_rules import infer_shapes
from flow.ir.types import type_of_values
from flow.plan.layers import Layer, layers_of
from flow.report.assemble import describe

_SIGN = 1  # a bit that weights take where a pass turns their signs


@dataclass(frozen=True, slots=True)
class LayerView:
    """A layer as ``flow inspect`` shows it.

    Attributes:
        name: What it is called after.
        operation: ``dense`` or ``step``.
        origin: The ONNX nodes.
        shape: Inputs and outputs.
        weight: The type of the weights; None without.
        x: The type of the input.
        accumulator: The type of the sums; None without a product.
        y: The type of the output.
        scale: What an output integer is worth.
        macs: Multiply-accumulates of a frame.
        weight_bits: Memory for the weights.
        forms: The forms in which the step function can be built.
    """

    name: str
    operation: str
    origin: str
    shape: str
    weight: str | None
    x: str
    accumulator: str | None
    y: str
    scale: str
    macs: int
    weight_bits: int
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InspectResult:
    """What ``flow inspect`` found.

    Attributes:
        file: The model's name.
        input_shape: Of one frame.
        output_shape: Of one frame.
        input_type: How the input arrives, in words.
        layers: In order; empty where the model cannot be built.
        problems: What is not supported, each with what to do; empty where all is.
        remarks: What costs more than it need, each with what to do.
    """

    file: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_type: str
    layers: tuple[LayerView, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def inspect(model: str | Path, *, input_type: str | None = None) -> InspectResult:
    """Looks at a model: its layers in integers, or what is in the way.

    Raises:
        ModelFileError: It cannot be read, or is not a quantised model at all.
    """
    path = Path(model)
    try:
        imported = import_model(path)
    except UnsupportedModelError as error:
        return InspectResult(path.name, (), (), "", (), tuple(map(str, error.problems)), ())
    shapes = infer_shapes(imported.graph)
    source = next(n for n in imported.graph.nodes if isinstance(n, Input))
    output_shape = shapes[imported.graph.outputs[0]]
    chosen = chosen_input_type(imported, input_type)
    try:
        compiled = compile_model(path, input_type)
        layers = layers_of(compiled.graph)
    except (UnsupportedModelError, OptionError) as error:
        problems = error.problems if isinstance(error, UnsupportedModelError) else (error,)
        return InspectResult(path.name, source.shape, output_shape, "", (), tuple(map(str, problems)), ())
    labels, origins = layer_labels(layers, imported), layer_origins(layers, imported)
    encodings = compiled.integers.encodings
    views = tuple(
        _view(layer, labels[layer.name], origins[layer.name], describe(encodings.get(layer.name))) for layer in layers
    )
    entry = compiled.integers.source
    arrival = (
        f"{chosen}"
        if chosen is not None
        else f"float; the host quantises it to {entry.element} (scale {describe(encodings[entry.name])})"
    )
    return InspectResult(path.name, source.shape, output_shape, arrival, views, (), _remarks(compiled, layers, labels))


def _remarks(compiled: Compiled, layers: tuple[Layer, ...], labels: dict[str, str]) -> tuple[str, ...]:
    """Products whose weights became wider than they were quantised: their inputs have unlike scales."""
    found = []
    for layer in layers:
        node = compiled.model.by_name.get(layer.product.name) if layer.product is not None else None
        weight = compiled.model[node.weight] if isinstance(node, MatMul | Conv) else None
        if layer.product is None or not isinstance(weight, QuantizedConstant):
            continue
        bits, quantised = layer.product.weight_type.bits, type_of_values(weight.levels).bits
        if bits > quantised + _SIGN:
            found.append(
                f"'{labels[layer.name]}': its weights take {bits} bits instead of {quantised}, for its inputs have "
                "unlike scales; quantise them with one scale (one quantiser behind the concatenation)"
            )
    return tuple(found)


def _view(layer: Layer, name: str, origin: str, scale: str) -> LayerView:
    product = layer.product
    return LayerView(
        name=name,
        operation=layer.kind,
        origin=origin,
        shape=f"{layer.inputs} x {layer.outputs}" if product is not None else str(layer.outputs),
        weight=str(product.weight_type) if product is not None else None,
        x=str(layer.x.element),
        accumulator=str(product.acc) if product is not None else None,
        y=str(layer.y.element),
        scale=scale,
        macs=layer.macs,
        weight_bits=product.weight.size * product.weight_type.bits if product is not None else 0,
        forms=tuple(layer.forms),
    )
