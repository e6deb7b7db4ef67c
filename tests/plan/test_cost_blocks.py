# SPDX-License-Identifier: Apache-2.0
"""Every layer has a price, more lanes never cost less logic, and the terms name what takes it."""

import numpy as np
import pytest
import test_random_networks as networks

from flow.plan import board as boards
from flow.plan import cost_blocks as blocks
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_resources
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
            assert option.cycles == layer_cycles(layer, option.plan) > 0
            terms = layer_resources(layer, option.plan, BOARD)
            assert sum(terms.values(), Resources.zero()) == option.resources
            assert "line_buffer" in terms or layer.window is None


@pytest.mark.parametrize("seed", SEEDS)
def test_more_lanes_take_no_fewer_cells_and_no_more_cycles(seed):
    for layer in layers_of(networks.layer_network(seed)):
        narrow = plan_of(layer, layer.pe_options[0], layer.simd_options[0])
        wide = plan_of(layer, layer.pe_options[-1], layer.simd_options[-1])
        assert layer_cycles(layer, wide) <= layer_cycles(layer, narrow)
        if layer.op is not None and layer.step is None and layer.product is None and layer.window is None:
            few, many = (sum(layer_resources(layer, p, BOARD).values(), Resources.zero()).ff for p in (narrow, wide))
            assert few <= many


@pytest.mark.parametrize("seed", [10, 12, 13, 20])
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
