# SPDX-License-Identifier: Apache-2.0
"""QONNX, and ONNX in QCDQ form, to the model language. Every node that cannot be converted is reported, all at once."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from flow.errors import ModelFileError, Unsupported, UnsupportedModelError
from flow.frontend import onnx_file
from flow.frontend.context import Context, Refused
from flow.frontend.handlers import handler_of
from flow.frontend.patterns import with_functions
from flow.ir.graph import Graph
from flow.ir.model import Input, ModelGraph, ModelOp
from flow.ir.model_rules import verify_model

_QUANTIZERS = {"Quant", "IntQuant", "BipolarQuant", "QuantizeLinear", "DequantizeLinear"}
_INTEGER_OPS = {"Clip", "DequantizeLinear"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor came from: the ONNX node, and the source module where the exporter kept it."""

    op: str
    node: str
    module: str

    def __str__(self) -> str:
        return f"{self.op} '{self.node}'" + (f" of module {self.module}" if self.module else "")


@dataclass(frozen=True)
class ImportedModel:
    """A model in the model language, and what the file says beside its arithmetic.

    Attributes:
        graph: One ``Input``, one output; tensors are named as in the file.
        input_annotation: The QONNX datatype that the file gives to the input, if any (``BIPOLAR``).
        origins: For every tensor the node that makes it.
        proto: The file's content, for executing it as it is.
    """

    graph: ModelGraph
    input_annotation: str | None
    origins: dict[str, Origin] = field(repr=False)
    proto: onnx.ModelProto = field(repr=False)

    def origin_of(self, name: str) -> Origin | None:
        """Where a tensor came from; a part of a node (``y:product`` of a Gemm ``y``) came from that node."""
        return self.origins.get(name) or self.origins.get(name.rpartition(":")[0])

    @property
    def input_name(self) -> str:
        return next(node.name for node in self.graph.nodes if isinstance(node, Input))


def import_model(path: Path) -> ImportedModel:
    """Reads a QONNX file, or one in QCDQ form.

    Raises:
        ModelFileError: The file cannot be read, or is not a quantised model at all.
        UnsupportedModelError: It holds nodes that cannot be converted: all of them, each with a remedy.
    """
    return import_proto(onnx_file.load(path), str(path))


def import_proto(proto: onnx.ModelProto, label: str = "the model") -> ImportedModel:
    """Like ``import_model`` for a model in memory; ``label`` names it in messages."""
    _refuse_float_models(proto, label)
    parameters = onnx_file.initializers(proto)
    name, shape = _only_input(proto, parameters, label)
    outputs = [o.name for o in proto.graph.output]
    if len(outputs) != 1:
        raise ModelFileError(
            f"{label} has {len(outputs)} outputs ({', '.join(outputs)}); one is supported",
            "export the part of the network that ends in one output",
        )
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=13)
    context = Context(opset, dict(parameters), [Input(name, shape)])
    context.declare(name, shape)
    context.read = {name for node in proto.graph.node for name in node.input} | {outputs[0]}
    origins: dict[str, Origin] = {}
    problems: list[Unsupported] = []
    for node in with_functions(proto):
        for output in node.output:
            origins[output] = Origin(node.op_type, node.name or output, onnx_file.module_of(node))
        _convert(node, context, problems)
    if problems:
        raise UnsupportedModelError(_collapsed(problems))
    if outputs[0] in context.known:
        raise ModelFileError(f"{label}: the output does not depend on the input", "check the export")
    if outputs[0] in context.integers:
        raise ModelFileError(f"{label}: the output holds integers", "end the model with DequantizeLinear")
    graph = _pruned(context.nodes, outputs[0])
    verify_model(graph)
    return ImportedModel(graph, onnx_file.input_annotations(proto).get(name), origins, proto)


