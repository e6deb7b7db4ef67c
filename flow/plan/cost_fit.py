# SPDX-License-Identifier: Apache-2.0
"""Fits coefficients to measured blocks, and measures how far estimates are off.

The cost model is linear in its coefficients, so a fit needs of each measured block only how much each coefficient
counts in it (its features), and what is known without one (its offset).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flow.plan.cost_coefficients import Coefficients

Floats = NDArray[np.float64]
Pairs = Sequence[tuple[float, float]]
"""(estimate, truth) of several blocks."""

PULL = 0.45
"""Weight of a deviation from the prior by a factor of e, in the same unit as a block's log error."""
SOFT = 0.2
"""Log error beyond which the loss grows linearly."""
_LARGE = 1e7  # so large that rounding up to whole LUTs does not matter


def features(
    prices: Sequence[Callable[[Coefficients], float]], names: Sequence[str], base: Coefficients
) -> tuple[Floats, Floats]:
    """What the model's own code makes of each coefficient, the others of ``names`` being 0.

    Args:
        prices: Of each block one resource.
        names: Coefficients.
        base: The values of the others.

    Returns:
        What of each block is known without them, and how much each counts in it: blocks x names.
    """
    base = replace(base, **dict.fromkeys(names, 0.0))
    offset = np.array([price(base) for price in prices], float)
    columns = [np.array([price(replace(base, **{name: _LARGE})) for price in prices]) for name in names]
    return offset, (np.stack(columns, 1) - offset[:, None]) / _LARGE


def positive_fit(features: Floats, offset: Floats, truth: Floats, prior: Floats, weight: Floats) -> Floats:
    """Positive coefficients for which the log ratio of estimate and truth is small (soft L1).

    Args:
        features: How much each coefficient counts in each block: blocks x coefficients.
        offset: What of each block is known without a coefficient.
        truth: What was measured, above 0.
        prior: What each coefficient is where the blocks do not decide, above 0; they pull weakly (``PULL``).
        weight: How much each block counts.
    """
    from scipy.optimize import least_squares

    root = np.sqrt(weight * len(weight) / weight.sum())
    start = np.log(prior)

    def residuals(logs: Floats) -> Floats:
        error = np.log(features @ np.exp(logs) + offset) - np.log(truth)
        soft = SOFT * np.sqrt(2 * (np.sqrt(1 + (error / SOFT) ** 2) - 1))
        return np.concatenate([root * soft, PULL * (logs - start)])

    found: Floats = np.exp(least_squares(residuals, start).x)
    return found


def line_fit(features: Floats, truth: Floats) -> Floats:
    """Coefficients of at least 0 that make the relative error of a sum of terms small (soft L1), without a prior."""
    from scipy.optimize import least_squares

    found: Floats = least_squares(
        lambda x: (features @ x - truth) / truth,
        np.ones(features.shape[1]),
        bounds=(0, np.inf),
        loss="soft_l1",
        f_scale=SOFT,
    ).x
    return found


def smape(pairs: Pairs) -> float:
    """Symmetric mean absolute percentage error: the mean of ``2 |e - t| / (e + t)``, in percent; 0 where both are."""
    return float(100 * np.mean([2 * abs(e - t) / (e + t) if e + t else 0.0 for e, t in pairs]))


def ratio(pairs: Pairs) -> float:
    """Median of estimate / truth."""
    return float(np.median([e / t for e, t in pairs]))


def within(pairs: Pairs, distance: float) -> float:
    """Percent of the estimates that are at most ``distance`` off."""
    return float(100 * np.mean([abs(e - t) <= distance for e, t in pairs]))


def factor(pairs: Pairs, groups: Sequence[str], share: float) -> float:
    """The least factor within which ``share`` of the estimates lie, up or down.

    Up and down alike: one author's designs lie all above their estimates or all below, and nothing tells on which
    side the next author's will. Every group (an author's designs) weighs the same.
    """
    counts = {group: groups.count(group) for group in groups}
    weight = np.array([1 / counts[group] for group in groups]) / len(counts)
    away = np.array([max(e / t, t / e) for e, t in pairs])
    order = np.argsort(away)
    reached = np.searchsorted(np.cumsum(weight[order]), share - 1e-9)  # but for the rounding of the weights
    return float(away[order][reached])
