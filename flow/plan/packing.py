# SPDX-License-Identifier: Apache-2.0
"""Several products in one DSP slice: weights that meet the same input, side by side in one operand.

``count`` weights lie ``spacing`` bits apart in one operand, ``W = sum(w[k] << spacing * k)``, so that the product
``W * x`` holds every ``w[k] * x`` in a field of its own. Sums of such products hold sums in their fields. A field
is read as a signed number of ``spacing`` bits; where what lies below it is negative, it has borrowed one, which is
added again: it is the bit right below the field.

This is exact where the total of every field lies strictly inside ``-2^(spacing - 1) .. 2^(spacing - 1)``: then

- the total of the ``k`` lowest fields is less than ``2^(spacing * k - 1)`` in magnitude, so that its sign is bit
  ``spacing * k - 1``, and what it takes from the fields above is that bit;
- a field less the borrowed one is still a signed number of ``spacing`` bits.

Beside that, the operands must fit the signed ports of the multiplier (UG479, UG579), and the sum its 48 bits.
"""

from dataclasses import dataclass
from functools import cache

from flow.errors import PlanFileError
from flow.ir.types import Bipolar, IntType
from flow.plan.board import Board, Dsp
from flow.plan.layers import Layer, divisors
from flow.plan.plan import LayerPlan, Multiplier

SUM_BITS = 48
"""Of the accumulator of either slice."""


@dataclass(frozen=True, slots=True)
class Packing:
    """A packing that is proved.

    Attributes:
        dsp: The slice that it is proved for.
        count: Products in a slice.
        spacing: Bits from field to field.
        chain: Products that may be summed in a field before it is read.
        operand_bits: Of the packed weights, signed.
        reach: The greatest magnitude of a product.
    """

    dsp: Dsp
    count: int
    spacing: int
    chain: int
    operand_bits: int
    reach: int

    def __str__(self) -> str:
        summed = f"sums of {self.chain}" if self.chain > 1 else "each"
        return (
            f"{self.count} products in each {self.dsp.value}, {self.spacing} bits apart: proved by bounds "
            f"({summed} within +-{self.chain * self.reach}, a field holds +-{(1 << self.spacing - 1) - 1})"
        )


@cache
def pack(weight: tuple[int, int], x: tuple[int, int], dsp: Dsp, count: int, terms: int) -> Packing | None:
    """The packing of ``count`` products, at the least spacing at which the most of ``terms`` are summed in a field.

    Args:
        weight: The least and the greatest weight.
        x: The least and the greatest input.
        dsp: The slice.
        count: Products in a slice, at least 2.
        terms: Products of each output that there are to be summed.

    Returns:
        None where no spacing is both wide enough for a product and narrow enough for the ports.
    """
    ends = [w * v for w in weight for v in x]
    reach = max(1, *(abs(end) for end in ends))
    room = _operand_room(_signed_bits(*x), dsp)
    spacings = range(1, min(room, SUM_BITS // count) + 1)
    widest = max((s for s in spacings if _packed_bits(weight, s, count) <= room), default=0)
    chain = min(terms, ((1 << widest >> 1) - 1) // reach)
    if chain < 1:
        return None
    spacing = (chain * reach).bit_length() + 1
    return Packing(dsp, count, spacing, chain, _packed_bits(weight, spacing, count), reach)


def _signed_bits(lo: int, hi: int) -> int:
    return IntType.holding(min(lo, -1), hi).bits


def _operand_room(x_bits: int, dsp: Dsp) -> int:
    """The bits of the port that is left for the weights; 0 where the input fits none."""
    wide, narrow = dsp.ports
    if x_bits <= narrow:
        return wide
    return narrow if x_bits <= wide else 0


def _packed_bits(weight: tuple[int, int], spacing: int, count: int) -> int:
    """The signed bits of the operand: it is least, and greatest, where every weight is."""
    ones = sum(1 << spacing * k for k in range(count))
    return _signed_bits(weight[0] * ones, weight[1] * ones)


def packing_for(layer: Layer, pe: int, simd: int, dsp: Dsp) -> Packing | None:
    """The packing of the most products of a layer; None where none can be packed.

    What shares an input are the ``pe`` outputs of a matrix product; a slice serves as many of them as divide
    ``pe``. Bipolar operands are not multiplied, and the channels of a depthwise convolution share nothing.
    """
    product = layer.product
    if product is None or layer.depthwise:
        return None
    x = layer.core_x
    if isinstance(product.weight_type, Bipolar) or isinstance(x.element, Bipolar):
        return None
    weight = int(product.weight.min()), int(product.weight.max())
    between = int(x.lo.min()), int(x.hi.max())
    widest = max(dsp.ports)
    found = (pack(weight, between, dsp, count, simd) for count in reversed(divisors(pe)) if 2 <= count <= widest)
    return next((packing for packing in found if packing is not None), None)


def packing_of(layer: Layer, plan: LayerPlan, dsp: Dsp) -> Packing | None:
    """The packing that a plan asks for; None where it asks for none.

    Raises:
        PlanFileError: The products of the layer cannot be packed in this folding.
    """
    if plan.multiplier != "packed":
        return None
    packing = packing_for(layer, plan.pe, plan.simd, dsp)
    if packing is None:
        raise PlanFileError(
            f"layer '{layer.name}': multiplier 'packed': its products cannot share a {dsp.value} at pe = {plan.pe}",
            "choose 'lut' or 'dsp', or another pe: outputs that are computed at once share their inputs",
        )
    return packing


def multiplier_options(layer: Layer, pe: int, board: Board) -> list[Multiplier]:
    """What can multiply in a layer; whether products can be packed is a matter of a single one, whatever is summed."""
    if not board.resources.dsp:
        return ["lut"]
    packed = packing_for(layer, pe, 1, board.dsp) is not None
    return ["lut", "dsp", "packed"] if packed else ["lut", "dsp"]
