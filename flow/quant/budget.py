# SPDX-License-Identifier: Apache-2.0
"""A budget for learned widths: a penalty in the loss, whose weight is driven until the network costs what it may.

    budget = Budget(board="pynq-z2", fps=10_000, lut=0.6)
    budget.prepare(method, x[:64])          # after method.prepare
    ...
        (task_loss(model(x), y) + method.loss() + budget.loss()).backward()
        optimiser.step()
        method.on_step(step)
        budget.on_step(step)
    ...
    budget.check()                          # after method.finalize

Widths count as whole, as they would be built. While they exceed the budget, the penalty is a weight times the share
that they use of what the budget leaves above the least widths (the greatest share, where several limits are given),
and the weight grows; within the budget there is no penalty, so that widths settle at its edge. It is a hinge with a
multiplier that follows the constraint. In the second half of a training the weight grows at full speed and does not
shrink, so that widths that are frozen then are frozen within the budget.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flow.api.plan import checked_clock, plan
from flow.errors import InfeasibleError, OptionError, TrainingError
from flow.plan import board as boards
from flow.plan.goals import Goals
from flow.quant import cost
from flow.quant.cost import Use, Widths
from flow.quant.cost_board import LEAST_BITS, NAMES, BoardTable, board_table, compiled
from flow.quant.methods.base import Method

AIM = 0.97
"""The share of the room on a board that is aimed at: weights move on after they were priced, and sums with them."""
_START = 1e-2  # the weight of the penalty, beside a task's loss of about 1
_MOST = 1e4  # no width that learns withstands it
_GAIN = 60.0  # how much the logarithm of the weight would grow in a training at twice the budget
_RELIEF = 0.1  # how fast it shrinks within the budget, as a share of that
_ROOM = 1e-3  # of a limit that the least widths all but reach, the share that counts as left
_RATCHET = 0.5  # the share of the training from which on the weight only grows
_SOLVER_SECONDS = 10.0  # the planner's time: within it, it proves plans of small networks to be the best


class Budget:
    """What a network may cost; every limit that is given holds.

    Args:
        board: The name of a board, or a board file; None where no resources are limited.
        fps: Frames a second that the design shall reach at least.
        clock: In MHz; None for the board's default.
        lut: The share of the board's LUTs that may be used, above 0 and up to 1; of what is not given, all.
        ff: The same of its flip-flops.
        dsp: The same of its DSP slices.
        bram18: The same of its block RAMs.
        weight_bits: Of all weights.
        average_bits: Of a weight.
        bit_operations: For every product of a frame the width of the weight times that of the activation, summed.
        effective_bit_operations: The same, of a weight only the bits from the highest to the lowest that is set.
        plans: How many times during the training the planner prices the widths, with the weights of that moment.
    """

    def __init__(
        self,
        board: str | None = None,
        fps: float | None = None,
        clock: float | None = None,
        lut: float | None = None,
        ff: float | None = None,
        dsp: float | None = None,
        bram18: float | None = None,
        weight_bits: float | None = None,
        average_bits: float | None = None,
        bit_operations: float | None = None,
        effective_bit_operations: float | None = None,
        plans: int = 4,
    ) -> None:
        shares = {"lut": lut, "ff": ff, "dsp": dsp, "bram18": bram18}
        of_board = {name: share for name, share in shares.items() if share is not None}
        counts = {
            "weight_bits": weight_bits,
            "average_bits": average_bits,
            "bit_operations": bit_operations,
            "effective_bit_operations": effective_bit_operations,
        }
        self.counts = {name: limit for name, limit in counts.items() if limit is not None}
        for name, share in of_board.items():
            if not 0 < share <= 1:
                raise OptionError(f"the budget allows {share:g} of the {name}", "give a share above 0 and up to 1")
        for name, limit in self.counts.items():
            if not limit > 0:
                raise OptionError(f"the budget allows {limit:g} {name}", "give a positive number")
        if plans < 1:
            raise OptionError(f"plans = {plans}", "the planner is asked once or more")
        if (board is None) != (fps is None) or (board is None and (of_board or clock is not None)):
            raise OptionError(
                "a budget on a board needs the board and a frame rate",
                'say for example board = "pynq-z2", fps = 10000, lut = 0.6',
            )
        if board is None and not self.counts:
            raise OptionError(
                "the budget limits nothing",
                f'give board = "pynq-z2" and fps = 10000, or one of {", ".join(counts)}',
            )
        self.plans = plans
        self.board_name, self.board = board, boards.load(board) if board is not None else None
        self.clock = checked_clock(clock, self.board) if self.board is not None else 0.0
        self.goals = Goals(target_fps=fps, utilization=of_board, seconds=_SOLVER_SECONDS)
        self.weight = _START
        self.table: BoardTable | None = None
        self.uses: dict[str, Use] = {}
        self.floor: dict[str, float] = {}
        self.excess = 0.0

    def attach(self, method: Method, example: Tensor) -> None:
        """Says whose widths these are, as ``prepare`` does, without a price: for a run whose state is loaded.

        Raises:
            OptionError: The method learns no widths.
        """
        self.method, self.example = method, example
        own = {id(parameter) for parameter in method.own_parameters()}
        held = {name: list(layer.weight_quant.parameters()) for name, layer in method.layers.items()}
        self.learned = [name for name, found in held.items() if any(id(parameter) in own for parameter in found)]
        if not self.learned:
            raise OptionError(
                "the method learns no widths, so that a budget has nothing to move",
                "take a method that learns them, such as sinareq, or leave the budget out",
            )
        method.met = self._met

    def prepare(self, method: Method, example: Tensor) -> None:
        """Prices the model, after ``method.prepare``.

        Args:
            method: Whose widths are learned.
            example: (frames, *shape), from which a model that has not seen a frame takes its scales.

        Raises:
            OptionError: The method learns no widths, or no widths meet the budget.
            FlowError: The model cannot be compiled.
        """
        self.attach(method, example)
        whole = method.assignment()
        self.most = max(LEAST_BITS + 1, *(int(whole[name].max()) for name in self.learned))
        self._price()
        over = {name: limit for name, limit in self.counts.items() if self.floor[name] > limit}
        if over:
            listing = ", ".join(f"{name} {self.floor[name]:,.6g} of {limit:,.6g}" for name, limit in over.items())
            raise OptionError(
                f"no widths meet the budget: with {LEAST_BITS} bits for each weight whose width is learned it takes "
                f"{listing}",
                "allow more, or take a smaller model",
            )

    def _price(self) -> None:
        model, whole = self.method.model, self._whole()
        if self.board is None:
            self.uses = compiled(model, self.example).uses()
        else:
            widths = range(LEAST_BITS, self.most + 1)
            networks = {bits: compiled(model, self.example, dict.fromkeys(self.learned, bits)) for bits in widths}
            present = {name: min(max(int(whole[name].max()), LEAST_BITS), self.most) for name in self.learned}
            self.uses = networks[LEAST_BITS].uses()
            self.table = board_table(networks, present, self.board, self.clock, self.goals)
        least = whole | {name: torch.full_like(whole[name], LEAST_BITS) for name in self.learned}
        with torch.no_grad():
            self.floor = {name: float(amount) for name, amount in self.amounts(least).items()}
        if "effective_bit_operations" in self.floor:
            self.floor["effective_bit_operations"] = 0.0  # of weights at any width, all may become 0
        self._judge()

    # ----------------------------------------------------------------------------------------------- what it costs

    def amounts(self, widths: Widths) -> dict[str, Tensor]:
        """What these widths cost: resources of the board by name, and the other counts that are limited."""
        found = self._counts(widths)
        if self.table is not None:
            found |= dict(zip(NAMES, self.table.amounts(widths), strict=True))
        return found

    def _counts(self, widths: Widths) -> dict[str, Tensor]:
        layers = self.method.layers
        found: dict[str, Tensor] = {}
        for name in self.counts:
            if name == "weight_bits":
                found[name] = cost.weight_bits(layers, widths)
            elif name == "average_bits":
                found[name] = cost.average_bits(layers, widths)
            elif name == "bit_operations":
                found[name] = cost.bit_operations(layers, widths, self.uses)
            else:
                found[name] = cost.effective_bit_operations(layers, widths, self.uses)
        return found

    def limits(self) -> dict[str, float]:
        """How much of each there may be, of resources that the board has."""
        found = dict(self.counts)
        if self.board is not None:
            found |= {name: float(amount) for name, amount in self.goals.budget(self.board).items() if amount}
        return found

    def pressure(self, widths: Widths) -> Tensor:
        """0 at the least widths, 1 where a limit is met: the greatest share of what the limits leave for wider weights.

        The rest of a design, often most of it, takes what it takes at any width.
        """
        amounts, floor = self.amounts(widths), self.floor
        shares = []
        for name, limit in self.limits().items():
            room = max(limit - floor[name], _ROOM * limit) * (AIM if name in NAMES else 1.0)
            shares.append((amounts[name] - floor[name]) / room)
        return torch.stack(shares).max()

    # ------------------------------------------------------------------------------------------- the training loop

    def loss(self) -> Tensor:
        """What is added to the loss: nothing where widths do not learn at this step."""
        pressure = self.pressure(self.method.widths())
        return pressure * (self.weight if self.excess > 0 and pressure.requires_grad else 0.0)

    def on_step(self, step: int) -> None:
        """After ``method.on_step``: moves the weight of the penalty, and asks the planner anew when it is time."""
        steps = self.method.steps
        due = step * self.plans // steps > (step - 1) * self.plans // steps
        if self.board is not None and due and step < steps:
            self._price()
        self._judge()
        late = step > _RATCHET * steps
        grow, shrink = (1.0, 0.0) if late else (min(self.excess, 1.0), -_RELIEF)
        rate = grow if self.excess > 0 else shrink
        self.weight = min(self.weight * math.exp(_GAIN / steps * rate), _MOST)

    def _met(self) -> bool:
        self._judge()
        return self.excess <= 0

    def _judge(self) -> None:
        with torch.no_grad():
            self.excess = float(self.pressure(self._whole())) - 1

    def _whole(self) -> dict[str, Tensor]:
        return {name: bits.to(torch.float64) for name, bits in self.method.assignment().items()}

    def metrics(self) -> dict[str, float]:
        """What the present whole widths cost, the share of the budget, and the weight of the penalty."""
        with torch.no_grad():
            amounts = self.amounts(self._whole())
        limits = self.limits()
        found = {f"cost:{name}": float(amounts[name]) for name in limits}
        share = max(found[f"cost:{name}"] / limit for name, limit in limits.items())
        return {"budget": share, "penalty": self.weight, **found}

    def check(self, model: Path | None = None, out: Path | None = None) -> None:
        """Whether the trained network keeps to the budget.

        Args:
            model: The exported file, which the planner plans; without it, a board's budget is judged by the last
                table.
            out: Where that plan is written to.

        Raises:
            TrainingError: It does not.
        """
        remedy = "train longer, allow more, or give the method a lower least width"
        with torch.no_grad():
            amounts, limits = self.amounts(self._whole()), self.limits()
        judged = limits if model is None else self.counts
        over = [f"{n} {float(amounts[n]):,.6g} of {limits[n]:,.6g}" for n in judged if amounts[n] > limits[n]]
        if over:
            raise TrainingError(f"the widths that were learned do not meet the budget: {', '.join(over)}", remedy)
        if model is not None and self.board_name is not None:
            try:
                plan(model, board=self.board_name, clock=self.clock, goals=self.goals, out=out)
            except InfeasibleError as error:
                message = f"the widths that were learned do not meet the budget: {error.message}"
                raise TrainingError(message, remedy) from error

    # -------------------------------------------------------------------------------------------------- checkpoints

    def state(self) -> dict[str, Any]:
        """What ``load`` takes: the weight, and the prices."""
        table = self.table
        return {
            "weight": self.weight,
            "most": self.most,
            "floor": self.floor,
            "excess": self.excess,
            "uses": {name: (use.positions, use.input_bits) for name, use in self.uses.items()},
            "table": vars(table) | {"layers": dict(table.layers)} if table is not None else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state`` gave, after ``attach``."""
        self.weight, self.excess = state["weight"], state["excess"]
        self.most, self.floor = state["most"], state["floor"]
        self.uses = {name: Use(*use) for name, use in state["uses"].items()}
        self.table = BoardTable(**state["table"]) if state["table"] is not None else None
