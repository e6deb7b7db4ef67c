# SPDX-License-Identifier: Apache-2.0
"""Plans as files: what is written is read back, and every mistake in a file is told at once."""

import numpy as np
import pytest

from flow.errors import PlanFileError
from flow.ir.dataflow import Dense, Source, Step
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.plan.layers import layers_of
from flow.plan.plan import FifoPlan, LayerPlan, Plan, divisors, print_plan, read_plan


def network():
    """A product of 4 by 6 with a step function, and a product of 6 by 3 without one."""
    rng = np.random.default_rng(0)
    one = np.ones(1, np.int64)
    return layers_of(
        Graph(
            (
                Source("x", (4,), IntType(4, signed=True), -8 * one, 7 * one),
                Dense("p", "x", rng.integers(-3, 4, (4, 6)), IntType(9, signed=True)),
                Step("h", "p", np.array([[-5, 1, 9]]), one * 0, one, -200 * one, 200 * one, IntType(2, signed=False)),
                Dense("y", "h", rng.integers(-3, 4, (6, 3)), IntType(9, signed=True)),
            ),
            ("y",),
        )
    )


PLAN = Plan(
    "pynq-z2",
    142.5,
    (
        LayerPlan("h", 2, 4, "bram", "dsp", "thresholds"),
        LayerPlan("y", 3, 1, "lut", "lut", "none"),
    ),
)
TEXT = """\
# What the hardware looks like. Edit it and pass it back: flow build MODEL --plan THIS_FILE
board = "pynq-z2"
clock_mhz = 142.5
style = "stream"

[[layer]]
name = "h"
pe = 2
simd = 4
weight_memory = "bram"
multiplier = "dsp"
form = "thresholds"

[[layer]]
name = "y"
pe = 3
simd = 1
weight_memory = "lut"
multiplier = "lut"
form = "none"
"""


def read(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return read_plan(path, network())


def test_text():
    assert print_plan(PLAN) == TEXT


def test_what_is_written_is_read_back(tmp_path):
    assert read(tmp_path, print_plan(PLAN)) == PLAN


def test_depths_are_read_back(tmp_path):
    plan = Plan("pynq-z2", 100.0, PLAN.layers, (FifoPlan("copy1_from_h", 40), FifoPlan("from_y", 1)))
    text = print_plan(plan)
    assert text.endswith('[[fifo]]\nname = "copy1_from_h"\ndepth = 40\n\n[[fifo]]\nname = "from_y"\ndepth = 1\n')
    assert read(tmp_path, text) == plan


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[fifo]]\nname = "s"\n', "fifo 's': missing key 'depth'"),
        ("[[fifo]]\ndepth = 3\n", "fifo None: missing key 'name'"),
        ('[[fifo]]\nname = "s"\ndepth = 3\nwide = 1\n', "fifo 's': unknown key 'wide'"),
        ('[[fifo]]\nname = "s"\ndepth = 0\n', "fifo 's': depth = 0; possible: 1 to 1048576"),
        ('[[fifo]]\nname = "s"\ndepth = 1048577\n', "fifo 's': depth = 1048577; possible: 1 to 1048576"),
        ('[[fifo]]\nname = "s"\ndepth = true\n', "fifo 's': depth = True; possible: 1 to 1048576"),
        ('[[fifo]]\nname = "s"\ndepth = "3"\n', "fifo 's': depth = '3'; possible: 1 to 1048576"),
        ("[[fifo]]\nname = 5\ndepth = 3\n", "fifo 5: each needs the name of a stream"),
        (
            '[[fifo]]\nname = "s"\ndepth = 3\n' * 2,
            "fifo 's': each needs the name of a stream, and only one may have it",
        ),
        ("[fifo]\ndepth = 3\n", "fifo must be a list of tables: [[fifo]]"),
    ],
)
def test_depths_that_mean_nothing(tmp_path, text, problem):
    with pytest.raises(PlanFileError) as caught:
        read(tmp_path, TEXT + text)
    assert caught.value.message.splitlines()[1:] == [next(x for x in caught.value.message.splitlines() if problem in x)]


