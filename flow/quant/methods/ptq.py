# SPDX-License-Identifier: Apache-2.0
"""The post-training pipeline: weights are rounded to the nearest level, by GPTQ, or up and down as learned.

Sources: Frantar et al., GPTQ, arXiv:2210.17323 (Brevitas' implementation); Nagel et al., Up or down? Adaptive rounding
for post-training quantization, arXiv:2004.10568 (Brevitas' rounding; the loop here, with the paper's schedule). The
scale of a weight is the one with the least squared error (Brevitas' search).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on optional packages and on modules that are to move
    from brevitas.core.function_wrapper import Identity, RoundSte
    from brevitas.core.function_wrapper.learned_round import LearnedRoundHardSigmoid, LearnedRoundSte
    from brevitas.graph.gptq import gptq_mode
    from brevitas.quant.base import MSESymmetricScale

from flow.errors import OptionError
from flow.quant.layers import renew_quantizer, set_weight_bits, weight_layers
from flow.quant.methods.floating import float_copy
from flow.quant.methods.post_training import AT_ONCE, PostTraining
from flow.quant.methods.search import CHOICES, Problem, described
from flow.quant.methods.sensitivity import Damage, natural, settle

_ROUNDS = 2  # of measuring sensitivities among the widths found last
_ROUNDING_RATE = 1e-2
_DECIDE = 0.01  # strength of the regulariser that makes each weight choose
_FREE = 0.2  # share of the steps without it
_STEEP = (20.0, 2.0)  # its exponent at the start and at the end
_STRETCH = (1.1, -0.1)  # the range of the sigmoid before it is clipped to 0 and 1


class Ptq(PostTraining):
    """Trains in float, and quantises at the end by a pipeline without training.

    Args:
        weight_bits: Of all weights; None leaves what the model has.
        act_bits: Of all activations; None leaves what the model has.
        layers: Widths of the weights of single layers, by module path; they go before ``weight_bits``.
        rounding: ``nearest``; ``gptq``: weights that are left make up for the error of those that were rounded;
            ``learned``: up or down, by what the layer gives.
        steps: Of learned rounding, for each layer.
        budget: The most bits a weight on average: each layer's width follows from its sensitivity (Damage).
        choices: The widths that a budget chooses from.
        frames: How many of the training frames calibrate.
        fold: Whether batch norms become part of the weights in front of them.
        equalise: Whether channels are scaled between layers so that their ranges agree.
        correct: Whether biases make up for what rounding has shifted.
    """

    def __init__(
        self,
        weight_bits: int | None = None,
        act_bits: int | None = None,
        layers: Mapping[str, int] | None = None,
        rounding: Literal["nearest", "gptq", "learned"] = "gptq",
        steps: int = 500,
        budget: float | None = None,
        choices: Sequence[int] = CHOICES,
        frames: int = 512,
        fold: bool = True,
        equalise: bool = True,
        correct: bool = True,
    ) -> None:
        if rounding not in ("nearest", "gptq", "learned"):
            raise OptionError(f"there is no rounding '{rounding}'", "choose nearest, gptq or learned")
        if steps < 1:
            raise OptionError(f"steps = {steps} of learned rounding", "choose 1 or more; some hundred are usual")
        if budget is not None and (weight_bits is not None or layers):
            raise OptionError("widths of weights are given, and a budget for them", "leave one of them out")
        if budget is not None and not 2 <= min(choices, default=0) <= budget:
            raise OptionError(
                f"budget = {budget:g} bits a weight from the choices {list(choices)}",
                "offer widths of 2 or more, and a budget that the least of them meets",
            )
        super().__init__(weight_bits, act_bits, layers, frames, fold, equalise, correct)
        self.rounding, self.rounding_steps = rounding, steps
        self.budget, self.choices = budget, choices

    def quantise(self, x: Tensor) -> None:
        """Chooses widths where there is a budget for them, and scales, then rounds."""
        if self.budget is not None:
            self._allot(self.budget)
        teacher = float_copy(self.model)
        for layer in self.layers.values():
            search_scale(layer)
        if self.rounding == "gptq":
            gptq(self.model, x)
        elif self.rounding == "learned":
            learn_rounding(self.model, teacher, x, self.rounding_steps)

    def _allot(self, budget: float) -> None:
        task = self.seen().some(self.frames)
        layers = [described(name, layer) for name, layer in self.layers.items()]
        problem = Problem(layers, self.choices, lambda widths: 0.0, 0, budget)
        found = settle(Damage(self.model, task, natural(task)), problem, budget, _ROUNDS)
        for (name, layer), bits in zip(self.layers.items(), found, strict=True):
            set_weight_bits(layer, bits, name)


def search_scale(layer: Any) -> None:
    """Gives a layer's weights the fixed scale with the least squared error, on the grid that they have."""
    renew_quantizer(layer.weight_quant, MSESymmetricScale)
    with torch.no_grad():
        layer.quant_weight()  # Brevitas searches at the first use


