# SPDX-License-Identifier: Apache-2.0
"""What every test folder shares: the folder with other people's models and data, and golden files."""

import difflib
import re
import shlex
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SHARED = TESTS.parents[1] / "shared"
GOLDEN = TESTS / "golden"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew from this run")


def shared_folder(*parts):
    """The path of something in the shared folder beside the checkout; skips the test where it is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{Path('..', 'shared', *parts)} is not here (models and data made by others)")
    return path


@pytest.fixture(scope="session")
def shared():
    """The function ``shared("models", "kws_w3a3")``: that path, or a skipped test."""
    shared_folder()
    return shared_folder


class Golden:
    """Compares text with tests/golden/<test file>/<test name>.txt."""

    def __init__(self, request):
        self.request = request
        self.nodeid = request.node.nodeid

    def path(self, name=""):
        test = self.request.node.name + (f"-{name}" if name else "")
        file = re.sub(r"[^A-Za-z0-9_.-]+", "_", test).strip("_") + ".txt"
        return GOLDEN / self.request.path.stem / file

    def __call__(self, text, name=""):
        """Fail with a diff unless the text is the recorded one; ``name`` is for tests with several texts."""
        path = self.path(name)
        if self.request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        renew = f"to renew it: python -m pytest {shlex.quote(self.nodeid)} --update-golden"
        shown = path.relative_to(TESTS.parent) if path.is_relative_to(TESTS.parent) else path
        if not path.exists():
            pytest.fail(f"the golden file {shown} is missing\n{renew}", pytrace=False)
        recorded = path.read_text(encoding="utf-8")
        if recorded != text:
            lines = (s.splitlines(keepends=True) for s in (recorded, text))
            diff = difflib.unified_diff(*lines, str(shown), "this run")
            shown_diff = "".join(line if line.endswith("\n") else line + "\n" for line in diff)
            pytest.fail(f"{shown} differs\n{shown_diff}{renew}", pytrace=False)


@pytest.fixture
def golden(request):
    """The function ``golden(text)``, which compares with the recorded text of this test."""
    return Golden(request)
