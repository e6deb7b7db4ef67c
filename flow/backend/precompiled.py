# SPDX-License-Identifier: Apache-2.0
"""The ap_int headers, read once: g++ takes longer to read them than to compile a layer of a usual size."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from flow.backend.process import Command, run
from flow.errors import ToolFailedError

_NAME = "ap_headers.h"
_UNUSED_DAYS = 30


def cache_folder() -> Path:
    """Where users' programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flow"


def precompiled(compile_with: Sequence[str], folder: Path, headers: Path) -> list[str]:
    """Arguments by which g++ takes the headers as it has read them before; none where it has not.

    They take 70 MB in the cache folder, for each compiler and set of flags, and go 30 days after their last use. A
    first build only leaves a mark there: who builds once gains nothing. g++ itself checks that they fit, and reads the
    headers as ever where they do not; so whatever goes wrong here costs time and changes nothing. clang, which may be
    called g++ too, would stop instead: it gets none.

    Args:
        compile_with: g++ with the flags of a unit, search paths included.
        folder: Where it runs.
        headers: The folder of ap_int.h.
    """
    try:
        mine = cache_folder() / _key(compile_with, headers)
        if not mine.is_dir():
            _forget(cache_folder())
            mine.mkdir(parents=True)
            return []
        header = mine / _NAME
        if not header.with_suffix(".h.gch").is_file():
            if "clang" in run(Command([compile_with[0], "--version"], mine / "version")):
                return []
            _make(compile_with, folder, header)
        os.utime(mine)
    except (OSError, RuntimeError, ToolFailedError):  # RuntimeError: there is no home
        return []
    return ["-include", str(header)]


def _key(compile_with: Sequence[str], headers: Path) -> str:
    program = Path(compile_with[0]).resolve()
    about = program.stat()
    told = hashlib.sha256(repr((str(program), about.st_size, about.st_mtime_ns, *compile_with[1:])).encode())
    for file in sorted(headers.rglob("*.h")):
        told.update(file.read_bytes())
    return told.hexdigest()[:16]


def _make(compile_with: Sequence[str], folder: Path, header: Path) -> None:
    """Whole or not at all: other builds may want it, or make it, at the same time."""
    with tempfile.TemporaryDirectory(dir=header.parent) as begun:
        text, made = Path(begun) / _NAME, Path(begun) / f"{_NAME}.gch"
        text.write_text("#include <ap_int.h>\n")
        run(Command([*compile_with, "-x", "c++-header", str(text), "-o", str(made)], Path(begun) / "log", folder))
        text.replace(header)
        made.replace(header.with_suffix(".h.gch"))


def _forget(folder: Path) -> None:
    """Takes away what nobody has used for long."""
    for old in folder.glob("*/") if folder.is_dir() else []:
        if time.time() - old.stat().st_mtime > _UNUSED_DAYS * 86400:
            shutil.rmtree(old, ignore_errors=True)
