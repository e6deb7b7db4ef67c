# SPDX-License-Identifier: Apache-2.0
"""The best of all designs under limits, by a mixed-integer linear program and HiGHS (through scipy).

Where no budget binds, the program of a chain is a shortest path, which its linear relaxation solves; what branching
is left comes from the budgets, of which there are at most as many as resources. HiGHS computes in floating point
with tolerances far below one LUT; the design that it returns is added up again in whole numbers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from flow.plan.choices import Space
from flow.plan.latency import iterations
from flow.plan.program import Objective, Program
from flow.plan.pruning import needed
from flow.plan.resources import Resources

_EXACT_SHARE = 1 / 20
"""Of the solver's time: so long it looks for the very best; after that a design proved to be as close as ``_CLOSE``
will do."""
_CLOSE = 0.005  # far below the error of any estimate
_TOLERANCE = 1e-7  # relative: what may be off in a bound of HiGHS that no design attains
_OPTIMAL, _STOPPED, _INFEASIBLE = 0, 1, 2  # status of scipy.optimize.milp


class Clock:
    """Counts down the time that the solver may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the solver found.

    Attributes:
        chosen: The choice of each node; None where none was found.
        bound: What no design falls below, in the units of the objective; None where it is proved that there is no
            design.
        optimal: Whether ``chosen`` attains the bound.
    """

    chosen: tuple[int, ...] | None
    bound: float | None
    optimal: bool

    @property
    def infeasible(self) -> bool:
        """Whether it is proved that there is no such design."""
        return self.bound is None


def solve(
    space: Space,
    clock: Clock,
    *,
    interval: int,
    latency: int | None,
    budget: Resources | None,
    objective: Objective,
    first: bool = False,
) -> Outcome:
    """The design with the least objective.

    Args:
        space: All designs.
        clock: How long it may take.
        interval: The most cycles of a frame.
        latency: The most cycles from the first word in to the last word out; None for any number. It is a
            relaxation: what meets it in the program may take longer, but nothing else meets it.
        budget: What may be used; None for any amount. With the objective ``share`` it may be exceeded.
        objective: What shall be least; the ``latency`` only where it is limited.
        first: Whether any design will do, found in a third of the time that is left.
    """
    kept = [np.flatnonzero(node.cycles <= interval) for node in space.nodes]
    if latency is not None:
        kept = [places[iterations(n)[places] <= latency] for n, places in zip(space.nodes, kept, strict=True)]
    if not all(len(places) for places in kept):
        return Outcome(None, None, False)
    if clock.left <= 0:
        return Outcome(None, 0, False)
    if latency is None:
        kept = needed(space, kept, interval)
    program = Program(space, kept, interval)
    if latency is not None:
        program.add_latency(latency)
    if budget is not None:
        program.add_budget(budget, exceed=objective == "share")
    prices, unit = _scaled(objective)
    found, exact = _minimised(program, prices, clock, first)
    if found.status == _INFEASIBLE:
        return Outcome(None, None, False)
    if found.status not in (_OPTIMAL, _STOPPED):
        raise RuntimeError(f"HiGHS: {found.message}")
    chosen = program.chosen(found.x) if found.x is not None else None
    optimal = found.status == _OPTIMAL and exact
    bound = max(float(found.mip_dual_bound or 0.0), 0.0) * unit * (1 - _TOLERANCE)
    if isinstance(objective, str):
        return Outcome(chosen, bound, optimal)
    if optimal and chosen is not None:
        return Outcome(chosen, _priced(objective, space.total(chosen)), True)
    return Outcome(chosen, ceil(bound + _priced(objective, Resources(*map(int, space.fixed)))), False)


def _minimised(program: Program, prices: Objective, clock: Clock, first: bool) -> tuple[Any, bool]:
    """HiGHS's answer, and whether it was asked for the very best."""

    def seconds(most: float) -> float:  # it needs a moment to look at the program at all
        return max(min(most, clock.left), 0.1)

    if first:
        return program.minimise(prices, seconds(clock.left / 3), gap=1.0), False
    found = program.minimise(prices, seconds(clock.seconds * _EXACT_SHARE), gap=0.0)
    if found.status != _STOPPED or clock.left <= 0 or (found.x is not None and found.mip_gap <= _CLOSE):
        return found, True
    return program.minimise(prices, seconds(clock.left), gap=_CLOSE), False


def _scaled(objective: Objective) -> tuple[Objective, float]:
    """Prices as numbers from one upwards, so that what HiGHS takes for equal (1e-6) is less than any resource; and
    what one stands for.
    """
    if isinstance(objective, str):
        return objective, 1.0
    unit = min(price for price in objective if price)
    return [price / unit for price in objective], unit


def _priced(prices: Sequence[float], amounts: Resources) -> float:
    return sum(price * amount for price, (_, amount) in zip(prices, amounts.items(), strict=True))
