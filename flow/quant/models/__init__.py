# SPDX-License-Identifier: Apache-2.0
"""Known networks in Brevitas, by the names that recipes use. Every width is a parameter, of bits and of channels."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from flow.errors import OptionError
from flow.quant.models import dense, resnet, separable, vgg
from flow.quant.models.kit import Kit

__all__ = ["MODELS", "Kit", "build"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": dense.mlp,
    "kws_mlp": dense.kws_mlp,
    "jet_tagger": dense.jet_tagger,
    "autoencoder": dense.autoencoder,
    "lenet5": vgg.lenet5,
    "simplenet": vgg.simplenet,
    "vgg11": vgg.vgg11,
    "cnv": vgg.cnv,
    "svhn8": vgg.svhn8,
    "svhn10": vgg.svhn10,
    "alexnet": vgg.alexnet,
    "resnet8": resnet.resnet8,
    "resnet18": resnet.resnet18,
    "resnet20": resnet.resnet20,
    "mobilenet_v1": separable.mobilenet_v1,
    "mobilenet_v2": separable.mobilenet_v2,
    "ds_cnn": separable.ds_cnn,
}
FLAT = ("mlp", "kws_mlp", "jet_tagger", "autoencoder")
"""Models that take frames of any shape; the others take (channels, height, width)."""


def build(
    name: str, shape: Sequence[int], outputs: int, *, hidden: Sequence[int] | None = None, **kit: Any
) -> nn.Module:
    """A network with random weights.

    Args:
        name: One of ``MODELS``.
        shape: Of a frame.
        outputs: How many numbers it gives for a frame.
        hidden: The hidden layers of ``mlp``.
        kit: ``weight_bits``, ``act_bits``, ``input_bits``, ``scales``, ``width``, ``bias``: see ``Kit``.

    Raises:
        OptionError: There is no such network, or it cannot be made so.
    """
    if name not in MODELS:
        raise OptionError(f"there is no model '{name}'", f"choose one of {', '.join(MODELS)}")
    if name not in FLAT and len(shape) != 3:
        raise OptionError(
            f"{name} takes images (channels, height, width), the data has frames of shape {list(shape)}",
            f"choose one of {', '.join(FLAT)}",
        )
    if hidden is not None and name != "mlp":
        raise OptionError(f"{name} has hidden layers of its own", "leave out 'hidden', or choose mlp")
    made = Kit(**kit)
    model = MODELS[name](made, shape, outputs, **({"hidden": hidden} if hidden is not None else {}))
    made.finish()
    return model
