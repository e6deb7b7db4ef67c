# SPDX-License-Identifier: Apache-2.0
"""Where streams turn out to be deeper than the search assumes: planned again with room for them, or said."""

from dataclasses import replace

import pytest
from test_design import chain

from flow.api import plan as planning
from flow.errors import InfeasibleError
from flow.plan import board as boards
from flow.plan.goals import Goals
from flow.plan.resources import Resources

BOARD = boards.load("pynq-z2")
LAYERS = chain(24, 32, 16)
LABELS = {layer.name: layer.name for layer in LAYERS}
GOALS = Goals(target_fps=200_000)


def planned(goals, board=BOARD):
    return planning.planned(LAYERS, LABELS, board, None, goals, None)


@pytest.fixture
def deeper(monkeypatch):
    """Every stream turns out to be 64 words deep."""
    original = planning.timed

    def timed(*arguments):
        design, timing = original(*arguments)
        return replace(design, streams=tuple(replace(s, depth=64) for s in design.streams)), timing

    monkeypatch.setattr(planning, "timed", timed)


def test_what_fits_is_planned_once():
    folding = planned(GOALS)[0]
    assert folding.optimal
    assert "kept free" not in folding.optimality


def share(amount):
    """The least share that allows so much."""
    return {"lut": (amount + 0.5) / BOARD.resources.lut}


def test_room_is_kept_for_deeper_streams(deeper):
    wide = planned(replace(GOALS, utilization={}))[0]
    goals = replace(GOALS, utilization=share(wide.resources.lut - 1))
    folding = planned(goals)[0]
    assert folding.resources.fits(goals.budget(BOARD))
    assert not folding.optimal
    assert "LUT of that were kept free for streams that are deeper than the search assumes" in folding.optimality


def test_what_cannot_be_kept_is_said(deeper, monkeypatch):
    searched = planned(GOALS)[0].resources.lut
    goals = replace(GOALS, utilization=share(searched - 1))
    original = planning.plan_for

    def plan_for(layers, board, clock, asked, style):
        if any(asked.reserved.amounts):
            raise InfeasibleError("nothing", "nothing")
        return original(layers, board, clock, asked, style)

    monkeypatch.setattr(planning, "plan_for", plan_for)
    folding = planned(goals)[0]
    assert folding.resources.lut == searched
    assert f"takes more than asked for: LUT {searched:,} of {searched - 1:,}" in folding.optimality


def test_more_than_the_board_is_refused(deeper):
    board = replace(BOARD, resources=Resources(lut=6500, ff=106400, dsp=220, bram18=280, uram=0))
    with pytest.raises(InfeasibleError):
        planned(replace(GOALS, target_fps=3_000_000), board)


def test_reserved_is_taken_from_the_budget():
    kept = Resources(lut=100, ff=10**9, dsp=0, bram18=1, uram=0)
    whole, rest = GOALS.budget(BOARD), replace(GOALS, reserved=kept).budget(BOARD)
    assert rest == Resources(lut=whole.lut - 100, ff=0, dsp=whole.dsp, bram18=whole.bram18 - 1, uram=0)
