# SPDX-License-Identifier: Apache-2.0
"""Quantisation after training: a float network becomes an integer one, by a few hundred frames and without labels.

The order is that of Hu et al., Bag of tricks with quantized convolutional neural networks, arXiv:2303.07080 (read: the
abstract), as far as Brevitas has the parts: norms are folded into weights, ranges are equalised between layers
(Nagel et al., arXiv:1906.04721), activations are calibrated, weights are rounded, biases are corrected.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on optional packages and on modules that are to move
    import brevitas.nn as qnn
    from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
    from brevitas.graph.equalize import EqualizeGraph
    from brevitas.nn.utils import merge_bn

from flow.errors import OptionError
from flow.quant.layers import (
    QuantLayer,
    activation_bits,
    activations,
    renew_quantizer,
    set_activation_bits,
    set_weight_bits,
    weight_bits,
    weight_layers,
)
from flow.quant.methods.base import Method
from flow.quant.methods.floating import Floating
from flow.quant.methods.uniform import Uniform
from flow.quant.tracing import traced

AT_ONCE = 64
"""Frames that go through the network together where the result does not depend on it."""
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class PostTraining(Method):
    """Trains in float, and quantises in ``finalize``.

    A network that is trained already takes no steps: ``see``, ``prepare`` with 0 steps, ``finalize``.

    Args:
        weight_bits: Of all weights; None leaves what the model has.
        act_bits: Of all activations; None leaves what the model has.
        layers: Widths of the weights of single layers, by module path; they go before ``weight_bits``.
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
        frames: int = 512,
        fold: bool = True,
        equalise: bool = True,
        correct: bool = True,
    ) -> None:
        if frames < 1:
            raise OptionError(f"frames = {frames}", "calibrate on 1 or more; some hundred are usual")
        self.given = Uniform(weight_bits, act_bits, layers)
        self.frames, self.fold, self.equalise, self.correct = frames, fold, equalise, correct
        self._floating: Floating | None = None

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Sets the widths, and switches all quantisers off.

        Raises:
            OptionError: Weights or activations are no integers of two bits or more (in float a sign is nothing), or
                layers share a quantiser.
        """
        self.seen()
        self.given.prepare(model, example, steps)
        super().prepare(model, example, steps)
        for name, proxy in activations(model).items():
            set_activation_bits(proxy, int(activation_bits(proxy)), name)
        for name, layer in self.layers.items():
            set_weight_bits(layer, int(weight_bits(layer)), name)
            if len(layer.weight_quant.tracked_module_list) > 1:
                raise OptionError(f"{name} shares its quantiser with another layer", "give each layer one of its own")
        self._floating = Floating(model)

    def finalize(self) -> None:
        """Quantises. The network is left as it is for inference (``eval``)."""
        if self._floating is not None:
            self._floating.remove()
        x = self.seen().some(self.frames).x
        self.model.eval()
        if self.fold:
            fold_norms(self.model)
        if self.equalise:
            equalise_ranges(self.model)
        calibrate(self.model, x)
        self.quantise(x)
        if self.correct:
            correct_biases(self.model, x)

    def quantise(self, x: Tensor) -> None:
        """Puts all weights on grids: what a method is made of. Activations are calibrated, norms folded.

        Args:
            x: (frames, *shape), for calibration.
        """
        raise NotImplementedError


# --------------------------------------------------------------------------------------------------- float networks


def fold_norms(model: nn.Module) -> None:
    """Merges each batch norm into the layer that it alone reads, in place; an identity stays where it was.

    Raises:
        OptionError: The network cannot be traced.
    """
    nodes = [node for node in _traced(model).nodes if node.op == "call_module"]
    with _float_weights(model):
        for node in nodes:
            norm, source = model.get_submodule(node.target), node.all_input_nodes[0]
            if not isinstance(norm, _NORMS) or source.op != "call_module" or len(source.users) > 1:
                continue
            layer = model.get_submodule(source.target)
            often = sum(other.target in (node.target, source.target) for other in nodes) > 2
            if isinstance(layer, QuantLayer) and norm.affine and norm.running_mean is not None and not often:
                merge_bn(layer, norm, layer.output_channel_dim)
                model.set_submodule(node.target, nn.Identity())


def equalise_ranges(model: nn.Module) -> None:
    """Scales each channel down in one layer and up in the next, by the ratio of their ranges, in place.

    Only across what a positive factor passes through; the float network computes the same as before.

    Raises:
        OptionError: The network cannot be traced.
    """
    flat = fx.GraphModule(model, _traced(model))  # has containers of its own, but the layers are the model's
    for name in activations(flat):
        kind = {qnn.QuantReLU: nn.ReLU, qnn.QuantIdentity: nn.Identity}.get(type(flat.get_submodule(name)))
        if kind is not None:
            flat.set_submodule(name, kind())
    with _float_weights(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on optional packages
        EqualizeGraph().apply(flat)


def _traced(model: nn.Module) -> fx.Graph:
    return traced(
        model,
        "the network cannot be traced, so that its norms and ranges stay unknown",
        "say fold = false and equalise = false, or keep decisions about values out of forward()",
    )


@contextmanager
def _float_weights(model: nn.Module) -> Iterator[None]:
    """Takes the quantisers of weights away for a time.

    Brevitas makes one anew whenever its weight is replaced, and forgets the width that was set.
    """
    proxies = [(layer, layer.weight_quant) for layer in weight_layers(model).values()]
    for layer, _ in proxies:
        del layer.weight_quant
    try:
        yield
    finally:
        for layer, proxy in proxies:
            layer.weight_quant = proxy


# ------------------------------------------------------------------------------------------------------- calibration


def calibrate(model: nn.Module, x: Tensor) -> None:
    """Gives every activation the scale that its statistics over ``x`` ask for, in the float network."""
    for proxy in activations(model).values():
        renew_quantizer(proxy)
    with torch.no_grad(), calibration_mode(model):
        model(x)


def correct_biases(model: nn.Module, x: Tensor) -> None:
    """Adds to each bias the mean of what quantisation took from its channel; layers without one get one."""
    with torch.no_grad(), bias_correction_mode(model):
        for part in x.split(AT_ONCE):
            model(part)
