# SPDX-License-Identifier: Apache-2.0
"""Greedy descent: the layer that loses least for the bits that it saves goes first."""

from flow.quant.methods.search import Problem, Search, Widths


class Greedy(Search):
    """From the highest widths down, one layer at a time, until none can go lower or the budget is met.

    A round scores each layer's next lower width, and keeps the one that loses least score for each bit saved.
    """

    def search(self, problem: Problem) -> None:
        """Goes down; the best on the way wins."""
        present = problem.highest
        while lower := _lower(problem, present):
            if problem.budget is not None and problem.fits(present):
                return
            at, bits = problem.score(present), problem.bits(present)
            present = min(lower, key=lambda w: (at - problem.score(w)) / (bits - problem.bits(w)))


def _lower(problem: Problem, present: Widths) -> list[Widths]:
    """Each layer at its next lower choice."""
    found = []
    for place, bits in enumerate(present):
        rank = problem.choices.index(bits)
        if rank:
            found.append((*present[:place], problem.choices[rank - 1], *present[place + 1 :]))
    return found
