# SPDX-License-Identifier: Apache-2.0
"""What each layer with weights reads, as the compiler builds it: its range, its quantisers, how often weights work."""

import copy
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from flow.api.compile import compile_model
from flow.ir.dataflow import Convolution, Dense, infer_types
from flow.ir.model import BipolarQuant, Conv, ConvTranspose, MatMul, ModelGraph, Quant
from flow.ir.model_rules import infer_shapes
from flow.quant.qonnx import export

_CALIBRATIONS = 2


@dataclass(frozen=True)
class LayerInput:
    """The input of a layer.

    Attributes:
        lo: The least integer.
        hi: The greatest integer.
        quantizers: The module paths of the activations that it is made from: one, but behind an addition.
        positions: How often a frame multiplies each weight: the size of the image that comes out, 1 for dense layers.
    """

    lo: int
    hi: int
    quantizers: tuple[str, ...]
    positions: int

    @property
    def bits(self) -> int:
        """Of the magnitude, without a sign."""
        return max(self.hi, -self.lo - 1, 1).bit_length()


def layer_inputs(model: nn.Module, example: Tensor) -> dict[str, LayerInput]:
    """The input of each layer with weights, by module path.

    Args:
        model: Is left as it is.
        example: (frames, *shape), for the scales of activations that have none yet.
    """
    twin = copy.deepcopy(model).train()
    with torch.no_grad():
        for _ in range(_CALIBRATIONS):  # activations take their first scales; their widths are what counts here
            twin(example)
    with tempfile.TemporaryDirectory() as scratch:
        compiled = compile_model(export(twin, Path(scratch) / "model.onnx", example[:1]))
    types = infer_types(compiled.graph)
    ranges = {}
    for node in compiled.graph.nodes:
        origin = compiled.imported.origin_of(node.name)
        if isinstance(node, Dense | Convolution) and origin is not None:
            element = types[node.x].element
            ranges[origin.module] = (element.min, element.max)
    graph = compiled.imported.graph
    shapes = infer_shapes(graph)
    found: dict[str, LayerInput] = {}
    for product in graph.nodes:
        origin = compiled.imported.origin_of(product.name)
        if isinstance(product, MatMul | Conv | ConvTranspose) and origin is not None and origin.module in ranges:
            quantizers = [compiled.imported.origin_of(name) for name in _quantizers(graph, product.x)]
            paths = dict.fromkeys(o.module for o in quantizers if o is not None)
            counted = product.x if isinstance(product, ConvTranspose) else product.name
            found[origin.module] = LayerInput(*ranges[origin.module], tuple(paths), prod(shapes[counted][:-1]))
    return found


def _quantizers(graph: ModelGraph, name: str) -> list[str]:
    """The nearest quantisers above a tensor."""
    node = graph[name]
    if isinstance(node, Quant | BipolarQuant):
        return [name]
    return [found for source in node.inputs for found in _quantizers(graph, source)]
