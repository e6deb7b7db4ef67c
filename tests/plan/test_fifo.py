# SPDX-License-Identifier: Apache-2.0
"""The depths of the timetable: against the event model, and by hand."""

import collections
from dataclasses import replace

import numpy as np
import pytest
import test_random_networks as networks
from random_designs import random_case

from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan import fifo
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.timing import depths_of, event_model


@pytest.mark.parametrize("seed", range(60))
def test_timetable_keeps_the_pace(seed):
    """With pipelines of each depth that it was laid out for."""
    design = random_case(seed, networks.layer_network(seed), collections.Counter()).design
    for times in fifo.PIPELINES:
        model = event_model(design, times)
        assert model.interval(depths_of(design)) == model.slowest


def test_chain_of_convolutions_keeps_its_pace():
    """While a window unit reads the first rows of a frame, its core works on windows that wait in the stream."""
    used = collections.Counter()
    rng = np.random.default_rng(0)
    net = networks.Network(rng, (10, 10, 4), IntType(4, signed=False))
    same = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))
    last = net.step(net.convolution(net.step(net.convolution("x", window=same, outputs=4)), window=same, outputs=4))
    design = random_case(0, net.graph(last), used).design
    plan = replace(design.plan, layers=tuple(replace(p, pe=2, simd=4) for p in design.plan.layers))
    model = event_model(design := build_design(layers_of(net.graph(last)), plan, 64))
    assert model.interval(depths_of(design)) == model.slowest
    assert model.interval([2] * len(design.streams)) > 1.2 * model.slowest


def test_most_waiting_by_hand():
    """Four words, written at once one after the other, read late: all four wait; read in the next frame, seven."""
    written = np.arange(4)
    assert fifo._most_waiting(written, np.array([1, 2, 3, 4]), 10) == 2  # a place is free a cycle after the read
    assert fifo._most_waiting(written, np.array([5, 6, 7, 8]), 10) == 4
    assert fifo._most_waiting(written, np.array([13, 14, 15, 16]), 10) == 8
    assert fifo._most_waiting(written, np.array([12, 13, 14, 15]), 10) == 7
