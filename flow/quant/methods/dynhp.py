# SPDX-License-Identifier: Apache-2.0
"""DynHP: channels that contribute little are removed for good while the network trains.

Source: Valerio et al., Dynamic hard pruning of neural networks at the edge of the internet, arXiv:2011.08545 (read: the
abstract). Hence "DynHP-style": that the removal is hard, goes on during the training and has a size to reach is theirs;
what counts as little, the schedule, and the multiples that keep foldings possible are ours. Batches keep their size.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import weight_bits
from flow.quant.methods.base import Method
from flow.quant.methods.channels import Link, links
from flow.quant.methods.uniform import Uniform


class Dynhp(Method):
    """A share of all channels that only one layer reads is removed, in equal parts from ``start`` to ``end``.

    Removed channels are 0 on both sides from then on; at the end the layers are made smaller. A layer keeps a multiple
    of ``multiple`` channels, or all: PE of the layer and SIMD of the one that reads it can be that number. Which
    channels go is decided over all layers, by the norm of what a channel gives and of what is read of it.

    Args:
        remove: The share of those channels.
        multiple: Of the channels that a layer keeps; also the fewest.
        weight_bits: Of all weights; None for the widths that the model has.
        layers: Widths of the weights of single layers, by module path.
        start: When the first channels go, as a share of the training.
        end: When the last ones go.
        rounds: In how many parts.
    """

    def __init__(
        self,
        remove: float = 0.5,
        multiple: int = 4,
        weight_bits: int | None = None,
        layers: Mapping[str, int] | None = None,
        start: float = 0.2,
        end: float = 0.6,
        rounds: int = 8,
    ) -> None:
        if not 0 < remove < 1:
            raise OptionError(f"remove = {remove:g}", "choose a share between 0 and 1")
        if multiple < 1 or rounds < 1:
            raise OptionError(f"multiple = {multiple}, rounds = {rounds}", "choose 1 or more for each")
        if not 0 <= start <= end < 1:
            raise OptionError(f"start = {start:g}, end = {end:g}", "choose 0 <= start <= end < 1")
        self.remove, self.multiple, self.start, self.end, self.rounds = remove, multiple, start, end, rounds
        self.given = Uniform(weight_bits, None, layers)
        self.links: list[Link] = []

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Finds the channels that can go.

        Raises:
            OptionError: There are none, or fewer than were asked for; or a quantiser would be another without them.
        """
        self.given.prepare(model, example, steps)
        super().prepare(model, example, steps)
        for name, layer in self.layers.items():
            if int(weight_bits(layer).max()) < 2:
                raise OptionError(f"the weights of {name} are binary: no weight can be 0", "give them 2 bits or more")
            if list(layer.weight_quant.tensor_quant.parameters()):
                raise OptionError(
                    f"the quantiser of {name} has learned parameters", "take scales that follow from the weights"
                )
        self.links = links(model)
        most = sum(link.channels - min(self.multiple, link.channels) for link in self.links)
        if self._wanted(1.0) > most:
            raise OptionError(
                f"remove = {self.remove:g} are {self._wanted(1.0)} of {self._all()} channels; {most} can go where each "
                f"layer keeps {self.multiple}",
                "choose a smaller share or a smaller multiple, or a model with more channels that only one layer reads",
            )
        if most == 0:
            raise OptionError("no channel of the model can go", "choose a smaller multiple, or another model")
        for link in self.links:
            kept = torch.ones(link.channels, dtype=torch.bool, device=example.device)
            link.source.register_buffer("kept_channels", kept)

    def on_step(self, step: int) -> None:
        """Removes channels when it is time; those that were removed stay away."""
        done = (step / self.steps - self.start) / max(self.end - self.start, 1 / self.steps)
        if done >= 0:
            self._remove_to(self._wanted(min(1.0, (int(done * self.rounds) + 1) / self.rounds)))
        for link in self.links:
            link.mute(link.source.kept_channels)

    def metrics(self) -> dict[str, float]:
        """The share of channels that are left, of those that could go."""
        return {"channels": 1 - self._removed() / self._all()}

    def finalize(self) -> None:
        """Makes the layers smaller. An optimiser does not know their parameters."""
        for link in self.links:
            kept = link.source.kept_channels
            del link.source.kept_channels
            link.slim(kept)

    # ---------------------------------------------------------------------------------------------------- choices

    def _all(self) -> int:
        return sum(link.channels for link in self.links)

    def _removed(self) -> int:
        return sum(int((~link.source.kept_channels).sum()) for link in self.links)

    def _wanted(self, share: float) -> int:
        """How many channels are to be gone, when a share of the removal is done."""
        return int(self.remove * share * self._all())

    def _remove_to(self, wanted: int) -> None:
        """Takes the weakest part of any layer, one after the other, while no more than ``wanted`` are gone."""
        scores = [link.importance() for link in self.links]
        while True:
            parts = [self._part(link.source.kept_channels, s) for link, s in zip(self.links, scores, strict=True)]
            left = wanted - self._removed()
            fits = [place for place, part in enumerate(parts) if 0 < len(part) <= left]
            if not fits:
                return
            place = min(fits, key=lambda p: float(scores[p][parts[p]].mean()))
            self.links[place].source.kept_channels[parts[place]] = False

    def _part(self, kept: Tensor, scores: Tensor) -> Tensor:
        """The weakest channels of a layer, as many as lead to the next multiple; none where it keeps the fewest."""
        count = int(kept.sum())
        if count <= self.multiple:
            return kept.new_zeros(0, dtype=torch.int64)
        part = count % self.multiple or self.multiple
        return torch.where(kept, scores, torch.inf).argsort(stable=True)[:part]
