# SPDX-License-Identifier: Apache-2.0
"""What weights of learned widths cost, as numbers with a gradient to the widths.

Sources: bit operations of a product as the product of both widths, as in Baskin et al., UNIQ, arXiv:1804.10969 (their
count adds the accumulation); effective bit operations after Sun et al., HGQ, arXiv:2405.00645 (read: abstract and
released code): bits between the highest and the lowest bit of a weight that is set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Widths = Mapping[str, Tensor]
"""The width of each layer's weights, by module path: one number, or a tensor that broadcasts to the weights."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a layer uses its weights.

    Attributes:
        positions: How many products of a frame each weight takes part in.
        input_bits: Of what it is multiplied with.
    """

    positions: int
    input_bits: int


def weight_bits(layers: Mapping[str, Any], widths: Widths) -> Tensor:
    """Bits of all weights."""
    return _total([_each(layer, widths[name]).sum() for name, layer in layers.items()])


def average_bits(layers: Mapping[str, Any], widths: Widths) -> Tensor:
    """Bits of a weight."""
    return weight_bits(layers, widths) / sum(layer.weight.numel() for layer in layers.values())


def bit_operations(layers: Mapping[str, Any], widths: Widths, uses: Mapping[str, Use]) -> Tensor:
    """For every product of a frame the width of the weight times that of the activation, summed."""
    return _total([_operations(_each(layer, widths[name]), uses[name]) for name, layer in layers.items()])


def effective_bit_operations(layers: Mapping[str, Any], widths: Widths, uses: Mapping[str, Use]) -> Tensor:
    """The same with the effective widths of the weights, as they are quantised now."""
    return _total([_operations(effective_bits(layer, widths[name]), uses[name]) for name, layer in layers.items()])


def effective_bits(layer: Any, width: Tensor) -> Tensor:
    """Of each weight: bits from the highest to the lowest that is set in its magnitude; 0 for the weight 0.

    The value does not depend on ``width``, the gradient does: one more bit for a layer is one more for each of its
    weights that is not 0.
    """
    with torch.no_grad():
        found = layer.quant_weight()
        levels = (found.value / found.scale).round().abs().to(torch.int64)
        odd = levels // (levels & -levels).clamp_min(1)
        bits = torch.frexp(odd.to(torch.float64)).exponent.to(layer.weight.dtype)  # 2**(bits-1) <= odd < 2**bits
    return bits + (width - width.detach()) * (levels > 0)


def _each(layer: Any, width: Tensor) -> Tensor:
    return width.expand(layer.weight.shape)


def _operations(bits: Tensor, use: Use) -> Tensor:
    return bits.sum() * (use.positions * use.input_bits)


def _total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
