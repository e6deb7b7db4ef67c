# SPDX-License-Identifier: Apache-2.0
"""Frames of integers to the words of the AXI streams and back.

The one place that knows how: a build directory carries this file as ``driver/packing.py``, so it needs numpy alone
and runs on Python 3.8. A frame is a row of bytes, as it lies in memory: word after word, the low byte first. Value
``i`` lies in word ``i // per_word`` at bits ``[container * (i % per_word), + container)``, in two's complement; a
bipolar value is one bit, 1 for +1. Bits behind the last value are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layout:
    """One stream, as ``io.json`` describes it.

    Attributes:
        element: ``u4``, ``i8``, ...: unsigned or two's complement, so many bits; ``b1`` is -1 or +1.
        values: Values of a frame.
        container_bits: Bits that a value takes: a power of two from 1 to 64.
        word_bits: The width of the stream: a power of two, not less than 8 and than the container.
    """

    element: str
    values: int
    container_bits: int
    word_bits: int

    @classmethod
    def of(cls, described: dict[str, Any]) -> Layout:
        """The layout in an entry of ``io.json``."""
        return cls(described["element"], described["values"], described["container_bits"], described["word_bits"])

    @property
    def per_word(self) -> int:
        return self.word_bits // self.container_bits

    @property
    def words(self) -> int:
        """Words of a frame."""
        return -(-self.values // self.per_word)

    @property
    def frame_bytes(self) -> int:
        return self.words * self.word_bits // 8

    @property
    def signed(self) -> bool:
        return self.element[0] == "i"

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value."""
        bits = int(self.element[1:])
        if self.element[0] == "b":
            return -1, 1
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self.signed else (0, (1 << bits) - 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The integers that ``unpack`` gives: the narrowest of numpy that hold every value."""
        size = max(self.container_bits, 8) // 8
        return np.dtype(f"<{'u' if self.element[0] == 'u' else 'i'}{size}")


def pack(values: np.ndarray[Any, Any], layout: Layout, out: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
    """Frames as bytes.

    Args:
        values: Integers (frames, ...), ``layout.values`` a frame.
        layout: Of the stream.
        out: Where to write (frames, frame_bytes) as uint8; None for a new array.

    Raises:
        ValueError: They are no integers, of another size, or outside the type.
    """
    flat = _checked(values, layout)
    if out is None:
        out = np.zeros((len(flat), layout.frame_bytes), np.uint8)
    elif out.shape != (len(flat), layout.frame_bytes) or out.dtype != np.uint8:
        raise ValueError(f"out is {out.dtype}{list(out.shape)}, not uint8[{len(flat)}, {layout.frame_bytes}]")
    if layout.container_bits >= 8:
        slots = out.view(f"<{'i' if layout.signed else 'u'}{layout.container_bits // 8}")
        np.copyto(slots[:, : layout.values], flat, casting="unsafe")
        slots[:, layout.values :] = 0
        return out
    per_byte = 8 // layout.container_bits
    used = -(-layout.values // per_byte)
    if layout.element == "b1":
        flat = flat > 0
    if layout.container_bits == 1:
        out[:, :used] = np.packbits(flat.astype(np.bool_, copy=False), axis=1, bitorder="little")
    else:
        codes = flat.astype(np.uint8) & np.uint8((1 << layout.container_bits) - 1)
        if layout.values % per_byte:
            codes = np.pad(codes, ((0, 0), (0, -layout.values % per_byte)))
        packed = codes[:, ::per_byte].copy()
        for place in range(1, per_byte):
            packed |= codes[:, place::per_byte] << np.uint8(place * layout.container_bits)
        out[:, :used] = packed
    out[:, used:] = 0
    return out


def unpack(raw: np.ndarray[Any, Any], layout: Layout) -> np.ndarray[Any, Any]:
    """The integers (frames, values) in frames of bytes (frames, frame_bytes), as ``layout.dtype``."""
    if layout.container_bits >= 8:
        return np.array(raw.view(layout.dtype)[:, : layout.values])
    if layout.container_bits == 1:
        bits = np.unpackbits(raw, axis=1, count=layout.values, bitorder="little")
        return bits.view(np.int8) * np.int8(2) - np.int8(1) if layout.element == "b1" else _signed(bits, layout)
    per_byte = 8 // layout.container_bits
    used = raw[:, : -(-layout.values // per_byte)]
    codes = np.empty((len(raw), used.shape[1] * per_byte), np.uint8)
    mask = np.uint8((1 << layout.container_bits) - 1)
    for place in range(per_byte):
        codes[:, place::per_byte] = (used >> np.uint8(place * layout.container_bits)) & mask
    return _signed(codes[:, : layout.values], layout)


def _signed(codes: np.ndarray[Any, Any], layout: Layout) -> np.ndarray[Any, Any]:
    """Codes below a byte as numbers."""
    if not layout.signed:
        return np.ascontiguousarray(codes)
    half = np.uint8(1 << (layout.container_bits - 1))
    return ((codes ^ half) - half).view(np.int8)  # wraps, which is the point


def _checked(values: np.ndarray[Any, Any], layout: Layout) -> np.ndarray[Any, Any]:
    """The frames as rows; anything that would be cut off by the hardware is refused."""
    values = np.asarray(values)
    if values.ndim < 2 or values.dtype.kind not in "iub":
        raise ValueError(f"expected integers as (frames, ...), got {values.dtype}{list(values.shape)}")
    flat = values.reshape(len(values), -1) if len(values) else values.reshape(0, layout.values)
    if flat.shape[1] != layout.values:
        raise ValueError(f"a frame has {layout.values} values, not {flat.shape[1]}: {list(values.shape)}")
    if not flat.size:
        return flat
    low, high = layout.bounds
    least, greatest = int(flat.min()), int(flat.max())
    if least < low or greatest > high:
        raise ValueError(f"values from {least} to {greatest} do not fit {layout.element} ({low} to {high})")
    if layout.element == "b1" and bool((flat == 0).any()):
        raise ValueError("a bipolar value is -1 or +1, not 0")
    return flat
