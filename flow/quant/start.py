# SPDX-License-Identifier: Apache-2.0
"""Where training starts: weights that were trained before, at other widths or in float."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import DataError, OptionError


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a run's checkpoint, or in a ``state_dict`` that was saved with ``torch.save``.

    Raises:
        DataError: The file is neither.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "check 'start' in [model]") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path} is no file of weights", "save with torch.save(model.state_dict(), path), or name a checkpoint.pt"
        ) from error
    for key in ("model", "state_dict", "tensors"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{path} holds no state_dict", "save with torch.save(model.state_dict(), path)")
    return {name: value for name, value in found.items() if not _is_of_quantizer(name)}


def take_over(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights, biases and what batch norms have seen; quantisers stay as they are.

    Args:
        model: Brevitas layers, before a method prepares them.
        weights: By name, as in ``model.state_dict()``; all of the model's, and no others.

    Raises:
        OptionError: They are those of another network.
    """
    own: dict[str, Any] = {name: value for name, value in model.state_dict().items() if not _is_of_quantizer(name)}
    problems = [f"{name} is missing" for name in own if name not in weights]
    layers = tuple(f"{name.rpartition('.')[0]}." for name in own)  # a method may have kept its own state there
    problems += [f"{name} is in no layer" for name in weights if name not in own and not name.startswith(layers)]
    problems += [
        f"{name} is {list(weights[name].shape)}, not {list(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise OptionError(
            f"the weights to start from are those of another network: {', '.join(problems[:3])}{more}",
            "name the same model, of the same size, as they were trained in",
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])


def _is_of_quantizer(name: str) -> bool:
    return any(part.endswith("_quant") for part in name.split("."))
