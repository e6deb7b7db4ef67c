# SPDX-License-Identifier: Apache-2.0
"""What adder graphs take: a LUT for each bit of a carry chain, a flip-flop for each bit that a stage keeps.

Of 20 routed networks that da4ml unrolled, the LUTs are 0.97 to 1.13 times (median 1.05) what da4ml counts for their
adders; its count leaves out the bits of a sum above its operands, which are counted here. The networks themselves
are not public with those figures, so that no row can be computed again from its weights.
"""

from flow.plan.cost_memory import amount
from flow.plan.resources import Resources

_LUT_PER_BIT = 1.0  # UG474, UG574: a LUT a bit of the carry chain

_ERRORS = {
    "lut": "adders: of 20 networks that da4ml unrolled, LUTs were 0.97 to 1.13 of its count; the rest not compared"
}


def error_of_unrolled(name: str) -> str:
    """What is known of the error of an estimate in the unrolled style, in words."""
    return _ERRORS.get(name, "not compared with anything built")


def adder_graph_price(adder_bits: int, kept_bits: int) -> dict[str, Resources]:
    """The adders, and the registers between the stages of the pipeline; the latter **unmeasured**."""
    return {"adders": amount(_LUT_PER_BIT * adder_bits), "registers": amount(0, kept_bits)}
