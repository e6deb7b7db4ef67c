# SPDX-License-Identifier: Apache-2.0
"""Energy is measured board power times time, and absent where nothing was measured."""

from dataclasses import replace

import pytest

from flow.plan import board as boards
from flow.plan.power import energy_per_frame


def test_published_energies_lie_in_the_range() -> None:
    """MLPerf Tiny 0.7 on PYNQ-Z2: frames a second, and microjoules of a frame as the power meter gave them."""
    board = boards.load("pynq-z2")
    runs = ((53_365.4, 30.006), (57_268.1, 30.667), (661.473, 2_530.450), (36.596, 44_190.540))
    for frames, measured in runs:
        found = energy_per_frame(board, round(100e6 / frames), 100.0)
        assert found is not None
        low, high = (joules * 1e6 for joules in found)
        assert low <= measured <= high


def test_energy_is_power_times_time() -> None:
    board = replace(boards.load("pynq-z2"), running_watts=(2.0, 3.0))
    assert energy_per_frame(board, 1000, 100.0) == pytest.approx((2e-5, 3e-5))  # floating point
    assert energy_per_frame(board, 1000, 200.0) == pytest.approx((1e-5, 1.5e-5))


def test_no_energy_without_a_measurement() -> None:
    board = boards.load("zcu104")
    assert board.running_watts is None
    assert energy_per_frame(board, 1000, 100.0) is None
