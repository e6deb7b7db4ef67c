# SPDX-License-Identifier: Apache-2.0
"""Brevitas to QONNX: what is written computes what was trained, or an error names the layer that does not.

Every parameter is stored as its quantised value. Brevitas (0.13.4, by both exporters) stores the float weight in front
of a plain rounding quantiser, and so loses whatever its own quantiser did before: the norm of A2Q, another rounding
mode, a learned rounding. From quantised values any quantiser finds the same integers again. For the same reason
widths that differ between channels or weights need no more than the widest of them in the file.
"""

import copy
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on optional packages and on modules that are to move
    from brevitas.export.onnx.qonnx import handler, manager
    from brevitas.export.onnx.qonnx.function import BrevitasBinaryQuantOp, BrevitasQuantOp
    from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantWBIOL
    from brevitas.proxy.parameter_quant import BiasQuantProxyFromInjectorBase, WeightQuantProxyFromInjectorBase
    from brevitas.proxy.quant_proxy import QuantProxyFromInjector
    from brevitas.quant_tensor import QuantTensor

from flow.errors import ExportError, OutputError
from flow.frontend.importer import import_proto
from flow.frontend.onnx_file import module_of
from flow.ir.model import BipolarQuant, ModelGraph, Quant
from flow.ir.near_ties import compare_float32

_QUANTIZERS = ("Quant", "BipolarQuant", "Trunc", "FloatQuant")
_RESULT = "_flow_result"  # attribute of a parameter's proxy in the copy that is exported


@dataclass(frozen=True)
class _Call:
    """One quantiser at work, as torch ran it.

    Attributes:
        path: The proxy's module path, ``layers.0.weight_quant``.
        source: What it quantised.
        result: What it made of it, with scale and bit width.
        is_parameter: Whether that is a weight or a bias.
    """

    path: str
    source: Any
    result: QuantTensor
    is_parameter: bool

    @property
    def layer(self) -> str:
        return self.path.rpartition(".")[0] or "the model"


def export(
    model: nn.Module,
    path: str | Path,
    example: Tensor,
    *,
    dynamo: bool = False,
    names: tuple[str, str] = ("x", "y"),
) -> Path:
    """Writes a Brevitas model as QONNX with a batch of one, and checks the file on ``example``.

    The model itself is left as it is. Forward hooks (those of Brevitas' losses, for example) are no part of the
    export.

    Args:
        model: Every one of its quantisers has a scale of its own: it was trained or calibrated.
        path: Of the file.
        example: (frames, *shape): inputs on which every quantiser of the file has to give the level that torch
            gives. A handful shows every fault of an exporter; the cost is some evaluations in exact arithmetic.
        dynamo: By torch's dynamo exporter instead of the TorchScript one. The network is the same; node names and
            the form of a dense layer differ.
        names: Of the input and the output in the file.

    Returns:
        The path.

    Raises:
        ExportError: The file does not compute what torch computes; the layers are named. Nothing is written.
        UnsupportedModelError: The model holds operations that cannot become hardware.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    example = example.detach().to("cpu", torch.float32)
    if example.ndim < 2 or len(example) == 0:
        raise ExportError(f"the example has shape {list(example.shape)}", "give inputs as (frames, *shape)")
    twin = _twin(model)
    output, calls = _run(twin, example)
    if not calls:
        raise ExportError(
            "the model holds no quantiser of Brevitas", "build it from brevitas.nn layers with quantisers"
        )
    proto = _written(twin, calls, example[:1], names, dynamo=dynamo)
    if _count(proto) < len(calls):
        calls = _once(calls)
    _tidy(proto.graph, calls)
    _check(proto, calls, example, output)
    try:
        onnx.save(proto, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}", "name another file") from error
    return path


def _twin(model: nn.Module) -> nn.Module:
    """A copy for inference on the CPU, without forward hooks."""
    twin = copy.deepcopy(model).to("cpu").eval()
    for module in twin.modules():
        module._forward_hooks.clear()
    return twin


def _run(model: nn.Module, example: Tensor) -> tuple[Tensor, list[_Call]]:
    """The model's output, and what each of its quantisers did, in order."""
    calls: list[_Call] = []

    def observe(path: str, *, is_parameter: bool) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
            if isinstance(result, QuantTensor):
                calls.append(_Call(path, inputs[0], result, is_parameter))

        return hook

    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, QuantProxyFromInjector) and module.is_quant_enabled:
            is_parameter = isinstance(module, WeightQuantProxyFromInjectorBase | BiasQuantProxyFromInjectorBase)
            hooks.append(module.register_forward_hook(observe(path, is_parameter=is_parameter)))
    with torch.no_grad(), _biases_added_last(model):
        output = model(example)
    for hook in hooks:
        hook.remove()
    return output.value if isinstance(output, QuantTensor) else output, calls