def gptq(model: nn.Module, x: Tensor) -> None:
    """Rounds layer by layer; the weights become such that the nearest level is the one that was chosen.

    Brevitas takes no transposed convolutions: they keep the nearest level.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with gptq_mode(model, create_weight_orig=False, device="same") as run:
            for _ in range(run.num_layers):
                for part in x.split(AT_ONCE):
                    model(part)
                run.update()
    model.__dict__.pop("forward", None)  # Brevitas puts the method back as an attribute


def learn_rounding(model: nn.Module, teacher: nn.Module, x: Tensor, steps: int) -> None:
    """Decides for each weight whether it is rounded up or down, layer by layer.

    A layer reads what the quantised layers in front of it give, and is to give what the float network's gives. At the
    end the weights are levels, and rounding is to the nearest one again.

    Args:
        model: With fixed scales.
        teacher: The float network with the same layers.
        x: (frames, *shape).
        steps: Of Adam, for each layer.
    """
    for name, layer in weight_layers(model).items():
        inputs, _ = _passed(model, layer, x)
        _, wanted = _passed(teacher, teacher.get_submodule(name), x)
        rounding = _undecided(layer)
        layer.weight_quant.tensor_quant.int_quant.float_to_int_impl = rounding
        _learn(layer, rounding, inputs, wanted, steps)
        with torch.no_grad():
            layer.weight.copy_(layer.quant_weight().value)
        layer.weight_quant.tensor_quant.int_quant.float_to_int_impl = RoundSte()


def _passed(model: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer reads and gives."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: seen.append((_plain(inputs[0]), _plain(output))))
    with torch.no_grad():
        for part in x.split(AT_ONCE):
            model(part)
    hook.remove()
    read, given = zip(*seen, strict=True)
    return torch.cat(read), torch.cat(given)


def _plain(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else value.value


def _undecided(layer: Any) -> LearnedRoundSte:
    """Each weight between its two levels where it is: its share of the step above the lower one."""
    with torch.no_grad():
        position = layer.weight / layer.quant_weight().scale
        share = (position - position.floor() - _STRETCH[1]) / (_STRETCH[0] - _STRETCH[1])
        return LearnedRoundSte(LearnedRoundHardSigmoid(*_STRETCH), torch.logit(share), Identity())


def _learn(layer: Any, rounding: LearnedRoundSte, inputs: Tensor, wanted: Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam([rounding.value], _ROUNDING_RATE)
    spread = wanted.var().clamp_min(1e-12)
    order = torch.Generator().manual_seed(0)
    layer.weight_quant.train()
    for step in range(steps):
        chosen = torch.randint(len(inputs), (AT_ONCE,), generator=order).to(inputs.device)
        loss = (_plain(layer(inputs[chosen])) - wanted[chosen]).square().mean() / spread
        if step >= _FREE * steps:
            late = (step / steps - _FREE) / (1 - _FREE)
            steep = _STEEP[0] + (_STEEP[1] - _STEEP[0]) * late
            share = rounding.learned_round_impl(rounding.value)
            loss = loss + _DECIDE * (1 - (2 * share - 1).abs().pow(steep)).mean()
        (rounding.value.grad,) = torch.autograd.grad(loss, [rounding.value])
        optimiser.step()
    layer.weight_quant.eval()
