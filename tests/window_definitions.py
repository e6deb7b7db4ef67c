# SPDX-License-Identifier: Apache-2.0
"""Convolutions by their definition: one loop over everything, in numbers of any kind."""

import itertools

import numpy as np


def plain_conv(x, w, win, groups):
    """By the definition, in rationals: x is (frames, *spatial, channels)."""
    *kernel, rows, outputs = w.shape
    size = win.outputs(x.shape[1:-1])
    found = np.zeros((len(x), *size, outputs), object)
    for frame, *place, m in np.ndindex(found.shape):
        group = m // (outputs // groups)
        for tap in itertools.product(*map(range, kernel)):
            at = win.inputs(tap, tuple(place))
            if all(0 <= i < s for i, s in zip(at, x.shape[1:-1], strict=True)):
                for row in range(rows):
                    found[(frame, *place, m)] += x[(frame, *at, group * rows + row)] * w[(*tap, row, m)]
    return found


def plain_transposed(x, w, win, groups, size):
    *kernel, rows, outputs = w.shape
    found = np.zeros((len(x), *size, outputs), object)
    for frame, *place, channel in np.ndindex(x.shape):
        group, row = divmod(channel, rows)
        each = outputs // groups
        for tap in itertools.product(*map(range, kernel)):
            at = [
                i * s - b + t * d
                for i, s, b, t, d in zip(place, win.strides, win.before, tap, win.dilations, strict=True)
            ]
            if all(0 <= i < s for i, s in zip(at, size, strict=True)):
                for m in range(group * each, (group + 1) * each):
                    found[(frame, *at, m)] += x[(frame, *place, channel)] * w[(*tap, row, m)]
    return found
