# SPDX-License-Identifier: Apache-2.0
"""Reports as values and as JSON: every figure says how it is known."""

import json
from dataclasses import dataclass
from fractions import Fraction

import pytest

from flow.report.schema import Check, Estimated, Measured, to_json


def test_figures_say_what_they_are():
    assert to_json(Estimated(12, "cost model", "15 %")) == {
        "kind": "estimated",
        "value": 12,
        "model": "cost model",
        "error": "15 %",
        "low": None,
        "high": None,
    }
    assert to_json(Measured(12.5, "Vivado", "2023.2", "abc")) == {
        "kind": "measured",
        "value": 12.5,
        "tool": "Vivado",
        "version": "2023.2",
        "digest": "abc",
    }


def test_missing_figure_is_null_and_not_zero():
    assert json.dumps(to_json({"dsp": None})) == '{"dsp": null}'


@dataclass(frozen=True)
class Whole:
    name: str
    figures: dict
    parts: tuple


def test_values_within_values():
    whole = Whole("a", {1: Estimated(2, "m", None, 1, 3)}, (Fraction(1, 3), [None, True, 0.5], Check("c", "i", 3, 0)))
    assert to_json(whole) == {
        "name": "a",
        "figures": {"1": {"kind": "estimated", "value": 2, "model": "m", "error": None, "low": 1, "high": 3}},
        "parts": [
            "1/3",
            [None, True, 0.5],
            {"name": "c", "inputs": "i", "compared": 3, "differences": 0, "near_ties": None, "detail": []},
        ],
    }
    json.dumps(to_json(whole))


def test_check_holds_without_differences():
    assert Check("c", "i", 10, 0).held
    assert Check("c", "i", 10, 0, near_ties=4).held
    assert not Check("c", "i", 10, 1).held


def test_values_cannot_be_changed():
    with pytest.raises(AttributeError):
        Estimated(1, "m", None).value = 2
