# SPDX-License-Identifier: Apache-2.0
"""C-simulation: the emitted C++ compiled by g++ into a library, loaded with ctypes, run on all cores."""

import ctypes
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flow.backend import tools
from flow.backend.precompiled import precompiled
from flow.backend.process import Command, run, run_all
from flow.emit.cxx import codes, uncoded
from flow.errors import DataError, ExactnessError
from flow.ir.dataflow import Shape
from flow.ir.parts import cores
from flow.ir.types import ElementType, Ints

FLAGS = (
    "-std=c++14",
    "-O2",  # as fast as -O3 here, and compiled in two thirds of the time
    "-fPIC",
    "-fno-gnu-unique",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-unused-label",
    # the ap_int headers clear the unused bits of members that they have not set yet
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
    # ap_int.h includes ap_fixed.h at its end, which takes a fifth of its time and is not used
    "-D__AP_FIXED_H__",
)
_FAILURES = {
    1: "a process read from a stream that held no word",
    2: "words were left in a stream",
    3: "TLAST is not on the last word of a frame",
}


_STUCK = 4
"""No process can go on."""


def compile_design(folder: Path) -> Path:
    """Compiles ``folder/csim/units/*.cpp`` into ``folder/csim/design.so``, on all cores.

    The headers cost more than a unit of a usual size, even precompiled, so each core compiles one batch of units.

    Raises:
        ToolNotFoundError: g++ or the ap_int headers are not there.
        ToolFailedError: g++ failed; its first errors are in the message.
    """
    compiler = str(tools.require(tools.GXX))
    _copy_headers(tools.ap_types(), folder / "csim" / "ap_types")
    objects = folder / "csim" / "obj"
    objects.mkdir(exist_ok=True)
    remedy = "this is a defect of flow: please report it with the log"
    # paths relative to the build folder, so that the objects do not depend on where it lies
    common = [compiler, *FLAGS, "-DFLOW_SEPARATE_UNITS", "-Icsim/include", "-isystem", "csim/ap_types"]
    common += precompiled(common, folder, folder / "csim" / "ap_types")
    commands = []
    for number, batch in enumerate(_batches(folder, cores())):
        source = objects / f"batch{number}.cpp"
        source.write_text("".join(f'#include "../units/{unit}.cpp"\n' for unit in batch))
        arguments = ["-c", f"csim/obj/batch{number}.cpp", "-o", f"csim/obj/batch{number}.o"]
        commands.append(Command([*common, *arguments], objects / f"batch{number}.log", folder, remedy))
    run_all(commands, cores())
    compiled = [f"csim/obj/batch{number}.o" for number in range(len(commands))]
    link = [compiler, "-shared", "-o", "csim/design.so", *compiled]
    run(Command(link, objects / "link.log", folder, remedy))
    return folder / "csim" / "design.so"


def _batches(folder: Path, count: int) -> list[list[str]]:
    """The units in so many batches that take g++ about equally long, by the size of their files."""

    def size(unit: str) -> int:
        code = [folder / "csim" / "units" / f"{unit}.cpp", folder / "hls" / "layers" / f"{unit}.hpp"]
        weights = folder / "hls" / "weights" / f"{unit}.hpp"  # numbers compile about 64 times as fast as code
        return sum(_bytes(file) for file in code) + _bytes(weights) // 64

    units = sorted((unit.stem for unit in (folder / "csim" / "units").glob("*.cpp")), key=lambda u: (-size(u), u))
    batches: list[list[str]] = [[] for _ in range(min(count, len(units)))]
    filled = [0] * len(batches)
    for unit in units:
        smallest = filled.index(min(filled))
        batches[smallest].append(unit)
        filled[smallest] += size(unit)
    return batches


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _copy_headers(source: Path, target: Path) -> None:
    """Copies the ap_int headers and takes one word out of them, which changes no result.

    ``ap_private::clearUnusedBits`` is declared volatile, so that g++ stores and reloads every intermediate
    integer; without that word the C-simulation is 6 to 10 times faster (measured by benchmarks/csim_headers.py).
    """
    shutil.copytree(source, target, dirs_exist_ok=True)
    header = target / "etc" / "ap_private.h"
    text = header.read_text()
    header.write_text(text.replace("clearUnusedBits(void) volatile", "clearUnusedBits(void)"))


