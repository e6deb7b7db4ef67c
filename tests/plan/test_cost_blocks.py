# SPDX-License-Identifier: Apache-2.0
"""Every layer has a price, more lanes never cost less logic, and the terms name what takes it."""

from math import ceil

import numpy as np
import pytest
import test_random_networks as networks

from flow.ir.dataflow import ChannelShuffle
from flow.plan import board as boards
from flow.plan import cost_blocks as blocks
from flow.plan.cost_coefficients import coefficients
from flow.plan.cost_interval import bounds
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_bounds, layer_resources
from flow.plan.folding import fold
from flow.plan.layers import layers_of
from flow.plan.options import layer_options
from flow.plan.plan import LayerPlan
from flow.plan.processes import layer_cycles
from flow.plan.resources import Resources

BOARD = boards.load("pynq-z2")
SEEDS = range(2 * len(networks.KINDS))


def plan_of(layer, pe, simd):
    return LayerPlan(layer.name, pe, simd, "lut", "lut", next(iter(layer.forms or ["none"])))


@pytest.mark.parametrize("seed", SEEDS)
def test_options_are_legal_and_priced(seed):
    for layer in layers_of(networks.layer_network(seed)):
        for option in layer_options(layer, BOARD):
            assert option.plan.pe in layer.pe_options
            assert option.plan.simd in layer.simd_options
            assert option.cycles > layer_cycles(layer, option.plan) > 0  # its pipeline runs empty between frames
            terms = layer_resources(layer, option.plan, BOARD)
            assert sum(terms.values(), Resources.zero()) == option.resources
            assert "line_buffer" in terms or layer.window is None


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_not_measured_has_the_wider_interval(seed):
    """A window unit, every block beside the matrix-vector unit, and every form of a step but parallel thresholds."""
    for layer in layers_of(networks.layer_network(seed)):
        for form in layer.forms or ["none"]:
            plan = LayerPlan(layer.name, layer.pe_options[0], layer.simd_options[0], "lut", "lut", form)
            terms = layer_resources(layer, plan, BOARD)
            wider = {"line_buffer", "window_control"} | ({"step_function"} if form != "thresholds" else set())
            if layer.product is None or layer.depthwise:
                wider = set(terms)
            kinds = [("other" if name in wider else "matrix_vector", amount) for name, amount in terms.items()]
            assert layer_bounds(layer, plan, terms) == bounds(kinds)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_interval_of_a_design_holds_its_estimate(seed):
    layers = layers_of(networks.layer_network(seed))
    found = design_resources(build_design(layers, fold(layers, BOARD, 100.0).plan, BOARD.axis_bits), BOARD)
    assert found.low.fits(found.total)
    assert found.total.fits(found.high)
    for name in ("dsp", "bram18", "uram"):  # counted, not fitted
        assert getattr(found.low, name) == getattr(found.total, name) == getattr(found.high, name)
    for name in ("lut", "ff"):
        assert getattr(found.low, name) < getattr(found.total, name) < getattr(found.high, name)


@pytest.mark.parametrize("seed", SEEDS)
def test_more_lanes_take_no_fewer_cells_and_no_more_cycles(seed):
    for layer in layers_of(networks.layer_network(seed)):
        narrow = plan_of(layer, layer.pe_options[0], layer.simd_options[0])
        wide = plan_of(layer, layer.pe_options[-1], layer.simd_options[-1])
        assert layer_cycles(layer, wide) <= layer_cycles(layer, narrow)
        if isinstance(layer.op, ChannelShuffle):
            continue  # all lanes are wires, one lane is a memory
        if layer.op is not None and layer.step is None and layer.product is None and layer.window is None:
            few, many = (sum(layer_resources(layer, p, BOARD).values(), Resources.zero()).ff for p in (narrow, wide))
            assert few <= many


@pytest.mark.parametrize("seed", [10, 12, 13, len(networks.KINDS) - 1])
def test_branched_networks_are_planned(seed):
    layers = layers_of(networks.layer_network(seed))
    found = fold(layers, BOARD, 100.0)
    design = build_design(layers, found.plan, BOARD.axis_bits)
    assert design_resources(design, BOARD).total == found.resources
    assert design.forked


def test_line_buffer_by_hand():
    """5 rows of 224 words of 64 bits are 1120 words: three times two block RAMs of 512 x 36."""
    assert blocks.window_unit(5, 224, 64)["line_buffer"].bram18 == 6
    assert blocks.window_unit(3, 32, 64)["line_buffer"] == blocks.row_buffer(96, 64)


def test_price_of_a_sum():
    """A factor of one is a wire, any other a product with a constant."""
    plain = blocks.scaled_sum(4, [5, 5], [0, 0], 6)
    scaled = blocks.scaled_sum(4, [5, 5], [3, 0], 8)
    assert plain.lut < scaled.lut
    assert plain == blocks.adders(4, 6)


def test_a_pool_and_its_control_have_the_measured_coefficients():
    c = coefficients()
    assert blocks.maxima(3, 8) == Resources(ceil(c.maximum_lut * 24), ceil(c.maximum_ff * 24), 0, 0, 0)
    assert blocks.control() == Resources(ceil(c.counter_lut), ceil(c.counter_ff), 0, 0, 0)


def test_depthwise_takes_a_rom_for_each_lane():
    terms = blocks.depthwise(
        pe=4,
        depth=36,
        input_bits=4,
        weight_bits=4,
        acc_bits=12,
        memory="bram",
        multiplier="dsp",
        dsp_kind="DSP48E1",
    )
    assert terms["weight_memory"].bram18 == 4
    assert terms["product"].dsp == 4
    assert np.isclose(blocks.fork(2, 8).ff - blocks.fork(2, 0).ff, 8)


def test_a_pixel_in_another_order_is_wires_a_memory_or_registers():
    assert blocks.shuffled_pixels(2, 1, 8, 4, whole=False) == Resources.zero()
    memory = blocks.shuffled_pixels(2, 64, 1, 4, whole=True)
    registers = blocks.shuffled_pixels(2, 4, 2, 4, whole=False)
    assert registers.ff == 2 * 4 * 2 * 4  # two pixels of four words of two values of four bits
    assert memory.ff < 2 * 64 * 4
    assert min(memory.lut, registers.lut) > 0
    frame = blocks.shuffled_pixels(1, 8192, 2, 9, whole=True)
    assert frame.bram18 == 8 + 8  # 8192 words of 18 bits; of the 13 bits of a place two columns of nine
