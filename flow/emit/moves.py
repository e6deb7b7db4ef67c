# SPDX-License-Identifier: Apache-2.0
"""The C++ of what computes nothing: selections, repeats, shuffles, forks, gearboxes."""

from types import SimpleNamespace

import numpy as np

from flow.emit.cxx import table, type_name
from flow.emit.process_text import HlsOptions, add_layer, layer_header, shape_text
from flow.ir.dataflow import ChannelShuffle, PixelShuffle, Repeat, Selection
from flow.ir.types import Ints, IntType
from flow.plan.design import container_bits
from flow.plan.processes import Fork, Gearbox, LayerProcess, kept_places


def add_select(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A part of the rows, columns and channels."""
    layer = process.layer
    assert isinstance(layer.op, Selection)
    add_layer(text, process)
    kept = kept_places(layer, process.in_lanes)
    conditions = []
    for name, places in zip(("row", "column", "word"), kept, strict=True):
        condition = _kept(text, name, places)
        conditions += [condition] if condition else []
    # counters are needed from the outermost axis of which only a part is kept
    first = next((place for place, places in enumerate(kept) if not places.all()), len(kept))
    names = ("row", "column", "word")
    text.counters = [SimpleNamespace(name=names[i], size=len(kept[i])) for i in range(len(kept) - 1, first - 1, -1)]
    text.header = _header(process, options, f"{_ranges(layer.op)} of {shape_text(layer.x.shape)}")
    vars(text).update(iterations=process.cycles, keep=" && ".join(conditions) or "true")


def _kept(text: SimpleNamespace, name: str, places: Ints) -> str:
    """The condition that a row, column or word is kept; empty where all are."""
    if places.all():
        return ""
    found = places.nonzero()[0]
    first, last = int(found[0]), int(found[-1])
    if len(found) == last - first + 1:
        low = [f"{name} >= {first}"] if first else []
        high = [f"{name} <= {last}"] if last < len(places) - 1 else []
        return " && ".join([*low, *high])
    constant = f"{text.identifier}_{name}s"
    text.tables.append(table(constant, f"1 for every {name} that is kept", places, IntType(1, signed=False)))
    return f"{constant}[{name}] == 1"


def _ranges(op: Selection) -> str:
    parts = zip(op.start, op.stop, op.step, strict=True)
    return "[" + ", ".join(f"{a}:{b}" + (f":{c}" if c > 1 else "") for a, b, c in parts) + "]"


def add_repeat(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """Every pixel so many times."""
    layer = process.layer
    assert isinstance(layer.op, Repeat)
    add_layer(text, process)
    height, width, channels = layer.x.shape
    rows, columns = layer.op.factors
    text.header = _header(process, options, f"{shape_text(layer.x.shape)}, each pixel {rows} x {columns} times")
    vars(text).update(height=height, width=width, rows=rows, columns=columns, words=channels // process.in_lanes)


def add_pixel_shuffle(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """Blocks of pixels out of channels."""
    layer = process.layer
    assert isinstance(layer.op, PixelShuffle)
    add_layer(text, process)
    height, width, channels = layer.x.shape
    (rows, columns), words = layer.op.block, layer.acc.shape[-1] // process.in_lanes
    pixel = channels // process.in_lanes
    # from one row of a block to the next, from one pixel, from one word
    steps = (columns * words, words, 1) if layer.op.depth_last else (columns, 1, rows * columns)
    text.header = _header(
        process, options, f"{shape_text(layer.x.shape)}, blocks of {rows} x {columns} pixels out of channels"
    )
    vars(text).update(
        height=height, width=width, rows=rows, columns=columns, words=words, pixel_words=pixel, steps=steps
    )


def add_channel_shuffle(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """The channels of every pixel in another order."""
    layer, lanes = process.layer, process.in_lanes
    assert isinstance(layer.op, ChannelShuffle)
    add_layer(text, process)
    order = np.array(layer.op.order)
    words, whole = len(order) // lanes, layer.op.run % lanes == 0 and lanes < len(order)
    places = order[::lanes] // lanes if whole else order
    constant = f"{text.identifier}_order"
    what = "word" if whole and lanes > 1 else "channel"
    text.tables.append(table(constant, f"where each {what} comes from", places, IntType.holding(0, len(places) - 1)))
    text.header = _header(process, options, f"{shape_text(layer.x.shape)}, its channels in another order")
    vars(text).update(
        order=constant,
        iterations=process.cycles,
        in_words=process.in_words,
        words=words,
        whole=whole,
        pixels=min(layer.positions, 2),
        channels=len(order),
    )


def _header(process: LayerProcess, options: HlsOptions, what: str) -> list[str]:
    lanes = process.in_lanes
    return layer_header(
        process, options, [f"{what}: {process.layer.y.element}", f"PE {lanes}: {process.cycles} cycles a frame"]
    )


def add_fork(text: SimpleNamespace, fork: Fork) -> None:
    """Every word to every reader."""
    text.header = [
        f"{fork.copies} copies of a stream of {fork.values} values of {fork.element} a frame.",
        f"{fork.lanes} values a word: {fork.cycles} cycles a frame.",
    ]
    text.words = fork.cycles


def add_gearbox(text: SimpleNamespace, box: Gearbox, *, kernel: bool) -> None:
    """Words of one width into words of another; those of a kernel have no TUSER, TID and TDEST."""
    element = type_name(box.element)
    container = container_bits(box.element)
    signed = isinstance(box.element, IntType) and box.element.signed
    stored = f"ap_{'' if signed else 'u'}int<{container}>"
    high = f"{container} * i + {container - 1}" if container > 1 else "i"
    low = f"{container} * i" if container > 1 else "i"
    reads_axis, writes_axis = box.role == "input", box.role == "output"
    vars(text).update(
        header=[
            {
                "input": f"Takes the input words of {box.in_lanes} values apart: {box.out_lanes} leave together.",
                "output": f"Makes output words of {box.out_lanes} values; {box.in_lanes} arrive together.",
                "between": f"Words of {box.in_lanes} values into words of {box.out_lanes}.",
            }[box.role],
            f"{box.values} values of {box.element} a frame, {box.cycles} cycles.",
        ],
        element=element,
        values=box.values,
        capacity=box.capacity,
        iterations=box.cycles,
        last_read=box.last_read,
        places=box.places,
        place_step=box.step,
        kept=max(box.capacity - box.out_lanes, 0),
        to_axis=writes_axis,
        side=not kernel,
        take=f"{element}(taken.data >> ({low}))" if reads_axis else "taken[i]",
        give=(
            f"given.data.range({high}, {low}) = (i < left) ? {stored}(held[i]) : {stored}(0)"
            if writes_axis
            else "given[i] = held[i]"
        ),
    )
