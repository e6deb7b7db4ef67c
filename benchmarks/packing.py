# SPDX-License-Identifier: Apache-2.0
"""Packs and unpacks frames for the streams, beside a straightforward numpy loop: milliseconds, the best of some runs.

    python benchmarks/packing.py [--frames 1000] [--values 784]

The loop is one of numpy calls for each frame, as a driver is written when it is written once: shift every value to its
place in a word, and put the words together.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from flow.emit.packing import Layout, pack, unpack


def loop_pack(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Frame by frame, word by word, with shifts; words of 64 bits."""
    mask = np.uint64((1 << layout.container_bits) - 1)
    shifts = np.arange(layout.per_word, dtype=np.uint64) * np.uint64(layout.container_bits)
    frames = []
    for frame in values:
        codes = np.zeros(layout.words * layout.per_word, np.uint64)
        codes[: layout.values] = (frame > 0 if layout.element == "b1" else frame).astype(np.uint64) & mask
        words = [np.bitwise_or.reduce(word << shifts) for word in codes.reshape(layout.words, -1)]
        frames.append(np.array(words, "<u8").view(np.uint8))
    return np.stack(frames)


def loop_unpack(raw: np.ndarray, layout: Layout) -> np.ndarray:
    """The same backwards."""
    mask = np.uint64((1 << layout.container_bits) - 1)
    shifts = np.arange(layout.per_word, dtype=np.uint64) * np.uint64(layout.container_bits)
    _, high = layout.bounds
    frames = []
    for frame in raw.view("<u8"):
        codes = np.concatenate([(word >> shifts) & mask for word in frame])[: layout.values].astype(np.int64)
        if layout.element == "b1":
            codes = 2 * codes - 1
        frames.append(np.where(codes > high, codes - (1 << layout.container_bits), codes))
    return np.stack(frames)


def best(function: Callable[[], object], runs: int) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--values", type=int, default=784)
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.frames:,} frames of {arguments.values} values, milliseconds")
    for name in ("type", "given as", "pack", "unpack", "both", "loop: both", "times"):
        table.add_column(name, justify="right")
    rng = np.random.default_rng(1)
    for element, container in (("u8", 8), ("i8", 8), ("u4", 4), ("i2", 2), ("b1", 1), ("i16", 16)):
        layout = Layout(element, arguments.values, container, 64)
        low, high = layout.bounds
        values = rng.integers(low, high, (arguments.frames, arguments.values), endpoint=True)
        if element == "b1":
            values = np.where(values > 0, 1, -1)
        raw = pack(values, layout)
        buffer = np.zeros_like(raw)
        assert np.array_equal(raw, loop_pack(values, layout))
        assert np.array_equal(unpack(raw, layout), loop_unpack(raw, layout))
        loop = best(lambda v=values, w=raw, s=layout: (loop_pack(v, s), loop_unpack(w, s)), 2)
        for given in (values, values.astype(layout.dtype)):
            packing = best(lambda v=given, s=layout, b=buffer: pack(v, s, b), 20)
            unpacking = best(lambda w=raw, s=layout: unpack(w, s), 20)
            both = packing + unpacking
            table.add_row(
                element,
                str(given.dtype),
                *(f"{value:.2f}" for value in (packing, unpacking, both)),
                f"{loop:.0f}",
                f"{loop / both:,.0f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
