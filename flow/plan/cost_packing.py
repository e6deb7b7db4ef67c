# SPDX-License-Identifier: Apache-2.0
"""What products that share DSP slices take. The slices are counted; the LUTs around them are **unmeasured**."""

from flow.plan.cost_coefficients import coefficients
from flow.plan.cost_memory import amount
from flow.plan.packing import Packing
from flow.plan.resources import Resources


def packed_products(packing: Packing, pe: int, simd: int, weight_bits: int) -> dict[str, Resources]:
    """The products of ``pe`` outputs from ``simd`` inputs each, in place of one slice for each of them.

    Weights are joined by adders of their width, as the pre-adder of a slice is not counted on; every field that is
    read, but for the lowest, by one that adds the borrowed bit.
    """
    c = coefficients()
    slices = pe // packing.count * simd
    reads = pe // packing.count * -(-simd // packing.chain)
    joined = (packing.count - 1) * weight_bits * slices
    borrowed = (packing.count - 1) * packing.spacing * reads
    return {
        "product": amount(dsp=slices),
        "packing": amount(c.adder_lut * (joined + borrowed), c.pipeline_ff * borrowed),
    }
