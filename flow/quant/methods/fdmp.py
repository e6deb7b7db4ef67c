# SPDX-License-Identifier: Apache-2.0
"""FDMP, fully differentiable mixed precision: steps and ranges are learned, and widths follow, under a memory budget.

Source: Schaefer et al., Edge inference with fully differentiable quantized mixed precision neural networks,
arXiv:2206.07741 (read: the abstract and the authors' code; the formulas are theirs, restated). Three things differ:
logarithms of step and range are learned, which makes their clipped gradients unnecessary; a range ends where its bits
end, so that the clipping is that of the hardware; and what lies beyond a budget counts as it is and gets dearer, where
theirs is squared: a square is free close to the budget, and stays a little above it.
"""

import copy
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flow.errors import OptionError, TrainingError
from flow.quant.layers import (
    activation_bits,
    activations,
    replace_activation_quantizer,
    replace_weight_quantizer,
    round_ste,
    weight_bits,
)
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised

LEARN, FREEZE = 0.25, 0.75
"""When steps and ranges begin to learn and when they are final, as shares of the training."""
KILOBYTE = 8000.0
_REACH = 3.0  # how often a width could cross 8 bits while it learns
_MOST_RATE = 0.25
_RISE = 10.0  # the price of memory doubles so often meanwhile
_PULL = 5e-3
_BEND = 1.9
_SIGMAS = 3.0
_QUANTILE = 0.999
_LATEST = 0.1  # the weight of a batch in the range of an activation
_TINY = 1e-6


