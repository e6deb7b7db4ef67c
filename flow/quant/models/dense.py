# SPDX-License-Identifier: Apache-2.0
"""Networks of dense layers."""

import itertools
from collections.abc import Sequence
from math import prod

from torch import nn

from flow.quant.models.kit import Kit


def mlp(kit: Kit, shape: Sequence[int], outputs: int, hidden: Sequence[int] = (64, 64)) -> nn.Module:
    """Dense layers with norms and ReLUs; the last one gives the scores."""
    widths = [prod(shape), *(kit.of(h) for h in hidden)]
    layers: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    layers += [kit.input(), *(kit.dense(i, o) for i, o in itertools.pairwise(widths))]
    return nn.Sequential(*layers, kit.linear(widths[-1], outputs, bias=True))


def kws_mlp(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Keyword spotting by three hidden layers of 256 on 49 x 10 features.

    Source: the hls4ml and FINN entries to the MLPerf Tiny benchmark, Borras et al., arXiv:2206.11791, section 3.3.
    """
    return mlp(kit, shape, outputs, (256, 256, 256))


def jet_tagger(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Three hidden layers of 64, 32 and 32 on 16 features of a jet.

    Source: Duarte et al., Fast inference of deep neural networks in FPGAs for particle physics, arXiv:1804.06913.
    """
    return mlp(kit, shape, outputs, (64, 32, 32))


def autoencoder(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """The deep autoencoder for sounds of machines: four times 128, 8, four times 128, and as wide as its input.

    Source: Banbury et al., MLPerf Tiny benchmark, arXiv:2106.07597, section 4.4. It rebuilds its input: ``outputs`` is
    the number of inputs.
    """
    return mlp(kit, shape, outputs, (128, 128, 128, 128, 8, 128, 128, 128, 128))
