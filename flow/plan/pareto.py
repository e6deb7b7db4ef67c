# SPDX-License-Identifier: Apache-2.0
"""The trade-off between frame rate and resources."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow.plan.board import Board
from flow.plan.goals import Goals, share_of_board
from flow.plan.infeasible import infeasible
from flow.plan.layers import Layer
from flow.plan.plan import Plan
from flow.plan.resources import Resources
from flow.plan.search import Found, Limits, Search

_RATES = 20  # frame rates that are looked at, from the fastest to the slowest design, in equal ratios


@dataclass(frozen=True, slots=True)
class Point:
    """The cheapest design that was found for its frame rate.

    Attributes:
        plan: The decisions.
        interval: Cycles from frame to frame.
        fps: Frames a second.
        resources: What it takes.
        cost: The sum of its shares of the board.
        least: What every design that is so fast costs at least; the same where it is proved to be optimal.
    """

    plan: Plan
    interval: int
    fps: float
    resources: Resources
    cost: float
    least: float

    @property
    def optimal(self) -> bool:
        """Whether it is proved that no design so fast costs less."""
        return self.cost == self.least


def pareto(layers: tuple[Layer, ...], board: Board, clock_mhz: float, goals: Goals | None = None) -> tuple[Point, ...]:
    """Designs of which none is faster and cheaper than another, the fastest first.

    Args:
        layers: The network.
        board: Where it shall run.
        clock_mhz: At which clock.
        goals: Limits that all of them meet; None for 70 % of the board.

    Raises:
        InfeasibleError: No design meets the limits.
    """
    goals = goals if goals is not None else Goals()
    search = Search(layers, board, clock_mhz, goals.seconds)
    budget, latency, asked = goals.budget(board), goals.latency(clock_mhz), goals.interval(clock_mhz)
    slowest = asked if asked is not None else search.intervals[-1]
    fastest = search.fastest(latency, budget)[0]
    if fastest.best is None or fastest.best.interval > slowest:
        raise infeasible(search, goals)
    points = [_point(fastest, clock_mhz)]
    for interval in np.geomspace(fastest.best.interval, slowest, _RATES).astype(np.int64).tolist()[1:]:
        found = search.cheapest(Limits(interval, latency, budget))
        if found.best is not None:
            points.append(_point(found, clock_mhz))
    return tuple(one for number, one in enumerate(points) if not _beaten(one, points[:number], points[number + 1 :]))


def _beaten(one: Point, faster: Sequence[Point], slower: Sequence[Point]) -> bool:
    """Whether another point makes it useless; of equal ones the first stays."""
    return any(other.cost <= one.cost for other in faster) or any(
        other.interval <= one.interval and other.cost < one.cost for other in slower
    )


def _point(found: Found, clock_mhz: float) -> Point:
    best = found.best
    assert best is not None
    assert found.bound is not None
    return Point(
        plan=best.design.plan,
        interval=best.interval,
        fps=clock_mhz * 1e6 / best.interval,
        resources=best.total,
        cost=share_of_board(best.cost),
        least=share_of_board(found.bound),
    )