class _PulledRound(torch.autograd.Function):
    """Rounds; the gradient is a little greater where it moves a value towards its level, a little less away from it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bent: bool) -> Tensor:
        rounded = torch.round(x)
        off = x - rounded
        ctx.save_for_backward(0.5 * torch.atanh(_BEND * off) / math.atanh(_BEND / 2) if bent else off)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (off,) = ctx.saved_tensors
        return gradient * (1 + _PULL * gradient.sign() * off), None


class LearnedRange(nn.Module):
    """Multiples of a step 2**k up to a range; the width is what the range takes in steps.

    bits = ceil(log2(range / step + 1)), and a sign; the last level is that of the bits. Until it learns, the range
    follows what it quantises, at the width that it began with.

    Args:
        shape: Of steps and ranges: one, or one for an output channel.
        bits: At the start.
        signed: Weights are, activations are not.
    """

    def __init__(self, shape: tuple[int, ...], bits: int, *, signed: bool) -> None:
        super().__init__()
        self.start, self.signed = bits - signed, signed
        self.log_step = nn.Parameter(torch.zeros(shape))
        self.log_range = nn.Parameter(torch.zeros(shape))
        self.register_buffer("learns", torch.tensor(False))
        self.register_buffer("seen", torch.zeros(shape))
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def magnitude_bits(self) -> Tensor:
        """One or more, whole, with a gradient to step and range."""
        real = torch.log2(torch.pow(2.0, self.log_range - round_ste(self.log_step)) + 1)
        return (real + (torch.ceil(real) - real).detach()).clamp_min(1)

    def bits(self) -> Tensor:
        """With the sign."""
        return self.magnitude_bits() + self.signed

    def follow(self, x: Tensor) -> None:
        """Takes the range of ``x``: the widest of mean +- 3 sigma of weights, a high percentile of activations."""
        with torch.no_grad():
            if self.signed:
                axes = [axis for axis in range(x.ndim) if self.seen.ndim == 0 or self.seen.shape[axis] == 1]
                spread = _SIGMAS * x.std(axes, correction=0, keepdim=self.seen.ndim > 0)
                self.seen.copy_(x.mean(axes, keepdim=self.seen.ndim > 0).abs() + spread)
            else:
                rank = max(1, math.ceil(_QUANTILE * x.numel()))
                top = x.flatten().kthvalue(rank).values
                self.seen.copy_(top if self.seen == 0 else self.seen + _LATEST * (top - self.seen))
            levels = 2**self.start - 1
            self.log_step.copy_(torch.log2(self.seen.clamp_min(_TINY) / levels).ceil())
            self.log_range.copy_(self.log_step + math.log2(levels))

    def forward(self, x: Tensor) -> Quantised:
        if self.training and not self.learns:
            self.follow(x.detach())
        step = torch.pow(2.0, round_ste(self.log_step))
        bits = self.magnitude_bits()
        most = torch.pow(2.0, bits) - 1
        least = -most if self.signed else self.zero
        position = torch.minimum(torch.maximum(x / step, least), most)
        value = _PulledRound.apply(position, not self.signed) * step
        return value, step.detach(), self.zero, (bits + self.signed).detach()


class Fdmp(Method):
    """strength * max(0, memory / budget - 1) in the loss, for weights and for activations: free once it is met.

    Three phases: plain training at the model's widths (the first quarter); steps and ranges learn at every few steps
    of the optimiser, and memory gets dearer; the last quarter at final widths. Activations with a sign (the input's,
    those in front of additions) keep their widths and count with them.

    Args:
        weight_kb: The memory of all weights in kilobytes of 1000 bytes; None for no budget.
        act_kb: The memory of all activations of a frame; None for no budget.
        each: Whether each output ``channel`` has a width, or each ``tensor`` of weights.
        strength: Of what lies beyond the budget, when the widths begin to learn.
        every: Steps and ranges learn at each so many steps of the optimiser.
        min_bits: The least width of weights, 2 or more.
    """

    def __init__(
        self,
        weight_kb: float | None = None,
        act_kb: float | None = None,
        each: Literal["tensor", "channel"] = "tensor",
        strength: float = 1.0,
        every: int = 5,
        min_bits: int = 2,
    ) -> None:
        if each not in ("tensor", "channel"):
            raise OptionError(f"there are no widths for each '{each}'", "choose tensor or channel")
        if min_bits < 2 or every < 1:
            raise OptionError(f"min_bits is {min_bits}, every is {every}", "choose min_bits >= 2 and every >= 1")
        self.weight_kb, self.act_kb, self.each, self.strength = weight_kb, act_kb, each, strength
        self.every, self.min_bits = every, min_bits
        self.elements: dict[str, int] = {}
        self.done = 0

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantisers of weights and of activations without a sign.

        Raises:
            OptionError: The budget is below what the least widths take.
        """
        super().prepare(model, example, steps)
        self.elements = _elements(model, example)
        for layer in self.layers.values():
            shape: tuple[int, ...] = ()
            if self.each == "channel":
                shape = tuple(n if a == layer.output_channel_dim else 1 for a, n in enumerate(layer.weight.shape))
            learned = LearnedRange(shape, max(int(weight_bits(layer).max()), self.min_bits), signed=True)
            learned.follow(layer.weight.detach().cpu())
            replace_weight_quantizer(layer, learned)
        for proxy in activations(model).values():
            if not proxy.is_signed:
                learned = LearnedRange((), int(activation_bits(proxy)), signed=False)
                replace_activation_quantizer(proxy, learned.to(example.device))
        least = sum(layer.weight.numel() for layer in self.layers.values()) * self.min_bits / KILOBYTE
        if self.weight_kb is not None and self.weight_kb < least:
            raise OptionError(
                f"weight_kb is {self.weight_kb:g}, but the weights take {least:.3g} kB at {self.min_bits} bits",
                "allow more, or choose a smaller model",
            )
        fixed = sum(n for name, n in self.elements.items() if name in self._acts())
        fixed += sum(n * int(activation_bits(activations(model)[name])) for name, n in self._fixed().items())
        if self.act_kb is not None and self.act_kb < fixed / KILOBYTE:
            raise OptionError(
                f"act_kb is {self.act_kb:g}, but activations take {fixed / KILOBYTE:.3g} kB at one bit without a sign",
                "allow more, or choose a smaller model",
            )
        self._learn(False)

    def own_parameters(self) -> list[nn.Parameter]:
        """Steps and ranges."""
        return [p for learned in self._learned() for p in (learned.log_step, learned.log_range)]

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Steps and ranges by a rate that lets widths cross their range; momentum would carry them past a budget."""
        rate = min(_REACH * 8 * self.every / ((FREEZE - LEARN) * self.steps), _MOST_RATE)
        own = {"params": self.own_parameters(), "lr": rate, "weight_decay": 0.0, "betas": (0.0, 0.99), "momentum": 0.0}
        return [*super().param_groups(lr), own]

    def weight_memory(self) -> Tensor:
        """Of all weights, in kilobytes."""
        total = super().loss().double()  # whole numbers of bits, beyond what float32 can tell apart
        for name, bits in self.widths().items():
            total = total + bits.sum() * (self.layers[name].weight.numel() / bits.numel())
        return total / KILOBYTE

    def act_memory(self) -> Tensor:
        """Of all activations of a frame, in kilobytes."""
        total = super().loss().double()
        for name, learned in self._acts().items():
            total = total + learned.bits() * self.elements[name]
        for name, elements in self._fixed().items():
            total = total + activation_bits(activations(self.model)[name]) * elements
        return total / KILOBYTE

    def loss(self) -> Tensor:
        """What lies beyond the budgets."""
        progress = (self.done / self.steps - LEARN) / (FREEZE - LEARN)
        price = self.strength * 2 ** (_RISE * min(max(progress, 0), 1))
        total = super().loss()
        for memory, budget in self._budgets():
            total = total + price * torch.relu(memory / budget - 1).to(total.dtype)
        return total

    def on_step(self, step: int) -> None:
        """Keeps widths in their range, and says whether steps and ranges learn at the next step."""
        self.done = step
        with torch.no_grad():
            for layer in self.layers.values():
                learned = layer.weight_quant.tensor_quant
                least = learned.log_step.round() + math.log2(2 ** (self.min_bits - 1) - 1)
                learned.log_range.copy_(torch.maximum(learned.log_range, least))
            for learned in self._acts().values():
                learned.log_range.copy_(torch.maximum(learned.log_range, learned.log_step.round()))
        if step >= LEARN * self.steps:
            for learned in self._learned():
                learned.learns.fill_(True)
        self._learn(LEARN * self.steps <= step < FREEZE * self.steps and step % self.every == 0)

    def widths(self) -> dict[str, Tensor]:
        """One for a tensor, or one for each channel."""
        return {name: layer.weight_quant.tensor_quant.bits() for name, layer in self.layers.items()}

    def metrics(self) -> dict[str, float]:
        """The memories, in kilobytes."""
        with torch.no_grad():
            return {"weight_kb": float(self.weight_memory()), "act_kb": float(self.act_memory())}

    def finalize(self) -> None:
        """Asserts that the budgets are met.

        Raises:
            TrainingError: One is not.
        """
        for (memory, budget), what in zip(self._budgets(), self._what(), strict=True):
            if float(memory.detach()) > budget:
                raise TrainingError(
                    f"the {what} take {float(memory.detach()):.4g} kB; the budget is {budget:g}",
                    "raise strength, train longer, or allow more",
                )

    def _budgets(self) -> list[tuple[Tensor, float]]:
        found = [] if self.weight_kb is None else [(self.weight_memory(), self.weight_kb)]
        return found if self.act_kb is None else [*found, (self.act_memory(), self.act_kb)]

    def _what(self) -> list[str]:
        return ["weights"] * (self.weight_kb is not None) + ["activations"] * (self.act_kb is not None)

    def _learn(self, on: bool) -> None:
        for parameter in self.own_parameters():
            parameter.requires_grad_(on)

    def _learned(self) -> list[LearnedRange]:
        return [*(layer.weight_quant.tensor_quant for layer in self.layers.values()), *self._acts().values()]

    def _acts(self) -> dict[str, LearnedRange]:
        found = {n: p.fused_activation_quant_proxy.tensor_quant for n, p in activations(self.model).items()}
        return {name: quantizer for name, quantizer in found.items() if isinstance(quantizer, LearnedRange)}

    def _fixed(self) -> dict[str, int]:
        """The elements of those activations that keep their widths."""
        return {name: count for name, count in self.elements.items() if name not in self._acts()}


def _elements(model: nn.Module, example: Tensor) -> dict[str, int]:
    """How many elements of a frame each activation has; those that the model does not use are left out."""
    twin = copy.deepcopy(model).eval()
    found: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, result: Any) -> None:
            found[name] = inputs[0].numel() // len(example)

        return hook

    for name, proxy in activations(twin).items():
        proxy.fused_activation_quant_proxy.register_forward_hook(note(name))
    with torch.no_grad():
        twin(example)
    return found
