# SPDX-License-Identifier: Apache-2.0
"""The designs of a network as a mixed-integer linear program.

Columns: 0 or 1 for every choice of a node, of which one is 1; a share for every pair of widths of two joined nodes,
where the pairs with a width are taken as often as the choices with it (so that they are 0 or 1, too); where the
latency matters, two times for every node; and the largest share of the budget that is used.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.ir.types import Ints, Reals
from flow.plan.choices import IMPOSSIBLE, Edge, Space
from flow.plan.latency import Delays, hop, node_delays, port_delays
from flow.plan.resources import Resources

Objective: TypeAlias = Sequence[float] | Literal["share", "latency"]
"""What shall be least: a price for each resource, the largest share of the budget that is used, or the latency."""


@dataclass(frozen=True, slots=True)
class _Row:
    """``low`` <= sum of values times columns <= ``high``."""

    columns: Ints
    values: Ints
    low: float
    high: float


class Program:
    """The program; rows are added by its methods.

    Args:
        space: All designs.
        kept: The choices of each node that take part.
        interval: The most cycles of a frame; gearboxes that take more are left out.
    """

    def __init__(self, space: Space, kept: Sequence[Ints], interval: int) -> None:
        self.space, self.kept = space, kept
        self.starts = np.concatenate([[0], np.cumsum([len(places) for places in kept])]).tolist()
        self.columns = self.choices = self.starts[-1]
        self.rows: list[_Row] = []
        self.pairs: list[Ints] = []  # the columns of each edge
        self.boxes: list[NDArray[np.bool_]] = []  # which of them have a gearbox
        amounts = [node.amounts[places] for node, places in zip(space.nodes, kept, strict=True)]
        for number in range(len(space.nodes)):
            self._add_row(self._choices(number), 1, 1, 1)
        for edge in space.edges:
            amounts.append(self._add_edge(edge, interval))
        self.amounts = np.concatenate(amounts)
        self._add_readers()
        self.share = self.end = self.columns  # without times there is no end
        self.columns += 1

    def chosen(self, x: Reals) -> tuple[int, ...]:
        """The choice of each node in a solution."""
        return tuple(
            int(places[np.argmax(x[start : start + len(places)])])
            for start, places in zip(self.starts, self.kept, strict=False)
        )

    def _choices(self, node: int) -> Ints:
        return np.arange(self.starts[node], self.starts[node + 1])

    def _add_row(self, columns: Ints, values: Ints | int, low: float, high: float) -> None:
        self.rows.append(_Row(columns, np.broadcast_to(np.asarray(values, np.int64), columns.shape), low, high))

    def _add_edge(self, edge: Edge, interval: int) -> Ints:
        """The columns of its pairs, and a row for each width; what the pairs take."""
        given = self.space.nodes[edge.producer].given[self.kept[edge.producer]]
        taken = self.space.nodes[edge.consumer].taken[self.kept[edge.consumer]]
        possible = (edge.cycles <= interval) & (edge.amounts[:, :, 0] < IMPOSSIBLE)
        possible &= np.isin(edge.given, given)[:, None] & np.isin(edge.taken, taken)
        a, b = np.nonzero(possible)
        pairs = self.columns + np.arange(len(a))
        self.columns += len(a)
        self.pairs.append(pairs)
        self.boxes.append(edge.cycles[a, b] > 0)
        for node, widths, present in ((edge.producer, edge.given[a], given), (edge.consumer, edge.taken[b], taken)):
            for width in np.unique(present):
                chosen, with_it = self._choices(node)[present == width], pairs[widths == width]
                signs = np.repeat([1, -1], [len(chosen), len(with_it)])
                self._add_row(np.concatenate([chosen, with_it]), signs, 0, 0)
        return edge.amounts[a, b]

    def _add_readers(self) -> None:
        """The words of an input with several readers are as wide as those that one of them takes."""
        if not self.space.readers:
            return
        for column, choice in zip(self._choices(0).tolist(), self.kept[0], strict=True):
            width = self.space.nodes[0].given[choice]
            with_it = [self._choices(r)[self.space.nodes[r].taken[self.kept[r]] == width] for r in self.space.readers]
            columns = np.concatenate([*with_it, [column]])
            self._add_row(columns, np.repeat([1, -1], [len(columns) - 1, 1]), 0, np.inf)

    def add_budget(self, budget: Resources, *, exceed: bool) -> None:
        """What may be used of each resource; with ``exceed`` so many times as the largest share says."""
        for number, (_, limit) in enumerate(budget.items()):
            used = np.flatnonzero(self.amounts[:, number])
            values, fixed = self.amounts[used, number], int(self.space.fixed[number])
            if exceed:
                # of what must not be used at all, one piece is a whole budget too many
                self._add_row(np.append(used, self.share), np.append(values, -max(limit, 1)), -np.inf, -fixed)
            elif len(used):
                self._add_row(used, values, -np.inf, limit - fixed)

    def add_latency(self, latency: int) -> None:
        """The first and the last word of every node are there no earlier than those before them allow."""
        nodes, source, sink = self.space.nodes, self.space.source, self.space.sink
        first = self.columns + 2 * np.arange(len(nodes))
        last = first + 1
        self.columns += 2 * len(nodes)
        entry = port_delays(source.values, nodes[0].taken[self.kept[0]], nodes[0].given[self.kept[0]])
        assert entry.fill is not None
        assert entry.drain is not None
        self._add_wait(first[:1], [], entry.fill, 0, 0)
        self._add_wait(last[:1], [], entry.drain, 0, source.words - 1)
        for edge, pairs, boxes in zip(self.space.edges, self.pairs, self.boxes, strict=True):
            producer, consumer = edge.producer, edge.consumer
            fixed = hop() if nodes[producer].forked else 0
            delays: Delays | None
            if nodes[consumer].layer is None:
                given = nodes[producer].given[self.kept[producer]]
                delays, chooser, between = port_delays(sink.values, given, given * 0 + sink.lanes), producer, pairs[:0]
            else:
                delays = node_delays(nodes[consumer], self.kept[consumer], edge.operand)
                chooser, between = consumer, pairs[boxes]
            if delays is None:
                continue
            for later, earlier, wait in (
                (first, first, delays.fill),
                (last, first, delays.whole),
                (last, last, delays.drain),
            ):
                if wait is None:
                    continue
                self._add_wait(later[[consumer]], earlier[[producer]], wait, chooser, fixed, between)
        self._add_row(last[-1:], 1, 0, latency)
        self.end = int(last[-1])

    def _add_wait(
        self, later: Ints, earlier: Ints | list[int], delays: Ints, chooser: int, fixed: int, boxes: Ints | None = None
    ) -> None:
        """A time is at least an earlier one, a number, what a node's choice adds, and the gearbox between them."""
        boxes = boxes if boxes is not None else np.zeros(0, np.int64)
        columns = np.concatenate([later, earlier, self._choices(chooser), boxes]).astype(np.int64)
        values = np.concatenate([[1], [-1] * len(earlier), -delays, [-hop()] * len(boxes)]).astype(np.int64)
        self._add_row(columns, values, fixed, np.inf)

    def minimise(self, objective: Objective, seconds: float, gap: float) -> Any:
        """HiGHS's answer (``scipy.optimize.OptimizeResult``); what is fixed in every design is not in its objective."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        prices, upper = np.zeros(self.columns), np.full(self.columns, np.inf)
        upper[: len(self.amounts)] = 1
        if objective == "share":
            prices[self.share] = 1
        elif objective == "latency":
            prices[self.end] = 1
        else:
            prices[: len(self.amounts)] = self.amounts @ np.array(objective, np.float64)
        whole = np.arange(self.columns) < self.choices
        numbers = np.repeat(np.arange(len(self.rows)), [len(row.columns) for row in self.rows])
        columns = np.concatenate([row.columns for row in self.rows])
        values = np.concatenate([row.values for row in self.rows]).astype(np.float64)
        matrix = coo_array((values, (numbers, columns)), shape=(len(self.rows), self.columns)).tocsr()
        with _silent():
            return milp(
                prices,
                integrality=whole.astype(np.int64),
                bounds=Bounds(0, upper),
                constraints=LinearConstraint(matrix, [row.low for row in self.rows], [row.high for row in self.rows]),
                options={"mip_rel_gap": gap, "time_limit": seconds},
            )


@contextmanager
def _silent() -> Iterator[None]:
    """Standard output goes nowhere: HiGHS prints a line of debugging now and then, past Python, into JSON."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C has not written yet goes there, too
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
