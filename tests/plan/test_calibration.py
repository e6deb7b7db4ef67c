# SPDX-License-Identifier: Apache-2.0
"""Coefficients in use, and a refit to a handful of blocks whose prices are known by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from flow.errors import CalibrationError
from flow.plan import choices, cost, estimate
from flow.plan.calibration import Block, calibrate
from flow.plan.cost_coefficients import CostFile, cost_file, packaged, using
from flow.plan.resources import Resources


def times(factor: float, *names: str) -> CostFile:
    """The coefficients that come with the program, some of them so many times as large."""
    values = {name: factor * getattr(packaged().coefficients, name) for name in names}
    return replace(packaged(), coefficients=replace(packaged().coefficients, **values))


UNIT = cost.MatrixVector(64, 32, 1, 8, 16, 4, 4, 14, False, "lut", "lut")


@pytest.mark.parametrize(
    ("price", "name"),
    [
        (lambda: choices._stream(64, 16, 4), "fifo_srl_lut"),
        (lambda: choices._fork(2, 16, 4), "fifo_register_control_lut"),
        (lambda: choices._through_gearbox(2, 16, 4, 4), "narrowing_lut"),
        (lambda: estimate._matrix_vector_terms(UNIT, "DSP48E1")["product"], "product_lut"),
    ],
    ids=["stream", "fork", "gearbox", "matrix_vector"],
)
def test_kept_prices_are_of_the_coefficients_in_use(price: Callable[[], object], name: str) -> None:
    before = str(price())
    with using(times(3, name)):
        inside = str(price())
        with using(packaged()):
            assert str(price()) == before
        assert str(price()) == inside != before
    assert str(price()) == before


def test_the_coefficients_in_use_end_with_their_block() -> None:
    other = times(2, "adder_lut")

    def fails() -> None:
        with using(other):
            assert cost_file() is other
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert cost_file() is packaged()


def fifos(build: str, truth: CostFile, *widths: int) -> list[Block]:
    """FIFOs in registers, as they would be placed if the truth held."""
    blocks = []
    for width in widths:
        with using(truth):
            placed = cost.fifo(2, width)
        measured = {"lut": placed.lut, "ff": placed.ff, "dsp": 0, "bram18": 0, "uram": None}
        blocks.append(Block(build, f"from_{width}", "fifo", lambda w=width: cost.fifo(2, w), measured))
    return blocks


def test_a_factor_is_found() -> None:
    """All coefficients of these FIFOs doubled: the estimate of a build without itself is right to some percent."""
    names = ("fifo_register_lut", "fifo_register_control_lut", "fifo_register_ff", "fifo_register_control_ff")
    truth = times(2, *names)
    result = calibrate([*fifos("a", truth, 8, 32, 100, 200), *fifos("b", truth, 16, 50, 150, 300)], packaged())
    assert set(result.changed) == set(names)
    for error in result.errors:
        assert error.blocks == 8
        assert error.before[1] == pytest.approx(0.5, rel=0.02)  # whole LUTs
        assert error.after[1] == pytest.approx(1, rel=0.05)  # the prior pulls
    assert result.counts == ()  # no block has any
    assert result.file.own is not None
    assert (result.file.own.builds, result.file.own.blocks) == (2, 8)
    assert result.file.intervals == packaged().intervals  # eight left-out blocks are too few


def test_an_interval_holds_four_of_five_left_out_blocks() -> None:
    """Ten blocks, of which a build is half as large again as the other: its factor is not one."""
    light, heavy = packaged(), times(1.5, "fifo_register_lut", "fifo_register_ff")
    widths = (100, 200, 300, 400, 500)
    result = calibrate([*fifos("a", light, *widths), *fifos("b", heavy, *widths)], packaged())
    interval = result.file.intervals["fifo"]
    assert (interval.blocks, interval.authors) == (10, 2)
    for resource, factor in (("lut", interval.lut), ("ff", interval.ff)):
        ratios = [c.after / c.measured for c in result.compared if c.resource == resource]
        held = sum(1 / factor * 0.999 <= ratio <= factor * 1.001 for ratio in ratios)  # written with four digits
        assert held >= 8
        assert factor > 1.3


def test_a_block_with_nothing_measured_has_no_ratio() -> None:
    blocks = fifos("a", packaged(), 8, 32)
    blocks.append(Block("a", "wires", "other", lambda: Resources(5, 5, 0, 0, 0), {"lut": 0, "ff": 0}))
    assert [error.blocks for error in calibrate(blocks, packaged()).errors] == [2, 2]
    with pytest.raises(CalibrationError, match="no block of these builds has any LUT"):
        calibrate(blocks[2:], packaged())
