# SPDX-License-Identifier: Apache-2.0
"""The report of a build: estimates with their intervals, energy where the board's power is known."""

from pathlib import Path

import pytest

import flow
from flow.plan import board as boards
from flow.report.schema import BuildReport, Estimated

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_mlp" / "digits_mlp.onnx"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    return flow.build(EXAMPLE, csim=False, out=tmp_path_factory.mktemp("build") / "digits").report


def test_an_interval_holds_its_estimate(report: BuildReport) -> None:
    for figures in (report.total, *(layer.resources for layer in report.layers)):
        for name, figure in figures.items():
            assert isinstance(figure, Estimated)
            if name in ("lut", "ff"):
                assert figure.low is not None
                assert figure.high is not None
                assert figure.low < figure.value < figure.high
            else:
                assert (figure.low, figure.high) == (None, None)  # counted, not fitted


def test_energy_is_that_of_the_interval(report: BuildReport) -> None:
    assert report.energy is not None
    assert report.interval is not None
    assert isinstance(report.energy, Estimated)
    low, high = boards.load("pynq-z2").running_watts or (0, 0)
    seconds = report.interval.value / (report.clock_mhz * 1e6)
    assert (report.energy.low, report.energy.high) == pytest.approx((low * seconds, high * seconds))  # floating point


def test_no_energy_on_a_board_that_nobody_measured(tmp_path: Path) -> None:
    assert flow.build(EXAMPLE, board="zcu104", csim=False, out=tmp_path / "digits").report.energy is None