@contextmanager
def _biases_added_last(model: nn.Module) -> Iterator[None]:
    """Layers add their biases to finished sums, as the file says, and not to each partial sum.

    Torch starts its sums at the bias. That rounds more often in float32, and so obeys no bound for the file.
    """
    layers = [m for m in model.modules() if isinstance(m, QuantWBIOL) and m.bias is not None]

    def separated(layer: Any) -> Any:
        axes = layer.weight.ndim - 2
        product = layer.inner_forward_impl

        def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            total = product(x, weight, None)
            return total if bias is None else total + bias.reshape(-1, *[1] * axes)

        return forward

    for layer in layers:
        layer.inner_forward_impl = separated(layer)
    yield
    for layer in layers:
        del layer.inner_forward_impl


# ------------------------------------------------------------------------------------- what Brevitas has to write


class _ParameterHandler(handler.BrevitasQuantProxyHandler):
    """Writes a quantiser with the scale and the width that it had when it ran, and one width for all channels."""

    def prepare_for_export(self, module: Any) -> None:
        done: QuantTensor | None = getattr(module, _RESULT, None)
        if done is None:  # it is switched off, or was not reached
            return
        bits = done.bit_width.max().round()
        if module.is_groupwise:
            raise ExportError("a quantiser has a scale for each group", "use one for the tensor or for each channel")
        self.symbolic_kwargs = {
            "scale": done.scale.detach(),
            "zero_point": done.zero_point.detach(),
            "bit_width": bits.detach(),
            "narrow_range": module.is_narrow_range,
            "signed": done.signed,
            "rounding_mode": "ROUND",
        }
        self.quant_op = BrevitasBinaryQuantOp if bits == 1 else BrevitasQuantOp

    def symbolic_execution(self, x: Tensor, *_: Any) -> tuple[Tensor, ...]:
        return super().symbolic_execution(x)


class _WeightHandler(_ParameterHandler):
    handled_layer = handler.WeightQuantProxyFromInjector


class _DecoupledWeightHandler(_ParameterHandler):
    handled_layer = handler.DecoupledWeightQuantProxyFromInjector

    def symbolic_execution(self, x: Tensor, *_: Any) -> tuple[Tensor, ...]:
        value, scale, zero_point, bits = super().symbolic_execution(x)
        return value, scale, zero_point, bits, scale, zero_point  # of the float weight: nothing reads them here


class _DecoupledWeightWithInputHandler(_DecoupledWeightHandler):
    handled_layer = handler.DecoupledWeightQuantWithInputProxyFromInjector


class _BiasHandler(_ParameterHandler):
    handled_layer = handler.BiasQuantProxyFromInjector


class _ActivationHandler(handler.BrevitasActQuantProxyHandler):
    """Brevitas writes one bit without a sign (0 and 1) as -1 and +1."""

    def prepare_for_export(self, module: Any) -> None:
        super().prepare_for_export(module)
        if module.is_quant_enabled and not self.symbolic_kwargs["signed"]:
            self.quant_op = BrevitasQuantOp


_OURS = (_ActivationHandler, _WeightHandler, _DecoupledWeightHandler, _DecoupledWeightWithInputHandler, _BiasHandler)
_HANDLERS = [h for h in manager.QONNXManager.handlers if h.handled_layer not in {o.handled_layer for o in _OURS}]


class _Legacy(manager.QONNXManager):
    handlers = [*_HANDLERS, *_OURS]  # noqa: RUF012


class _Dynamo(manager.QONNXDynamoManager):
    handlers = [*_HANDLERS, *_OURS]  # noqa: RUF012


def _written(
    twin: nn.Module, calls: Sequence[_Call], frame: Tensor, names: tuple[str, str], *, dynamo: bool
) -> onnx.ModelProto:
    """What the exporter makes of the model, whose parameters become their quantised values."""
    proxies = dict(twin.named_modules())
    for call in calls:
        if call.is_parameter:
            setattr(proxies[call.path], _RESULT, call.result)
            call.source.detach().copy_(call.result.value)  # the source is the parameter, or a view of it
    options: dict[str, Any] = {"external_data": False, "verbose": False, "optimize": True} if dynamo else {}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the exporters' own deprecations
        file = Path(scratch) / "model.onnx"
        (_Dynamo if dynamo else _Legacy).export(
            twin, frame, str(file), dynamo=dynamo, input_names=[names[0]], output_names=[names[1]], **options
        )
        return onnx.load(file)


# --------------------------------------------------------------------------------------------- the file made clean