@pytest.mark.parametrize("clock", [100.0, 66.6666666, 123.456789, 1234567.0])
def test_clocks_are_read_back(tmp_path, clock):
    found = read(tmp_path, print_plan(Plan("pynq-z2", clock, PLAN.layers)))
    assert found.clock_mhz == pytest.approx(clock, rel=1e-5)


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "tab\tand\nline", "/fc1/MatMul_output_0"])
def test_names_that_toml_must_escape(tmp_path, name):
    plan = Plan(name, 100.0, PLAN.layers)
    assert read(tmp_path, print_plan(plan)) == plan


def test_all_problems_at_once(tmp_path):
    text = TEXT.replace("pe = 2", "pe = 4").replace("simd = 1", "simd = 4").replace("142.5", "-1")
    text = text.replace('"bram"', '"uram"').replace('multiplier = "lut"', 'multiplier = "abacus"')
    text = text.replace('form = "none"', 'form = "shift"') + 'colour = "red"\n'
    with pytest.raises(PlanFileError) as caught:
        read(tmp_path, text)
    assert caught.value.message == (
        f"{tmp_path / 'plan.toml'} cannot be used:\n"
        "  - layer 'h': pe = 4 does not divide its 6 outputs; possible: 1, 2, 3, 6\n"
        "  - layer 'h': weight_memory = 'uram'; possible: lut, bram\n"
        "  - layer 'y': unknown key 'colour'\n"
        "  - clock_mhz must be a positive number; found -1"
    )
    assert caught.value.remedy == "start from the plan.toml of a build"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('board = "pynq-z2"\n', "", "the plan: missing key 'board'"),
        ("clock_mhz = 142.5\n", "", "the plan: missing key 'clock_mhz'"),
        ("simd = 4\n", "", "layer 'h': missing key 'simd'"),
        ('form = "none"', 'form = "shift"', "layer 'y': form = 'shift'; possible: none"),
        ('"dsp"', '"abacus"', "layer 'h': multiplier = 'abacus'; possible: lut, dsp, packed"),
        ('"h"', '"other"', "it must hold one [[layer]] for each layer, in this order: h, y"),
        ("pe = 2", 'pe = "2"', "layer 'h': pe = '2' does not divide its 6 outputs; possible: 1, 2, 3, 6"),
        ("pe = 2", "pe = -2", "layer 'h': pe = -2 does not divide its 6 outputs; possible: 1, 2, 3, 6"),
        ("pe = 2", "pe = 12", "layer 'h': pe = 12 does not divide its 6 outputs; possible: 1, 2, 3, 6"),
    ],
)
def test_problem(tmp_path, old, new, problem):
    with pytest.raises(PlanFileError) as caught:
        read(tmp_path, TEXT.replace(old, new))
    assert f"  - {problem}" in caught.value.message


def test_layers_in_another_order_or_number(tmp_path):
    head, first, second = TEXT.split("[[layer]]")
    for parts in ((head, second, first), (head, first), (head, first, second, second), (head,)):
        with pytest.raises(PlanFileError, match=r"one .* for each layer, in this order: h, y"):
            read(tmp_path, "[[layer]]".join(parts))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(PlanFileError) as caught:
        read_plan(tmp_path / "no.toml", network())
    assert caught.value.message == f"{tmp_path / 'no.toml'}: No such file or directory"
    with pytest.raises(PlanFileError, match="is not TOML: "):
        read(tmp_path, "board = [")
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanFileError, match="is not TOML: "):
        read_plan(tmp_path / "plan.toml", network())


def test_divisors():
    for n in range(1, 300):
        assert divisors(n) == [d for d in range(1, n + 1) if n % d == 0]
