# SPDX-License-Identifier: Apache-2.0
"""Which choices of a layer no design needs: another one does not take more, whatever stands next to it."""

from collections.abc import Sequence

import numpy as np

from flow.ir.types import Ints
from flow.plan.choices import IMPOSSIBLE, Edge, Node, Space


def needed(space: Space, kept: Sequence[Ints], interval: int) -> list[Ints]:
    """The choices without those that another one replaces in any design that is fast enough."""
    entering: list[list[Edge]] = [[] for _ in space.nodes]
    leaving: list[list[Edge]] = [[] for _ in space.nodes]
    for edge in space.edges:
        leaving[edge.producer].append(edge)
        entering[edge.consumer].append(edge)
    found = []
    for number, (node, places) in enumerate(zip(space.nodes, kept, strict=True)):
        if node.layer is None:
            found.append(places)
            continue
        changes = []
        for edge in leaving[number]:
            others = _widths(space.nodes[edge.consumer].taken[kept[edge.consumer]], edge.taken)
            changes.append(
                (_dearer(edge.amounts, edge.cycles, others, interval), np.searchsorted(edge.given, node.given))
            )
        for edge in entering[number]:
            others = _widths(space.nodes[edge.producer].given[kept[edge.producer]], edge.given)
            if number in space.readers and edge.producer == 0:
                alone = np.full((len(edge.taken), len(edge.taken), edge.amounts.shape[2]), IMPOSSIBLE)
                alone[np.arange(len(edge.taken)), np.arange(len(edge.taken))] = 0
                changes.append((alone, np.searchsorted(edge.taken, node.taken)))
                continue
            turned = _dearer(edge.amounts.swapaxes(0, 1), edge.cycles.T, others, interval)
            changes.append((turned, np.searchsorted(edge.taken, node.taken)))
        found.append(_undominated(node, places, changes))
    return found


def _widths(present: Ints, widths: Ints) -> Ints:
    return np.searchsorted(widths, np.unique(present))


def _dearer(amounts: Ints, cycles: Ints, others: Ints, interval: int) -> Ints:
    """(widths, widths, resources): what it takes at most, whatever width the neighbour has, if the first width stands
    in the place of the second.
    """
    taken = np.where((cycles > interval)[:, :, None], IMPOSSIBLE, amounts)[:, others]
    return np.asarray((taken[:, None] - taken[None]).max(2), np.int64)


def _undominated(node: Node, places: Ints, changes: Sequence[tuple[Ints, Ints]]) -> Ints:
    amounts = node.amounts[places]
    alive = np.ones(len(places), bool)
    for one in np.argsort(amounts.sum(1), kind="stable"):
        if not alive[one]:
            continue
        beaten = amounts[one] - amounts
        for dearer, widths in changes:
            beaten = beaten + dearer[widths[places[one]], widths[places]]
        beats = (beaten <= 0).all(1)
        beats[one] = False
        alive &= ~beats
    return places[alive]