def _tidy(graph: onnx.GraphProto, calls: Sequence[_Call]) -> None:
    """Drops what says nothing about the network, and names nodes and parameters after the modules, in place.

    Brevitas lists every initialiser as an input of the graph as well; the dynamo exporter stores Python stack traces
    with the paths of the machine. A node is called ``/<module path>/<operation>``.

    Raises:
        ExportError: The file does not hold the quantisers that torch ran.
    """
    parameters = {initialiser.name for initialiser in graph.initializer}
    inputs = [value for value in graph.input if value.name not in parameters]
    del graph.input[:]
    graph.input.extend(inputs)
    paths = [_path_of(node) for node in graph.node]
    quantizers = [place for place, node in enumerate(graph.node) if node.op_type in _QUANTIZERS]
    if len(quantizers) != len(calls):
        raise ExportError(
            f"torch runs {len(calls)} quantisers, the exported file holds {len(quantizers)}: a layer that is used "
            "twice, or not always, cannot be exported so",
            "give each use a layer of its own, or try the other exporter (dynamo)",
        )
    names: dict[str, str] = {}
    for place, call in zip(quantizers, calls, strict=True):
        paths[place] = call.path
        source = graph.node[place].input[0]
        if call.is_parameter and source in parameters and f"{call.layer}." not in source:
            names[source] = f"{call.layer}.{call.path.rpartition('.')[2].removesuffix('_quant')}"
    used: dict[str, int] = {}
    for node, path in zip(graph.node, paths, strict=True):
        layer, _, last = path.rpartition(".")
        base = "/".join(("", *((layer, last) if last.endswith("_quant") and layer else (path,)), node.op_type))
        count = used[base] = used.get(base, 0) + 1
        node.name = base if count == 1 else f"{base}_{count}"
        node.input[:] = [names.get(name, name) for name in node.input]
    for initialiser in graph.initializer:
        initialiser.name = names.get(initialiser.name, initialiser.name)
    del graph.metadata_props[:]
    for noted in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del noted.metadata_props[:]
        noted.ClearField("doc_string")


def _count(proto: onnx.ModelProto) -> int:
    return sum(node.op_type in _QUANTIZERS for node in proto.graph.node)


def _once(calls: Sequence[_Call]) -> list[_Call]:
    """Each parameter at its first use only: the dynamo exporter computes it once."""
    return [c for place, c in enumerate(calls) if not (c.is_parameter and c.path in {d.path for d in calls[:place]})]


def _path_of(node: onnx.NodeProto) -> str:
    return module_of(node) or "model"


def _check(proto: onnx.ModelProto, calls: Sequence[_Call], example: Tensor, output: Tensor) -> None:
    """Every level of every quantiser, as torch computed it, against the exact meaning of the file.

    Torch computes in float32, and so may round an activation the other way where it lies within float32's error of a
    boundary; ``flow.ir.near_ties`` proves that of each. A parameter lies on its grid, and may not differ at all.
    """
    imported = import_proto(proto, "the exported model")
    graph = imported.graph
    quantizers = [node for node in proto.graph.node if node.op_type in _QUANTIZERS]
    by_name = {node.output[0]: call for node, call in zip(quantizers, calls, strict=True)}
    held = {n.name for n in graph.nodes}
    float32 = {
        name: call.result.value.detach().numpy().astype(np.float32) for name, call in by_name.items() if name in held
    }
    problems = {by_name[name].layer: [problem] for name in float32 if (problem := _width_problem(graph, name, by_name))}
    float32.setdefault(graph.outputs[0], output.detach().numpy())
    compared = compare_float32(graph, example.numpy().astype(np.float64), float32)
    for tie in compared.parameter_ties:
        what = f"element {tie.element}: the model defines level {tie.exact}, float32 gave {tie.float32}"
        problems.setdefault(by_name[tie.tensor].layer, []).append(what)
    for error in compared.errors:  # "'tensor', where: what"
        tensor, _, what = error[1:].partition("'")
        layer = by_name[tensor].layer if tensor in by_name else "the output"
        problems.setdefault(layer, []).append(what.removeprefix(", frame None").lstrip(", "))
    if problems:
        lines = [
            f"{layer}: {found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
            for layer, found in problems.items()
        ]
        raise ExportError(
            "the exported file does not compute what torch computes ('the model' is the file, 'float32' is torch):\n  "
            + "\n  ".join(lines),
            "use quantisers that give the same result each time (no stochastic rounding, no dropout in inference)",
        )


def _width_problem(graph: ModelGraph, name: str, by_name: dict[str, _Call]) -> str | None:
    node, bits = graph[name], int(by_name[name].result.bit_width.max().round())
    written = node.bits if isinstance(node, Quant) else 1 if isinstance(node, BipolarQuant) else bits
    return None if written == bits else f"{bits} bits in torch, {written} in the file"