def _convert(node: onnx.NodeProto, context: Context, problems: list[Unsupported]) -> None:
    handler = handler_of(node.op_type, node.domain)
    label = node.name or (node.output[0] if node.output else "?")
    module = onnx_file.module_of(node)
    where = f"{label} (module {module})" if module else label
    if handler is None:
        problems.append(
            Unsupported((where,), node.op_type, "this operation is not supported", _remedy_for(node.op_type))
        )
    elif not any(name in context.poisoned for name in node.input):
        try:
            if node.op_type not in _INTEGER_OPS and any(name in context.integers for name in node.input):
                raise Refused(
                    "it works on integers, between QuantizeLinear and DequantizeLinear",
                    "export in QDQ form, where every operation reads dequantised values",
                )
            _check_form(node, context.opset)
            handler(context, node, onnx_file.attributes(node))
            return
        except (IndexError, KeyError) as error:
            why = f"the node is malformed (an input or an attribute is missing: {error})"
            problems.append(Unsupported((where,), node.op_type, why, "export the model again"))
        except Refused as refusal:
            problems.append(Unsupported((where,), node.op_type, refusal.why, refusal.remedy))
    context.poisoned.update(node.output)


def _check_form(node: onnx.NodeProto, opset: int) -> None:
    """The number of inputs and the names of attributes are those of the ONNX documentation."""
    if node.domain not in ("", "ai.onnx"):
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:  # QONNX's in old files, or of a newer operator set
        return
    if not schema.min_input <= len(node.input) <= schema.max_input:
        raise Refused(f"it has {len(node.input)} inputs, which is not possible", "export the model again")
    for attribute in node.attribute:
        if attribute.name not in _attribute_names(node.op_type):
            raise Refused(f"its attribute '{attribute.name}' does not exist in ONNX", "export the model again")


@cache
def _attribute_names(op: str) -> frozenset[str]:
    """The attributes that an operation has in any operator set: tools mix them."""
    versions = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]
    return frozenset(name for schema in versions for name in schema.attributes)


def _remedy_for(op: str) -> str:
    if op == "FloatQuant":
        return "use an integer quantiser (QuantIdentity, QuantReLU, Int8WeightPerTensorFloat, ...)"
    return "replace it by MatMul, Gemm, Conv, pools, elementwise operations, BatchNormalization and Quant"


def _collapsed(problems: list[Unsupported]) -> list[Unsupported]:
    """Problems that differ only in the node, as one."""
    groups: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for problem in problems:
        key = problem.op, problem.why, problem.remedy
        groups[key] = groups.get(key, ()) + problem.nodes
    return [Unsupported(nodes, *key) for key, nodes in groups.items()]


def _refuse_float_models(proto: onnx.ModelProto, label: str) -> None:
    ops = {node.op_type for node in proto.graph.node}
    if not ops & _QUANTIZERS:
        raise ModelFileError(
            f"{label} holds no quantiser (Quant, BipolarQuant, QuantizeLinear): it is a float model",
            "quantise it in training, e.g. with Brevitas layers, and export with brevitas.export.export_qonnx",
        )


def _only_input(proto: onnx.ModelProto, parameters: dict[str, np.ndarray], label: str) -> tuple[str, tuple[int, ...]]:
    inputs = [i for i in proto.graph.input if i.name not in parameters]  # some exporters list parameters too
    if len(inputs) != 1:
        raise ModelFileError(
            f"{label} has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); one is supported",
            "export the part of the network behind one input",
        )
    dims = inputs[0].type.tensor_type.shape.dim
    name = inputs[0].name
    if not dims:
        raise ModelFileError(f"{label}: input '{name}' has no shape", "export with a fixed input shape")
    for place, dim in enumerate(dims):
        if not dim.HasField("dim_value") or dim.dim_value < 1:
            kind = "batch dimension" if place == 0 else f"dimension {place}"
            raise ModelFileError(
                f"{label}: the {kind} of input '{name}' is dynamic ('{dim.dim_param or '?'}')",
                "export with a fixed shape and batch 1 (no dynamic_axes, no dynamic_shapes)",
            )
    shape = tuple(int(dim.dim_value) for dim in dims)
    if len(shape) < 2 or shape[0] != 1:
        raise ModelFileError(
            f"{label}: input '{name}' has shape {list(shape)}; the first dimension must be a batch of 1",
            "export with an example input of batch 1",
        )
    return name, shape[1:]


def _pruned(nodes: list[ModelOp], output: str) -> ModelGraph:
    whole: ModelGraph = Graph(tuple(nodes), (output,))
    kept = whole.ancestors(output)
    return Graph(kept, (output,))
