# SPDX-License-Identifier: Apache-2.0
"""The network of a model file, planned by this compiler with the folding of its FINN builds, against what they took."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from finn_rows import Row, Sorted, Unit, options, repository, sort_rows, units

from flow.api.compile import compile_model
from flow.plan import board as boards
from flow.plan.design import Design, build_design
from flow.plan.estimate import design_resources
from flow.plan.layers import Layer, layers_of
from flow.plan.plan import LayerPlan, Plan
from flow.plan.timing import frame_latency

BOARD = "pynq-z2"
Fold = tuple[int, int, int, int]
"""Inputs, outputs, PE and SIMD of a matrix-vector unit."""


def table(rows: Sequence[Row], model: Path, extras: dict[str, float]) -> str:
    """Built and estimated resources and latency of each build.

    Args:
        rows: The measured rows.
        model: The network's file; its first layer takes bytes.
        extras: What FINN's units have and ours do not: ``stream_lut``, ``stream_ff`` for a bit of the stream of
            weights, ``buffer_lut``, ``buffer_ff`` for a bit of the input registers.
    """
    found = sort_rows(rows)
    board = boards.load(BOARD)
    layers = layers_of(compile_model(model, "u8", lambda name, graph: None).graph)
    shapes = [(layer.inputs, layer.outputs) for layer in layers if layer.product is not None]
    lines = [
        f"{model.name}, planned with the folding of its FINN builds: built / estimated (its interval)",
        "'+ FINN' is the estimate with the streams of weights and the input registers of FINN's units, which ours lack",
    ]
    for row in found.used["whole designs"]:
        folds: list[Fold] = [
            (int(a), int(b), int(pe), int(simd))
            for a, b, pe, simd in re.findall(r"\[(\d+)->(\d+),w\d+a\d+,PE(\d+),SIMD(\d+)\]", row["notes"])
        ]
        if [fold[:2] for fold in folds] != shapes:
            continue
        built = _units(found, repository(row))
        own = [built[fold] for fold in folds]
        design = _design(layers, own, _input_lanes(found, row))
        resources = design_resources(design, board)
        lut = sum(extras["stream_lut"] * u.streamed_bits + extras["buffer_lut"] * u.buffered_bits for u in own)
        ff = sum(extras["stream_ff"] * u.streamed_bits + extras["buffer_ff"] * u.buffered_bits for u in own)
        total, low, high = resources.total, resources.low, resources.high
        latency, measured = frame_latency(design), int(row["latency_cycles"])
        lines.append(
            f"  {row['layer_or_model'].removeprefix('MODEL:'):<16}"
            f"LUT {row['LUT']:>6} / {total.lut:>6} ({low.lut} to {high.lut}), + FINN {total.lut + lut:>6.0f}   "
            f"FF {row['FF']:>6} / {total.ff:>6} ({low.ff} to {high.ff}), + FINN {total.ff + ff:>6.0f}   "
            f"BRAM18 {row['BRAM18']:>4} / {total.bram18:>4}   "
            f"latency {measured:>5} / {latency:>5} cycles ({latency / measured - 1:+.1%})"
        )
    return "\n".join(lines)


def _units(found: Sorted, author: str) -> dict[Fold, Unit]:
    chosen = [unit for unit in units(found.used["matrix-vector units"]) if unit.repository == author]
    return {(u.config.inputs, u.config.outputs, u.config.pe, u.config.simd): u for u in chosen}


def _input_lanes(found: Sorted, row: Row) -> int:
    """Values that a build compares at once at its input."""
    build = row["layer_or_model"].removeprefix("MODEL:")
    first = next(r for r in found.used["searches"] if f"build {build};" in r["notes"])
    return int(options(first)["PE"])


def _design(layers: tuple[Layer, ...], folded: Sequence[Unit], lanes: int) -> Design:
    """The same folding and memories; the input as wide as FINN's stream, rounded up to what ours can be."""
    plans, remaining = [], iter(folded)
    for layer in layers:
        if layer.product is None:
            plans.append(LayerPlan(layer.name, lanes, 1, "lut", "lut", "thresholds"))
            continue
        config = next(remaining).config
        form = "thresholds" if layer.step is not None else "none"
        memory = "bram" if config.weight_memory == "bram" else "lut"
        plans.append(LayerPlan(layer.name, config.pe, config.simd, memory, "lut", form))  # type: ignore[arg-type]
    axis_bits = 2 ** math.ceil(math.log2(lanes * layers[0].x.element.bits))
    clock = boards.load(BOARD).clock.default_mhz
    return build_design(layers, Plan(BOARD, clock, tuple(plans)), axis_bits)
