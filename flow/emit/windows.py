# SPDX-License-Identifier: Apache-2.0
"""The C++ of sliding windows: the window unit with its line buffer, and pools whose windows do not overlap."""

from types import SimpleNamespace

import numpy as np

from flow.emit.cxx import codes, type_name
from flow.emit.process_text import HlsOptions, add_layer, finish, layer_header, moved, number, shape_text
from flow.ir.dataflow import Convolution, Padding, PixelUnshuffle, Pooling
from flow.ir.types import ElementType
from flow.plan.layers import Layer
from flow.plan.processes import LayerProcess, WindowProcess
from flow.plan.window_unit import WindowUnit

_LONG = 16  # iterations behind which no pipeline still holds a write


def add_window(text: SimpleNamespace, process: WindowProcess, options: HlsOptions) -> None:
    """The window unit in front of a layer."""
    layer, unit = process.layer, process.unit
    text.header = [
        f"{options.origins.get(layer.name, layer.name)}: its windows",
        *_geometry(unit),
    ]
    assert isinstance(layer.op, Convolution | Pooling)
    _add_unit(text, unit, layer, process.element, layer.op.pad)


def add_window_layer(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A layer that is a window unit alone: it pads (a window of one tap), or makes channels of blocks of pixels."""
    layer = process.layer
    add_layer(text, process)
    assert isinstance(layer.op, Padding | PixelUnshuffle)
    pad = layer.op.value if isinstance(layer.op, Padding) else 0
    what = f"{pad} around {shape_text(layer.x.shape)}"
    if isinstance(layer.op, PixelUnshuffle):
        what = f"{shape_text(layer.x.shape)}, channels out of blocks of {shape_text(layer.op.block)} pixels"
    text.header = layer_header(process, options, [what, *_geometry(process.unit)])
    _add_unit(text, process.unit, layer, layer.y.element, pad)


def _geometry(unit: WindowUnit) -> list[str]:
    height, width = unit.window.outputs((unit.height, unit.width))
    return [
        f"{unit.height} x {unit.width} x {unit.channels} -> {height} x {width} windows of {unit.window}",
        f"{unit.lanes} values a word, {unit.rows} rows of line buffer: {unit.cycles} cycles a frame",
    ]


def _add_unit(text: SimpleNamespace, unit: WindowUnit, layer: Layer, element: ElementType, pad: int) -> None:
    window = unit.window
    (kernel_h, kernel_w), (stride_h, stride_w) = window.kernel, window.strides
    dilation_h, dilation_w = (d if k > 1 else 1 for d, k in zip(window.dilations, window.kernel, strict=True))
    top, left = window.inputs((0, 0), (0, 0))
    columns = window.outputs((unit.height, unit.width))[1]
    last_left = left + (columns - 1) * stride_w
    second = (top, left + stride_w) if columns > 1 else (top + stride_h, left)
    distance = unit.distance
    vars(text).update(
        element=type_name(element),
        lanes=unit.lanes,
        rows=unit.rows,
        row_words=unit.row_words,
        pixel_words=unit.pixel_words,
        block_words=unit.block_words,
        blocks=unit.blocks,
        words=unit.in_words,
        positions=unit.positions,
        iterations=unit.cycles,
        height=unit.height,
        width=unit.width,
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        stride_h=stride_h,
        stride_w=stride_w,
        dilation_h=dilation_h,
        dilation_w=dilation_w,
        span_h=window.span[0],
        span_w=window.span[1],
        top=top,
        left=left,
        last_left=last_left,
        columns=columns,
        top_slot=top % unit.rows,
        # a single window does not move: numbers take the place of the counters
        at_top="top" if unit.positions > 1 else str(top),
        at_left="left" if unit.positions > 1 else str(left),
        at_slot="top_slot" if unit.positions > 1 else str(top % unit.rows),
        next_top_slot=_around("top_slot", stride_h, unit.rows),
        next_slot=_around("slot", dilation_h, unit.rows),
        bottom_end=_least(f"next_top + {window.span[0]}", unit.height),
        right_end=_least(f"next_left + {window.span[1]}", unit.width),
        above=_times("bottom - 1", unit.row_words),
        beside=_times("right", unit.pixel_words),
        reached=_times(f"next_top + {unit.rows}", unit.row_words),
        passed=_times("passed" if window.pads else "next_left", unit.pixel_words),
        place=" + ".join(
            [
                _times("column", unit.pixel_words),
                *(["block"] if unit.blocks > 1 else []),
                *(["word"] if unit.block_words > 1 else []),
            ]
        ),
        first_needed=int(unit.needed(top, left)),
        first_limit=int(unit.limit(top, left)),
        second_top=second[0],
        second_left=second[1],
        second_needed=int(unit.needed(*second)),
        second_limit=int(unit.limit(*second)),
        distance=distance,
        independent=distance is not None and distance >= _LONG,
        may_leave=window.pads,
        taken=moved("taken[i]", layer.x.element, element),
        pad=int(codes(np.array([pad]), element)[0]),
    )


def _around(slot: str, step: int, rows: int) -> str:
    """The slot so many rows further; empty where that is the same."""
    if step % rows == 0:
        return ""
    return f"({slot} >= {rows - step}) ? {slot} - {rows - step} : {slot} + {step}"


def _least(expression: str, most: int) -> str:
    return f"({expression} < {most}) ? {expression} : {most}"


def _times(expression: str, factor: int) -> str:
    """A product with a number, without what changes nothing."""
    if factor == 1:
        return expression
    return f"({expression}) * {factor}" if " " in expression else f"{expression} * {factor}"


def add_pool(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A pool whose windows neither overlap nor reach into padding: it combines pixels as they come."""
    layer, plan = process.layer, process.plan
    add_layer(text, process)
    assert isinstance(layer.op, Pooling)
    height, width, channels = layer.x.shape
    (kernel_h, kernel_w), (stride_h, stride_w) = layer.op.window.kernel, layer.op.window.strides
    rows, columns = layer.acc.shape[:2]
    # a single window has no next one: its taps are counted to the end
    stride_h, stride_w = stride_h if rows > 1 else height, stride_w if columns > 1 else width
    words = channels // plan.pe
    greatest = layer.op.kind == "max"
    used_h, used_w = (rows - 1) * stride_h + kernel_h, (columns - 1) * stride_w + kernel_w
    inside = [
        *(["tap_row < " + str(kernel_h)] if stride_h > kernel_h and rows > 1 else []),
        *(["tap_column < " + str(kernel_w)] if stride_w > kernel_w and columns > 1 else []),
        *([f"row < {used_h}"] if used_h < height else []),
        *([f"column < {used_w}"] if used_w < width else []),
    ]
    first = [*(["tap_row == 0"] if kernel_h > 1 else []), *(["tap_column == 0"] if kernel_w > 1 else [])]
    last = [
        *([f"tap_row == {kernel_h - 1}"] if kernel_h > 1 else []),
        *([f"tap_column == {kernel_w - 1}"] if kernel_w > 1 else []),
    ]
    # iterations from the one that writes a place of the row buffer to the next that reads it
    running = words == 1 and kernel_w > 1
    distance = words if kernel_w > 1 and not running else width - (kernel_w - 1 if running else 0)
    text.header = layer_header(
        process,
        options,
        [
            f"{layer.op.kind} over {kernel_h} x {kernel_w} of {shape_text(layer.x.shape)} {layer.x.element} "
            f"-> {shape_text(layer.acc.shape)} {layer.y.element}",
            f"PE {plan.pe}: {process.cycles} cycles a frame",
        ],
    )
    vars(text).update(
        total_type=text.x_type if greatest else text.acc_type,
        value="x[p]" if greatest else number("x[p]", layer.x.element),
        greatest=greatest,
        iterations=process.cycles,
        places=columns * words,
        words=words,
        width=width,
        kernel_w=kernel_w,
        running=running,
        index="place + word" if words > 1 else "place",
        buffered=kernel_h > 1 or (kernel_w > 1 and not running),
        distance=distance if 1 < distance < _LONG else 0,
        independent=distance >= _LONG,
        inside=" && ".join(inside),
        first=" && ".join(first) or "true",
        last=" && ".join(last) or "true",
        # which counters are looked at
        rows=f"row < {used_h}" in inside,
        tap_rows=stride_h if kernel_h > 1 or any("tap_row" in c for c in inside) else 0,
        tap_columns=stride_w if kernel_w > 1 or stride_w > 1 else 0,
        finish=finish(text, "total", "word" if words > 1 else "0"),
    )
