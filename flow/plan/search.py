# SPDX-License-Identifier: Apache-2.0
"""The best design for goals: the solver finds it, and it is laid out.

All that a design takes is a sum over its layers and what joins them, so that the solver sees it whole
(``flow.plan.choices``). Its latency is not: the solver has a bound, and a design that is over the limit is replaced by
the best with so much less of it, until one is within; how far that may be from the best is known.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flow.plan.board import Board
from flow.plan.choices import Space, space
from flow.plan.design import Design, build_design
from flow.plan.estimate import design_resources
from flow.plan.goals import cost, prices
from flow.plan.layers import Layer
from flow.plan.options import Option, layer_options
from flow.plan.plan import Plan
from flow.plan.program import Objective
from flow.plan.resources import Resources
from flow.plan.solver import Clock, Outcome, solve
from flow.plan.timing import frame_latency

_PROPOSALS = 6


@dataclass(frozen=True)
class Candidate:
    """A design that was laid out, with its true figures."""

    design: Design
    total: Resources
    cost: int

    @property
    def interval(self) -> int:
        """Cycles from frame to frame."""
        return self.design.interval

    @cached_property
    def latency(self) -> int:
        """Cycles from the first word in to the last word out."""
        return frame_latency(self.design)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the designs that meet some limits.

    Attributes:
        best: The cheapest that was found; None where none was.
        bound: What every such design costs at least; None where it is proved that there is none.
    """

    best: Candidate | None
    bound: int | None

    @property
    def optimal(self) -> bool:
        return self.best is not None and self.best.cost == self.bound


@dataclass(frozen=True, slots=True)
class Limits:
    """What a design must meet: cycles from frame to frame, cycles of latency (None for any), resources."""

    interval: int
    latency: int | None
    budget: Resources | None


class Search:
    """All designs of a network for a board, and the solver's time for them."""

    def __init__(
        self,
        layers: tuple[Layer, ...],
        board: Board,
        clock_mhz: float,
        seconds: float,
        options: Mapping[str, Sequence[Option]] | None = None,
    ) -> None:
        self.layers = layers
        self.board = board
        self.clock_mhz = clock_mhz
        self.clock = Clock(seconds)
        self.options = options if options is not None else {x.name: layer_options(x, board) for x in layers}

    @cached_property
    def space(self) -> Space:
        """All designs."""
        return space(self.layers, self.options, self.board)

    @cached_property
    def intervals(self) -> list[int]:
        """What can be the cycles from frame to frame."""
        return self.space.intervals

    def solve(self, limits: Limits, objective: Objective, *, first: bool = False) -> Outcome:
        """The least of something that any design with these limits takes."""
        return solve(
            self.space,
            self.clock,
            interval=limits.interval,
            latency=limits.latency,
            budget=limits.budget,
            objective=objective,
            first=first,
        )

    def candidate(self, chosen: Sequence[int]) -> Candidate:
        """The design with these choices, laid out."""
        plan = Plan(self.board.name, self.clock_mhz, self.space.plans(chosen))
        design = build_design(self.layers, plan, self.board.axis_bits)
        total = design_resources(design, self.board).total
        return Candidate(design, total, cost(total, self.board))

    def cheapest(self, limits: Limits) -> Found:
        """The design that costs least."""
        price = prices(self.board)
        outcome = self.solve(limits, price)
        if outcome.infeasible:
            return Found(None, None)
        assert outcome.bound is not None
        bound = int(outcome.bound)
        tightened = limits
        for _ in range(_PROPOSALS):
            if outcome.chosen is None:
                break
            found = self.candidate(outcome.chosen)
            if self.meets(found, limits):
                return Found(found, bound)
            tightened = _tightened(tightened, limits, found)
            outcome = self.solve(tightened, price)
        return Found(None, bound)

    def meets(self, candidate: Candidate, limits: Limits) -> bool:
        """Whether a design keeps the limits."""
        return (
            candidate.interval <= limits.interval
            and (limits.budget is None or candidate.total.fits(limits.budget))
            and (limits.latency is None or candidate.latency <= limits.latency)
        )

    def least_interval(self, latency: int | None, budget: Resources | None) -> tuple[int, int]:
        """The places of two of the intervals: of that which no design falls below, and the least for which there is
        one; both are behind the last where there is none. They differ only where the time was too short.
        """
        count = len(self.intervals)
        proved = low = self._hopeless(budget)
        high, step = count, 1
        while low < high:
            # the less time a frame has, the fewer the choices: look at short intervals first, then between two
            middle = min(low + step - 1, high - 1) if high == count else (low + high) // 2
            outcome = self.solve(Limits(self.intervals[middle], latency, budget), prices(self.board), first=True)
            if outcome.chosen is not None:
                high = middle
            else:
                low, step = middle + 1, 2 * step
                proved = low if outcome.infeasible else proved
        return proved, low

    def _hopeless(self, budget: Resources | None) -> int:
        """How many of the intervals are too short even if every layer takes the least of each resource."""
        if budget is None:
            return 0
        limit = np.array(budget.amounts, np.int64) - self.space.fixed
        return bisect_left(self.intervals, True, key=lambda cycles: bool((self.space.least(cycles) <= limit).all()))

    def fastest(self, latency: int | None, budget: Resources) -> tuple[Found, int | None]:
        """The cheapest of the fastest designs, and the interval that no design falls below (None: there is none)."""
        proved, place = self.least_interval(latency, budget)
        if proved == len(self.intervals):
            return Found(None, None), None
        least = self.intervals[proved]
        place = min(place, len(self.intervals) - 1)
        found = self.cheapest(Limits(self.intervals[place], latency, budget))
        if found.best is not None:
            return found, least
        # the latency was out of reach, or the time too short: somewhat slower designs may do
        slower = self.intervals[place + 1 :]
        low, high = 0, len(slower)
        while low < high:
            middle = (low + high) // 2
            there = self.cheapest(Limits(slower[middle], latency, budget))
            if there.best is None:
                low = middle + 1
            else:
                found, high = there, middle
        return found, least


def _tightened(limits: Limits, wished: Limits, found: Candidate) -> Limits:
    """Limits with so much less room as a design was over those that are wished for.

    Over the latency, as the solver has a bound of it; over a resource by a piece at most, as HiGHS reckons in floating
    point.
    """
    budget, latency = limits.budget, limits.latency
    if budget is not None and wished.budget is not None:
        budget = budget.over(found.total.over(wished.budget))
    if latency is not None and wished.latency is not None:
        latency = max(latency - max(found.latency - wished.latency, 0), 1)
    return replace(limits, budget=budget, latency=latency)
