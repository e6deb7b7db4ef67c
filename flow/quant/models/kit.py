# SPDX-License-Identifier: Apache-2.0
"""Makes the layers of a model: one place for scales, widths and the number of channels."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on optional packages and on modules that are to move
    import brevitas.nn as qnn
    from brevitas.core.quant import BinaryQuant
    from brevitas.core.restrict_val import RestrictValueType
    from brevitas.core.scaling import ScalingImplType
    from brevitas.inject.enum import ScalingPerOutputType
    from brevitas.quant import (
        Int8ActPerTensorFixedPoint,
        Int8ActPerTensorFloat,
        Int8WeightPerChannelFloat,
        Int8WeightPerTensorFixedPoint,
        Int8WeightPerTensorFloat,
        SignedBinaryActPerTensorConst,
        SignedBinaryWeightPerTensorConst,
        Uint8ActPerTensorFixedPoint,
        Uint8ActPerTensorFloat,
    )

from flow.errors import OptionError

Scales: TypeAlias = Literal["channel", "tensor", "pow2"]
SCALES = ("channel", "tensor", "pow2")
Widths: TypeAlias = int | Sequence[int]


class BinaryWeightPerChannel(SignedBinaryWeightPerTensorConst):
    """-1 and +1 times the mean magnitude of an output channel.

    Nothing is clipped: the clipping of the base class, in place, would pull all weights to their mean, and spoil its
    gradient.
    """

    tensor_quant = BinaryQuant
    scaling_impl_type = ScalingImplType.STATS
    scaling_stats_op = "ave"
    restrict_scaling_type = RestrictValueType.FP
    scaling_per_output_type = ScalingPerOutputType.CHANNEL


class BinaryWeightPerTensor(BinaryWeightPerChannel):
    """-1 and +1 times the mean magnitude of all weights."""

    scaling_per_output_type = ScalingPerOutputType.TENSOR


_WEIGHTS = {
    "channel": Int8WeightPerChannelFloat,
    "tensor": Int8WeightPerTensorFloat,
    "pow2": Int8WeightPerTensorFixedPoint,
}
_BINARY = {
    "channel": BinaryWeightPerChannel,
    "tensor": BinaryWeightPerTensor,
    "pow2": SignedBinaryWeightPerTensorConst,
}
_STATS: dict[str, Any] = {"scaling_impl_type": "stats", "high_percentile_q": 99.0}
"""The range of an activation follows a percentile of its magnitudes: a learned one shrinks until values saturate."""


class Kit:
    """Makes layers of one kind.

    Args:
        scales: Of the weights: a float for each output channel, one float for a tensor, or powers of two (of the
            activations too, which otherwise have one float each).
        weight_bits: For all layers, or one for each in the order in which they are made; 1 for -1 and +1.
        act_bits: The same for activations, the quantiser of the input aside; 1 for -1 and +1.
        input_bits: Of the model's input.
        width: Factor of all numbers of channels.
        bias: Whether layers in front of a batch norm have a bias, into which it can be merged; None: where scales
            are powers of two.
    """

    def __init__(
        self,
        scales: Scales = "channel",
        weight_bits: Widths = 4,
        act_bits: Widths = 4,
        input_bits: int = 8,
        width: float = 1.0,
        bias: bool | None = None,
    ) -> None:
        if scales not in SCALES:
            raise OptionError(f"there are no scales '{scales}'", f"choose one of {', '.join(SCALES)}")
        if not width > 0:
            raise OptionError(f"the width {width:g} is not positive", "choose a factor such as 0.5, 1 or 2")
        self.scales, self.input_bits, self.width = scales, input_bits, width
        self._bias = scales == "pow2" if bias is None else bias
        self._weight_bits = _Counted("weight_bits", weight_bits)
        self._act_bits = _Counted("act_bits", act_bits)

    def finish(self) -> None:
        """Says that the model is complete.

        Raises:
            OptionError: More widths were given than there are layers.
        """
        self._weight_bits.finish()
        self._act_bits.finish()

    def of(self, channels: int) -> int:
        return max(2, int(channels * self.width))

    def weight(self, bits: int | None = None) -> dict[str, Any]:
        bits = self._weight_bits.next() if bits is None else bits
        if bits == 1:
            fixed = {"weight_scaling_init": 0.5} if self.scales == "pow2" else {}
            return {"weight_quant": _BINARY[self.scales], **fixed}
        return {"weight_quant": _WEIGHTS[self.scales], "weight_bit_width": bits}

    def bias(self, bias: bool | None) -> bool:
        return self._bias if bias is None else bias

    def conv(
        self,
        inputs: int,
        outputs: int,
        kernel: Any,
        *,
        bias: bool | None = None,
        bits: int | None = None,
        **options: Any,
    ) -> nn.Module:
        return qnn.QuantConv2d(inputs, outputs, kernel, bias=self.bias(bias), **self.weight(bits), **options)

    def conv1d(self, inputs: int, outputs: int, kernel: int, *, bias: bool | None = None, **options: Any) -> nn.Module:
        return qnn.QuantConv1d(inputs, outputs, kernel, bias=self.bias(bias), **self.weight(), **options)

    def transposed(self, inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Module:
        return qnn.QuantConvTranspose2d(inputs, outputs, kernel, bias=self.bias(None), **self.weight(), **options)

    def linear(self, inputs: int, outputs: int, *, bias: bool | None = None, bits: int | None = None) -> nn.Module:
        return qnn.QuantLinear(inputs, outputs, bias=self.bias(bias), **self.weight(bits))

    def norm(self, channels: int, axes: int = 2) -> nn.Module:
        """A batch norm, over a feature vector (0), time (1) or an image (2)."""
        return (nn.BatchNorm1d if axes < 2 else nn.BatchNorm2d)(channels)

    def relu(self, bits: int | None = None) -> nn.Module:
        quant = Uint8ActPerTensorFixedPoint if self.scales == "pow2" else Uint8ActPerTensorFloat
        bits = self._act_bits.next() if bits is None else bits
        return qnn.QuantReLU(act_quant=quant, bit_width=bits, **_STATS)

    def identity(self, bits: int | None = None) -> nn.Module:
        bits = self._act_bits.next() if bits is None else bits
        if bits == 1:
            return qnn.QuantIdentity(
                act_quant=SignedBinaryActPerTensorConst, scaling_init=0.5 if self.scales == "pow2" else 0.7
            )
        quant = Int8ActPerTensorFixedPoint if self.scales == "pow2" else Int8ActPerTensorFloat
        return qnn.QuantIdentity(act_quant=quant, bit_width=bits, **_STATS)

    def input(self) -> nn.Module:
        """The quantiser of the model's input."""
        return self.identity(self.input_bits)

    def act(self, bits: int | None = None) -> nn.Module:
        """A ReLU, or a sign at one bit."""
        bits = self._act_bits.next() if bits is None else bits
        return self.identity(1) if bits == 1 else self.relu(bits)

    def sigmoid(self, bits: int) -> nn.Module:
        quant = Uint8ActPerTensorFixedPoint if self.scales == "pow2" else Uint8ActPerTensorFloat
        return qnn.QuantSigmoid(act_quant=quant, bit_width=bits, **_STATS)

    def normed(self, inputs: int, outputs: int, kernel: Any, **options: Any) -> nn.Sequential:
        """A convolution and its norm."""
        return nn.Sequential(self.conv(inputs, outputs, kernel, **options), self.norm(outputs))

    def block(self, inputs: int, outputs: int, kernel: Any, **options: Any) -> nn.Sequential:
        """A convolution, its norm and its activation."""
        return self.normed(inputs, outputs, kernel, **options).append(self.act())

    def dense(self, inputs: int, outputs: int) -> nn.Sequential:
        """A dense layer, its norm and its activation."""
        return nn.Sequential(self.linear(inputs, outputs), self.norm(outputs, 0), self.act())


class Mean(nn.Module):
    """The mean of each channel of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _Counted:
    """One width for all, or one after the other."""

    def __init__(self, name: str, widths: Widths) -> None:
        self.name, self.used = name, 0
        self.given = None if isinstance(widths, int) else tuple(widths)
        for bits in (widths,) if isinstance(widths, int) else widths:
            if not 1 <= bits <= 16:
                raise OptionError(f"{name} cannot be {bits}", "choose 1 to 16")
        self.widths: Iterator[int] = iter(self.given) if self.given is not None else _forever(widths)  # type: ignore[arg-type]

    def next(self) -> int:
        try:
            bits = next(self.widths)
        except StopIteration:
            self.used += 1
            raise OptionError(
                f"{self.name} has {len(self.given or ())} widths, but the model has more layers",
                "add widths, or give one",
            ) from None
        self.used += 1
        return bits

    def finish(self) -> None:
        if self.given is not None and self.used < len(self.given):
            raise OptionError(
                f"{self.name} has {len(self.given)} widths for {self.used} layers", f"give {self.used}, or one for all"
            )


def _forever(bits: int) -> Iterator[int]:
    while True:
        yield bits
