# SPDX-License-Identifier: Apache-2.0
"""How long networks of many layers take to plan, in processor time: chains of matrix products on a large board.

Usage: python benchmarks/plan_time.py [LAYERS ...]
"""

import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from flow.ir.dataflow import Dense, Source, Step
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.folding import fold
from flow.plan.goals import Goals, cost, share_of_board
from flow.plan.layers import Layer, layers_of
from flow.plan.options import layer_options

BOARD = "u250"
WIDTHS = (48, 64, 96, 128, 72)  # inputs and outputs of one layer after the other, again and again
FPS = 50_000


def network(count: int) -> tuple[Layer, ...]:
    """So many matrix products of 4 bits, each with 15 thresholds."""
    rng, one, u4 = np.random.default_rng(0), np.ones(1, np.int64), IntType(4, signed=False)
    nodes: list[Source | Dense | Step] = [Source("x", (WIDTHS[0],), u4, 0 * one, 15 * one)]
    for number in range(count):
        inputs, outputs = WIDTHS[number % len(WIDTHS)], WIDTHS[(number + 1) % len(WIDTHS)]
        weight = rng.integers(-8, 8, (inputs, outputs))
        nodes.append(Dense(f"p{number}", nodes[-1].name, weight, IntType(16, signed=True)))
        levels = np.sort(rng.choice(2000, 15, replace=False))[None]
        nodes.append(Step(f"h{number}", f"p{number}", levels, 0 * one, one, -30000 * one, 30000 * one, u4))
    return layers_of(Graph(tuple(nodes), (nodes[-1].name,)))


def main() -> int:
    board = boards.load(BOARD)
    table = Table(title=f"{board.title}, {board.clock.default_mhz:g} MHz", title_justify="left")
    for title in ("layers", "choices", "goal", "s", "frames/s", "cost", "proved"):
        table.add_column(title, justify="right")
    for count in [int(text) for text in sys.argv[1:]] or [10, 30, 100]:
        layers = network(count)
        choices = sum(len(layer_options(layer, board)) for layer in layers)
        for goal, goals in (("fastest", Goals()), (f"{FPS:,} frames/s", Goals(target_fps=FPS))):
            start = time.process_time()
            found = fold(layers, board, board.clock.default_mhz, goals)
            seconds = time.process_time() - start
            interval = build_design(layers, found.plan, board.axis_bits).interval
            rate = board.clock.default_mhz * 1e6 / interval
            share = share_of_board(cost(found.resources, board))
            row = (f"{choices:,}", goal, f"{seconds:.1f}", f"{rate:,.0f}", f"{share:.3f}", found.optimality)
            table.add_row(str(count), *row)
    Console(width=150).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
