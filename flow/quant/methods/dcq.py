# SPDX-License-Identifier: Apache-2.0
"""DCQ: a float teacher's sections teach those of the quantised network, each by itself; then they are stitched.

Source: Elthakeb et al., Divide and conquer: leveraging intermediate feature representations for quantized training of
neural networks, arXiv:1906.06033 (read: the abstract and reviews). Hence "DCQ-style": sections, isolation and the
regression on intermediate features are theirs; where to cut, the loss' scale and the schedule are ours.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import QuantLayer, activations
from flow.quant.methods.base import Method
from flow.quant.methods.floating import Floating, float_copy
from flow.quant.methods.uniform import Uniform

_TINY = 1e-6


class Snapshot(nn.Module):
    """All tensors of a model at one time, kept with the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, value in model.state_dict().items():
            self.register_buffer(name.replace(".", "/"), value.detach().clone())

    def take(self, model: nn.Module) -> None:
        """Of the model as it is now."""
        now = model.state_dict()
        for name, value in self.named_buffers():
            value.copy_(now[name.replace("/", ".")])

    def give(self, model: nn.Module) -> None:
        """Into a copy of the model."""
        then = model.state_dict()
        for name, value in self.named_buffers():
            then[name.replace("/", ".")].copy_(value)


class Dcq(Method):
    """Three phases: the float teacher learns; sections learn from it in isolation, all at once; all learn together.

    A section ends in front of an activation. It adds |own - teacher's|**2 / variance of the teacher's to the loss, the
    last one the loss of the task as well. While it is isolated its input is the teacher's. Widths are the model's, or
    any assignment.

    Two things decide whether it is better than plain training from the same float weights: the teacher has to be
    trained to its end, and the network deep, so that gradients through many binary layers are poor. On handwritten
    digits with ten layers it gains some points (``tests/quant/test_dcq.py``); with three or four it loses some, since a
    narrow binary layer cannot give what a float one gives. A teacher's epochs are lost for the binary weights.

    Args:
        weight_bits: Of all weights; None for the widths that the model has.
        layers: Widths of the weights of single layers, by module path.
        sections: How many, as equal as the network's activations allow.
        teacher: Share of the training that the teacher takes; 0 for a model that was trained in float already.
        isolated: Share of the training that the isolated sections take.
        strength: Of the sections' losses.
    """

    def __init__(
        self,
        weight_bits: int | None = None,
        layers: Mapping[str, int] | None = None,
        sections: int = 3,
        teacher: float = 0.5,
        isolated: float = 0.2,
        strength: float = 1.0,
    ) -> None:
        if sections < 2:
            raise OptionError(f"sections = {sections}", "choose 2 or more, or plain training (uniform)")
        if not (teacher >= 0 and isolated > 0 and teacher + isolated <= 1):
            raise OptionError(
                f"teacher = {teacher:g} and isolated = {isolated:g} of the training",
                "choose shares whose sum is at most 1, the second one above 0",
            )
        self.widths_given = Uniform(weight_bits, None, layers)
        self.sections, self.teacher, self.isolated, self.strength = sections, teacher, isolated, strength
        self.cuts: list[str] = []
        self.phase = ""
        self._hooks: list[Any] = []
        self._losses: list[Tensor] = []
        self._floating: Floating | None = None

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Sets the widths, chooses the cuts, and makes room for the teacher.

        Raises:
            OptionError: The model has too few activations for so many sections.
        """
        self.widths_given.prepare(model, example, steps)
        super().prepare(model, example, steps)
        places = _inner_activations(model)
        if len(places) < self.sections - 1:
            raise OptionError(
                f"{self.sections} sections need {self.sections - 1} activations between layers, the model has "
                f"{len(places)}",
                "choose fewer sections",
            )
        self.cuts = [places[(i + 1) * len(places) // self.sections] for i in range(self.sections - 1)]
        self.home.add_module("dcq_teacher", Snapshot(model))
        self._enter(0)

    def loss(self) -> Tensor:
        """What the sections of the present step differ from the teacher's."""
        losses, self._losses = self._losses, []
        return self.strength * sum(losses, super().loss())

    def on_step(self, step: int) -> None:
        """Goes from phase to phase; the teacher is what the model is when its phase ends."""
        if step == round(self.teacher * self.steps):
            self.home.dcq_teacher.take(self.model)
        self._enter(step)

    def finalize(self) -> None:
        """Removes all hooks, and the teacher."""
        self._leave()
        self.phase = "done"
        del self.home.dcq_teacher

    # ---------------------------------------------------------------------------------------------------- phases

    def _enter(self, step: int) -> None:
        first, second = (round(share * self.steps) for share in (self.teacher, self.teacher + self.isolated))
        phase = "teacher" if step < first else "isolated" if step < second else "stitched"
        if phase == self.phase:
            return
        self._leave()
        self.phase = phase
        if phase == "teacher":
            self._floating = Floating(self.model)
        else:
            self._teach(isolated=phase == "isolated")

    def _leave(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._floating is not None:
            self._floating.remove()
            self._floating = None

    def _teach(self, *, isolated: bool) -> None:
        teacher = float_copy(self.model)
        self.home.dcq_teacher.give(teacher)
        wanted: dict[str, Tensor] = {}

        def note(name: str) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                wanted[name] = inputs[0].detach()

            return hook

        def replaced(name: str) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
                if not self.model.training:
                    return None
                own, target = inputs[0], wanted[name]
                self._losses.append(_difference(own, target))
                return (target,) if isolated else None

            return hook

        def teach(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._losses = []
            if module.training:
                with torch.no_grad():
                    wanted[""] = teacher(*inputs)

        def answered(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if module.training:
                self._losses.append(_difference(output, wanted[""]))

        for name in self.cuts:
            teacher.get_submodule(name).register_forward_pre_hook(note(name))
            self._hooks.append(self.model.get_submodule(name).register_forward_pre_hook(replaced(name)))
        self._hooks += [self.model.register_forward_pre_hook(teach), self.model.register_forward_hook(answered)]


def _difference(own: Tensor, target: Tensor) -> Tensor:
    """As a share of the teacher's variance: 1 for whoever always gives its mean."""
    return (own - target).square().mean() / target.var().clamp_min(_TINY)


def _inner_activations(model: nn.Module) -> list[str]:
    """The layers that quantise activations, in order, from the first layer with weights on."""
    names = [name for name, _ in model.named_modules()]
    first = next(name for name, module in model.named_modules() if isinstance(module, QuantLayer))
    return [name for name in activations(model) if names.index(name) > names.index(first)]
