# SPDX-License-Identifier: Apache-2.0
"""The host's part of a network for the C++ driver: the steps of ``io.json`` with their shapes, as C++.

The Python driver lets numpy find out how a constant lies along a frame; here that is decided: a stride for each axis.
"""

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from flow.emit.render import render
from flow.ir.model import Shape
from flow.ir.types import Reals

_NOTHING = "{}"
_QUANTIZER = "{{}, {}, {}, Rounding::half_even, 0, 0}"


class _LargerError(Exception):
    """A constant has more values than the frame that it meets."""


def host_part(io: dict[str, Any]) -> str:
    """``host_part.cpp``.

    Args:
        io: ``io.json``.
    """
    front, output = io["input"]["from_float"], io["output"]
    missing = front.get("missing") or output["to_float"].get("missing") or ""
    text: dict[str, Any] = {"frame_values": 0, "before": [], "behind": [], "quantizer": _QUANTIZER}
    text |= {"shape": _NOTHING, "scale": _NOTHING, "offset": _NOTHING}
    if not missing:
        try:
            text = _texts(front, output)
        except _LargerError:
            missing = "a constant larger than the frame"
    return render("driver/cpp/host_part.cpp.j2", design=io["design"], missing=json.dumps(missing), **text)


def _texts(front: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    shape, before = _steps(tuple(front["shape"]), front["steps"])
    quantize = front["quantize"]
    scale, zero_point = (np.asarray(quantize[name], float) for name in ("scale", "zero_point"))
    shape = _widened(shape, max(scale.ndim, zero_point.ndim))
    limits = f"{_number(quantize['least'])}, {_number(quantize['greatest'])}"
    constants = f"{_constant(scale, shape)}, {_constant(zero_point, shape)}"
    decoded = tuple(output["to_float"]["shape"])
    worth = {n: np.array([float(Fraction(value)) for value in output[n]]) for n in ("scale", "offset")}
    return {
        "frame_values": math.prod(front["shape"]),
        "before": before,
        "quantizer": f"{{{_list(shape)}, {constants}, Rounding::{quantize['rounding']}, {limits}}}",
        "shape": _list(decoded),
        "scale": _constant(worth["scale"], decoded),
        "offset": _constant(worth["offset"], decoded),
        "behind": _steps(decoded, output["to_float"]["steps"])[1],
    }


def _steps(shape: Shape, steps: Sequence[dict[str, Any]]) -> tuple[Shape, list[str]]:
    """The shape behind them, and each as the initialiser of a ``Step``."""
    found = []
    for step in steps:
        kind = step["step"]
        if kind == "reshape":  # the values stay where they are
            shape = tuple(step["shape"])
            continue
        value = np.asarray(step.get("with", step.get("slope", [])), float)
        shape = _widened(shape, value.ndim) if value.size else shape
        constant = _constant(value, shape) if value.size else _NOTHING
        least, greatest = step.get("least", 0.0), step.get("greatest", 0.0)
        found.append(
            f"{{Kind::{kind}, {_list(shape)}, {constant}, {str(step.get('first', False)).lower()}, "
            f"{_number(least, '-HUGE_VAL')}, {_number(greatest, 'HUGE_VAL')}, {_list(step.get('order', ()))}, "
            f"{step.get('axis', 0)}, {step.get('count', 0)}}}"
        )
        if kind == "transpose":
            shape = tuple(shape[axis] for axis in step["order"])
        if kind == "argmax":
            axis = step["axis"]
            kept = (step["count"],) if step["keep"] else ()
            shape = (*shape[:axis], *kept, *shape[axis + 1 :])
    return shape, found


def _widened(shape: Shape, rank: int) -> Shape:
    """With axes of one in front, as numpy adds them."""
    return (1,) * (rank - len(shape)) + shape


def _constant(value: Reals, shape: Shape) -> str:
    """The values, and how far they lie apart along each axis of a frame."""
    value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if np.broadcast_shapes(value.shape, shape) != shape:
        raise _LargerError
    strides, inside = [], 1
    for own in reversed(value.shape):
        strides.append(inside if own > 1 else 0)
        inside *= own
    return f"{{{_list([_number(v) for v in value.ravel().tolist()])}, {_list(strides[::-1])}}}"


def _list(values: Sequence[object]) -> str:
    return f"{{{', '.join(map(str, values))}}}"


def _number(value: float | None, unbounded: str = "") -> str:
    """The shortest text that is read back as the same number; for None there is no bound."""
    return unbounded if value is None else repr(float(value))
