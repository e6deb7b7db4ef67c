# SPDX-License-Identifier: Apache-2.0
"""ADMM: float weights are drawn to the nearest point of any grid, by turns with the search for that point.

Source: Xu et al., Low-bit quantization of recurrent neural network language models using alternating direction methods
of multipliers, arXiv:2111.14836 (read: the abstract). Hence "ADMM-style": the grid of a layer as a table times one
scale is theirs, the three steps are the method's usual ones with scaled duals; the schedule, and the training on the
grid that follows, are ours.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import MOST_BITS, replace_weight_quantizer
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised

_ROUNDS = 10  # of the scale and the nearest entries, by turns
_TINY = 1e-12


class OnTable(nn.Module):
    """Entries of a table of integers times one scale.

    While ``free``, a training works with the weight itself, which ``pull`` draws to ``target``; in inference, and
    always once it is not free, with the nearest entries. Then the scale stays as it is.
    """

    def __init__(self, table: Sequence[int], weight: Tensor) -> None:
        super().__init__()
        entries = torch.tensor(sorted(set(table)), dtype=weight.dtype)
        self.register_buffer("table", entries, persistent=False)
        self.register_buffer("scale", weight.detach().square().mean().sqrt() / entries.square().mean().sqrt())
        self.register_buffer("target", torch.zeros_like(weight))
        self.register_buffer("dual", torch.zeros_like(weight))
        self.register_buffer("free", torch.tensor(True))
        self.register_buffer("step", torch.tensor(0))  # the last that was projected at
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        self.bits = max(int(max(abs(entry) for entry in table)).bit_length() + 1, 2)

    def nearest(self, weight: Tensor) -> Tensor:
        """The entries; of two equally near ones the lower."""
        middles = (self.table[1:] + self.table[:-1]) / 2
        return self.table[torch.bucketize(weight.detach() / self.scale, middles)]

    def project(self, weight: Tensor) -> None:
        """The target becomes the nearest point of the grid, over all scales: entries and scale by turns."""
        with torch.no_grad():
            wanted = weight + self.dual
            for _ in range(_ROUNDS):
                entries = self.nearest(wanted)
                energy = entries.square().sum()
                if energy > 0:
                    self.scale.copy_(((wanted * entries).sum() / energy).clamp_min(_TINY))
            self.target.copy_(self.nearest(wanted) * self.scale)
            self.dual.add_(weight - self.target)

    def settle(self, weight: Tensor) -> None:
        """The end of the freedom: the weight itself is projected, without what the duals remember."""
        with torch.no_grad():
            self.dual.zero_()
            self.project(weight)
            self.free.fill_(False)

    def pull(self, weight: Tensor) -> Tensor:
        """|weight - target + dual|**2 / 2, of which the gradient draws."""
        return (weight - self.target + self.dual).square().sum() / 2

    def forward(self, weight: Tensor) -> Quantised:
        if self.training and self.free:
            value = weight
        else:
            value = weight + (self.nearest(weight) * self.scale - weight).detach()  # straight through
        return value, self.scale, self.zero, self.zero + self.bits


class Admm(Method):
    """Weights on powers of two, on -1, 0 and 1, or on any integers, times one scale for each layer.

    Up to ``settle`` the training is in float with ``strength`` times the squared distance from the target in its loss;
    ``rounds`` times it projects. Then the weights stand on the grid, and learn straight through.

    Args:
        grid: ``pow2`` (0 and ``levels`` powers of two with both signs), ``ternary``, or ``codebook``.
        levels: Of ``pow2``.
        codebook: Its integers, where that is the grid.
        strength: Of the pull (rho).
        rounds: How often it projects; weights need some time to get to a target before it moves on.
        settle: When the weights go to the grid, as a share of the training.
    """

    def __init__(
        self,
        grid: Literal["pow2", "ternary", "codebook"] = "pow2",
        levels: int = 4,
        codebook: Sequence[int] | None = None,
        strength: float = 0.1,
        rounds: int = 8,
        settle: float = 0.7,
    ) -> None:
        if (grid == "codebook") != (codebook is not None):
            raise OptionError(
                f"grid = '{grid}' {'without' if codebook is None else 'with'} a codebook",
                'give the integers of grid = "codebook", and only there',
            )
        if not 1 <= levels < MOST_BITS:
            raise OptionError(f"levels is {levels}", f"choose 1 to {MOST_BITS - 1}")
        if not (strength >= 0 and rounds >= 1 and 0 < settle < 1):
            raise OptionError(
                f"strength = {strength:g}, rounds = {rounds}, settle = {settle:g}",
                "choose a strength that is not negative, 1 round or more, and 0 < settle < 1",
            )
        self.table = _table(grid, levels, codebook)
        self.strength, self.rounds, self.settle = strength, rounds, settle

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantiser of every weight, and projects for the first time."""
        super().prepare(model, example, steps)
        for layer in self.layers.values():
            table = OnTable(self.table, layer.weight)
            replace_weight_quantizer(layer, table)
            table.project(layer.weight)

    def loss(self) -> Tensor:
        """The pull to the grid, while weights are free."""
        pulls = [table.pull(weight) for table, weight in self._tables() if table.free]
        return self.strength * sum(pulls, super().loss())

    def on_step(self, step: int) -> None:
        """Projects when it is time, and settles in the end."""
        every = max(1, round(self.settle * self.steps / self.rounds))
        for table, weight in self._tables():
            if not table.free or step <= table.step:  # a run that is gone on with has projected already
                continue
            table.step.fill_(step)
            if step >= self.settle * self.steps:
                table.settle(weight)
            elif step % every == 0:
                table.project(weight)

    def metrics(self) -> dict[str, float]:
        """How far the weights are from the grid, as a share of their size: 0 once they have settled and stay."""
        with torch.no_grad():
            off = sum(float((w - t.nearest(w) * t.scale).square().sum()) for t, w in self._tables())
            return {"off_grid": (off / sum(float(w.square().sum()) for _, w in self._tables())) ** 0.5}

    def finalize(self) -> None:
        """The weights themselves become points of the grid."""
        with torch.no_grad():
            for table, weight in self._tables():
                weight.copy_(table.nearest(weight) * table.scale)

    def _tables(self) -> list[tuple[OnTable, Tensor]]:
        return [(layer.weight_quant.tensor_quant, layer.weight) for layer in self.layers.values()]


def _table(grid: str, levels: int, codebook: Sequence[int] | None) -> Sequence[int]:
    if codebook is not None:
        most = 2 ** (MOST_BITS - 1) - 1
        if len(set(codebook)) < 2 or max(abs(entry) for entry in codebook) > most:
            raise OptionError(f"codebook = {list(codebook)}", f"give two integers or more, each from {-most} to {most}")
        return codebook
    if grid not in ("pow2", "ternary"):
        raise OptionError(f"there is no grid '{grid}'", "choose pow2, ternary or codebook")
    powers = [2**k for k in range(levels if grid == "pow2" else 1)]
    return [-p for p in powers] + [0] + powers
