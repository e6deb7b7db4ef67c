# SPDX-License-Identifier: Apache-2.0
"""Words of the streams against a definition bit by bit, and against the compiled hardware."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.emit import packing
from flow.emit.packing import Layout, pack, unpack
from flow.ir.types import parse_type
from flow.plan.design import container_bits


@st.composite
def frames(draw):
    kind = draw(st.sampled_from("uib"))
    bits = 1 if kind == "b" else draw(st.integers(1, 48))
    element = f"{kind}{bits}"
    container = container_bits(parse_type(element))
    word = max(container, draw(st.sampled_from([8, 32, 64, 128, 512])))
    layout = Layout(element, draw(st.integers(1, 70)), container, word)
    low, high = layout.bounds
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(0, 4))
    values = rng.integers(low, high, (count, layout.values), endpoint=True)
    if kind == "b":
        values = np.where(values > 0, 1, -1)
    return layout, values


def by_definition(values, layout: Layout) -> list[bytes]:
    """One Python integer for each word."""
    found = []
    for frame in values.tolist():
        words = [0] * layout.words
        for place, value in enumerate(frame):
            code = int(value > 0) if layout.element == "b1" else value % (1 << layout.container_bits)
            words[place // layout.per_word] |= code << (layout.container_bits * (place % layout.per_word))
        found.append(b"".join(word.to_bytes(layout.word_bits // 8, "little") for word in words))
    return found


@given(frames())
def test_packing_is_the_definition_and_unpacking_its_inverse(case) -> None:
    layout, values = case
    raw = pack(values, layout)
    assert [row.tobytes() for row in raw] == by_definition(values, layout)
    assert len(raw) == 0 or len(raw[0]) == layout.frame_bytes
    back = unpack(raw, layout)
    assert back.dtype == layout.dtype
    np.testing.assert_array_equal(back, values)


@given(frames(), st.data())
def test_a_buffer_that_is_used_again_keeps_nothing(case, data) -> None:
    """As the driver does; the rows of a larger buffer, too."""
    layout, values = case
    buffer = np.full((len(values) + 2, layout.frame_bytes), 0xA5, np.uint8)
    pack(values, layout, buffer[: len(values)])
    assert [row.tobytes() for row in buffer[: len(values)]] == by_definition(values, layout)
    assert (buffer[len(values) :] == 0xA5).all()


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int64, np.bool_])
def test_every_integer_type_is_taken(kind) -> None:
    values = np.array([[0, 1, 1, 0, 1]], kind)
    np.testing.assert_array_equal(unpack(pack(values, Layout("u3", 5, 4, 32)), Layout("u3", 5, 4, 32)), values)


@pytest.mark.parametrize(
    ("element", "values", "message"),
    [
        ("u4", [[0, 16]], "values from 0 to 16 do not fit u4 (0 to 15)"),
        ("u4", [[-1, 3]], "values from -1 to 3 do not fit u4"),
        ("i4", [[-9, 3]], "do not fit i4 (-8 to 7)"),
        ("b1", [[0, 1]], "a bipolar value is -1 or +1, not 0"),
        ("b1", [[2, 1]], "do not fit b1"),
        ("u4", [[1, 2, 3]], "a frame has 2 values, not 3"),
        ("u4", [1, 2], "expected integers as (frames, ...), got int64[2]"),
        ("u4", [[0.5, 2]], "got float64[1, 2]"),
    ],
)
def test_what_the_hardware_would_cut_off_is_refused(element: str, values, message: str) -> None:
    layout = Layout(element, 2, container_bits(parse_type(element)), 32)
    with pytest.raises(ValueError, match=r".") as caught:
        pack(np.array(values), layout)
    assert message in str(caught.value)


def test_a_buffer_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"out is uint8\[2, 4\], not uint8\[1, 4\]"):
        pack(np.zeros((1, 2), np.int64), Layout("u4", 2, 4, 32), np.zeros((2, 4), np.uint8))


def test_it_runs_on_a_board_by_itself() -> None:
    """Python 3.8 (PYNQ 2.7) can parse it, and it imports numpy and the standard library only."""
    text = Path(packing.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= {"numpy", *sys.stdlib_module_names}
