# SPDX-License-Identifier: Apache-2.0
"""C-simulation: the emitted C++ compiled by g++ into a library, loaded with ctypes, run on all cores."""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flow.backend import tools
from flow.backend.process import Command, run, run_all
from flow.emit.cxx import codes, uncoded
from flow.errors import ExactnessError
from flow.ir.dataflow import Shape
from flow.ir.types import ElementType, Ints

FLAGS = ("-std=c++14", "-O2", "-fPIC", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-label")
_FAILURES = {
    1: "a process read from a stream that held no word",
    2: "words were left in a stream",
    3: "TLAST is not on the last word of a frame",
}


def compile_design(folder: Path) -> Path:
    """Compiles ``folder/csim/units/*.cpp``, side by side, into ``folder/csim/design.so``.

    Raises:
        ToolNotFoundError: g++ or the ap_int headers are not there.
        ToolFailedError: g++ failed; its first errors are in the message.
    """
    compiler, headers = tools.require(tools.GXX), tools.ap_types()
    units = sorted((folder / "csim" / "units").glob("*.cpp"))
    built = folder / "csim" / "obj"
    remedy = "this is a defect of flow: please report it with the log"
    # paths relative to the build folder, so that a library does not depend on where it was built
    commands = [
        Command(
            [
                str(compiler), *FLAGS, "-DFLOW_SEPARATE_UNITS", "-Icsim/include", "-isystem", str(headers),
                "-c", f"csim/units/{unit.name}", "-o", f"csim/obj/{unit.stem}.o",
            ],
            built / f"{unit.stem}.log",
            folder,
            remedy,
        )
        for unit in units
    ]
    run_all(commands, tools.cores())
    objects = [f"csim/obj/{unit.stem}.o" for unit in units]
    run(
        Command(
            [str(compiler), "-shared", "-o", "csim/design.so", *objects], built / "link.log", folder, remedy
        )
    )
    return folder / "csim" / "design.so"


@dataclass
class Simulator:
    """A compiled design.

    Attributes:
        library: The file that ``compile_design`` made.
    """

    library: Path
    _loaded: ctypes.CDLL = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._loaded = ctypes.CDLL(str(self.library.resolve()))

    def run(self, x: Ints, source: ElementType, sink: ElementType, shape: Shape) -> Ints:
        """The whole design, from AXI word to AXI word, on a batch (frames, *shape)."""
        return self._run("flow_csim", x, source, sink, shape)

    def run_layer(
        self, identifier: str, x: Ints, source: ElementType, sink: ElementType, shape: Shape
    ) -> Ints:
        """One layer by itself."""
        return self._run(f"flow_csim_{identifier}", x, source, sink, shape)

    def _run(self, name: str, x: Ints, source: ElementType, sink: ElementType, shape: Shape) -> Ints:
        function = getattr(self._loaded, name)
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
        function.restype = ctypes.c_int
        stored = np.ascontiguousarray(codes(x, source), np.int64).reshape(len(x), -1)
        result = np.empty((len(x), int(np.prod(shape))), np.int64)
        parts = np.array_split(np.arange(len(x)), tools.cores())

        def run_part(part: Sequence[int]) -> int:
            if len(part) == 0:
                return 0
            first, last = int(part[0]), int(part[-1]) + 1
            piece, out = stored[first:last], result[first:last]
            return int(function(piece.ctypes.data, out.ctypes.data, len(piece)))

        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            for failure in pool.map(run_part, parts):
                if failure:
                    raise ExactnessError(
                        f"C-simulation of '{name}' stopped: {_FAILURES.get(failure, failure)}",
                        "this is a defect of flow; please report it with the model",
                    )
        return uncoded(result, sink).reshape(len(x), *shape)