@dataclass
class Simulator:
    """A compiled design.

    Attributes:
        library: The file that ``compile_design`` made.
    """

    library: Path
    _loaded: ctypes.CDLL = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The loader knows libraries by their path and would give back one that was built there before:
        # load a copy with a name of its own, which may go once it is loaded.
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copy(self.library, Path(folder) / "design.so")
            try:
                self._loaded = ctypes.CDLL(str(copy))
            except OSError as error:
                raise DataError(f"{self.library} cannot be loaded ({error})", "build it again") from error

    def run(self, x: Ints, source: ElementType, sink: ElementType, shape: Shape) -> Ints:
        """The whole design, from AXI word to AXI word, on a batch (frames, *shape)."""
        return self._run("flow_csim", [(x, source)], sink, shape)

    def run_layer(
        self, identifier: str, xs: Sequence[tuple[Ints, ElementType]], sink: ElementType, shape: Shape
    ) -> Ints:
        """One layer by itself, its window unit included, on a batch of each operand with its type."""
        return self._run(f"flow_csim_{identifier}", xs, sink, shape)

    def run_core(self, identifier: str, windows: Ints, source: ElementType, sink: ElementType, shape: Shape) -> Ints:
        """The core of a layer behind its window unit, on what that unit emits."""
        return self._run(f"flow_csimcore_{identifier}", [(windows, source)], sink, shape)

    def run_bounded(
        self, x: Ints, source: ElementType, sink: ElementType, shape: Shape, streams: Mapping[str, int]
    ) -> Ints:
        """The whole design as processes that wait for each other, frame behind frame.

        Args:
            x: (frames, *shape).
            source: The type of the input.
            sink: The type of the output.
            shape: Of a frame of the output.
            streams: The depth of every stream by its name, in the order of the design.

        Raises:
            ExactnessError: The processes wait for each other in a circle; the streams are named.
        """
        function = self._loaded.flow_csim_bounded
        function.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_long]
        function.restype = ctypes.c_int
        stored = np.ascontiguousarray(codes(x, source), np.int64)
        depths = np.array(list(streams.values()), np.int64)
        stuck = np.zeros(len(depths), np.int64)
        result = np.empty((len(x), int(np.prod(shape))), np.int64)
        failure = function(stored.ctypes.data, depths.ctypes.data, stuck.ctypes.data, result.ctypes.data, len(x))
        if failure == _STUCK:
            full, empty = (
                [f"'{n}' (depth {d})" for (n, d), s in zip(streams.items(), stuck, strict=True) if s == state]
                for state in (2, 1)
            )
            raise ExactnessError(
                f"the design comes to a stop: full are the streams {', '.join(full) or 'none'}; "
                f"empty are {', '.join(empty) or 'none'}",
                "this is a defect of flow; please report it with the model",
            )
        _check(failure, "flow_csim_bounded")
        return uncoded(result, sink).reshape(len(x), *shape)

    def _run(self, name: str, xs: Sequence[tuple[Ints, ElementType]], sink: ElementType, shape: Shape) -> Ints:
        function = getattr(self._loaded, name)
        function.argtypes = [*[ctypes.c_void_p] * (len(xs) + 1), ctypes.c_long]
        function.restype = ctypes.c_int
        frames = len(xs[0][0])
        stored = [np.ascontiguousarray(codes(x, source), np.int64).reshape(frames, -1) for x, source in xs]
        result = np.empty((frames, int(np.prod(shape))), np.int64)
        parts = np.array_split(np.arange(frames), cores())

        def run_part(part: Sequence[int]) -> int:
            if len(part) == 0:
                return 0
            first, last = int(part[0]), int(part[-1]) + 1
            pieces, out = [values[first:last] for values in stored], result[first:last]
            return int(function(*(piece.ctypes.data for piece in pieces), out.ctypes.data, len(out)))

        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            for failure in pool.map(run_part, parts):
                _check(failure, name)
        return uncoded(result, sink).reshape(frames, *shape)


def _check(failure: int, name: str) -> None:
    if failure:
        raise ExactnessError(
            f"C-simulation of '{name}' stopped: {_FAILURES.get(failure, failure)}",
            "this is a defect of flow; please report it with the model",
        )
