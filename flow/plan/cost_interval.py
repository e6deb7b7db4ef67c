# SPDX-License-Identifier: Apache-2.0
"""Between what an estimate lies: the factor by which left-out blocks were off, by their kind.

The interval of a sum runs from the sum of the lower ends to the sum of the upper ends: the errors of one design's
blocks are alike (one tool, one author), so they do not cancel. The fit counts how many sums that covers.
"""

from collections.abc import Iterable, Mapping

from flow.plan.cost_coefficients import Interval, Kind, cost_file
from flow.plan.resources import Resources


def bounds(
    blocks: Iterable[tuple[Kind, Resources]], using: Mapping[Kind, Interval] | None = None
) -> tuple[Resources, Resources]:
    """The least and the most that blocks can be expected to take together.

    DSP slices and memories are counted and have no interval: both ends have the count.

    Args:
        blocks: Each with its kind and its estimate.
        using: Other intervals than those that come with the program.
    """
    intervals = using or cost_file().intervals
    low, high = Resources.zero(), Resources.zero()
    for kind, block in blocks:
        lut, ff = intervals[kind].lut, intervals[kind].ff
        counted = (block.dsp, block.bram18, block.uram)
        low += Resources(round(block.lut / lut), round(block.ff / ff), *counted)
        high += Resources(round(block.lut * lut), round(block.ff * ff), *counted)
    return low, high
