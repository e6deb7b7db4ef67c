# SPDX-License-Identifier: Apache-2.0
import numpy as np
from pass_helpers import assert_becomes, dataflow, dense, ints, source

from flow.ir.dataflow import ChannelShuffle, Convolution
from flow.ir.types import IntType
from flow.ir.window import Window
from flow.passes.fold_shuffles import fold_shuffles

X = source("x", (2, 3, 3), [-3, 0, 1], [3, 1, 2])
SHUFFLE = ChannelShuffle("s", "x", (2, 0, 1))


def conv(x, weight, groups=1):
    return Convolution("y", x, weight, Window.of(weight.shape[:2]), groups, 0, IntType(16, True))


def test_into_a_matrix_product():
    before = dataflow(X, SHUFFLE, dense("y", "s", [[1, 2], [3, 4], [5, 6]]))
    assert_becomes(fold_shuffles, before, dataflow(X, SHUFFLE, dense("y", "x", [[3, 4], [5, 6], [1, 2]])))


def test_into_a_convolution():
    weight = np.arange(12).reshape(1, 2, 3, 2)
    after = dataflow(X, SHUFFLE, conv("x", weight[:, :, [1, 2, 0]]))
    assert_becomes(fold_shuffles, dataflow(X, SHUFFLE, conv("s", weight)), after)


def test_not_into_groups_nor_through_other_nodes():
    for graph in (
        dataflow(X, SHUFFLE, conv("s", ints(1, 2, 3).reshape(1, 1, 1, 3), groups=3)),
        dataflow(X, SHUFFLE),
        dataflow(X, dense("y", "x", [[1], [2], [3]])),
    ):
        assert fold_shuffles(graph) is graph
