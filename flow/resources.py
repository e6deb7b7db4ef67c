# SPDX-License-Identifier: Apache-2.0
"""Where the data folders are, in a checkout and in an installed wheel. No other file computes such a path."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _root() -> Path:
    installed = _PACKAGE / "_resources"
    return installed if installed.is_dir() else _PACKAGE.parent


def templates() -> Path:
    """The folder of Jinja templates."""
    return _root() / "templates"


def boards() -> Path:
    """The folder of board files."""
    return _root() / "boards"


def vivado_scripts() -> Path:
    """The folder of static Tcl scripts."""
    return _root() / "vivado_scripts"
