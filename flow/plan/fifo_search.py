# SPDX-License-Identifier: Apache-2.0
"""The cheapest depths of streams with which a design keeps its pace.

What a FIFO takes grows in steps: registers for two words, one more row of shift registers, one more block RAM. Only
the deepest FIFO of each price is worth a look. From depths that suffice, one stream after the other, the one on
which most can be saved first, takes the cheapest depth with which the pace is still proved; deeper streams never
slow a design (each free place more only lets a step come earlier), so that a bisection finds it. In the end no
single stream can be made cheaper: what failed for one while others were deeper fails again now that they are less
deep. That other combinations are no cheaper is not claimed.
"""

from collections.abc import Callable, Sequence

from flow.plan.cost_coefficients import coefficients
from flow.plan.cost_memory import fifo
from flow.plan.fifo import LEAST_DEPTH

_BLOCK_WORDS = 512
"""The fewest words of a block RAM: each price ends at a multiple of this, or of the words of a shift register."""


def price(depth: int, width: int) -> float:
    """What a FIFO takes, in LUTs; a block RAM counts as the LUTs for which the cost model exchanges it."""
    found = fifo(depth, width)
    return found.lut + coefficients().luts_per_bram18 * found.bram18


def worthwhile(sufficient: int, width: int) -> list[int]:
    """Of each price the deepest FIFO, none dearer than one of ``sufficient`` words; the dearest first."""
    end = -(-sufficient // _BLOCK_WORDS) * _BLOCK_WORDS
    row = int(coefficients().srl_words)
    limit = price(sufficient, width)
    found: list[int] = []
    for depth in sorted({LEAST_DEPTH, sufficient, *range(row, end + 1, row)}, reverse=True):
        here = price(depth, width)
        if here <= limit and (not found or here < price(found[-1], width)):
            found.append(depth)
    return found


def cheapest(
    options: Sequence[Sequence[int]],
    widths: Sequence[int],
    holds: Callable[[Sequence[int]], bool],
    going_on: Callable[[], bool] = lambda: True,
) -> tuple[list[int], list[bool]]:
    """The cheapest depths found.

    Args:
        options: For each stream the depths it may have, the deepest and dearest first; with the first of all
            streams the pace is kept.
        widths: Bits of a word of each stream.
        holds: Whether the pace is proved to be kept with these depths.
        going_on: Whether there is time for another stream.

    Returns:
        The depths, and for each stream whether it is known that none of its cheaper depths will do.
    """
    found = [depths[0] for depths in options]
    settled = [len(depths) == 1 for depths in options]
    saved = [price(o[0], w) - price(o[-1], w) for o, w in zip(options, widths, strict=True)]
    for stream in sorted(range(len(found)), key=lambda s: (-saved[s], s)):
        if not going_on():
            break
        depths = options[stream]
        good, bad = 0, len(depths)
        tried = bad - 1  # most streams can do with the shallowest, or with little less than they have
        while bad - good > 1:
            if holds([*found[:stream], depths[tried], *found[stream + 1 :]]):
                good = tried
            else:
                bad = tried
            tried = (good + bad) // 2
        found[stream] = depths[good]
        settled[stream] = True
    return found, settled
