# SPDX-License-Identifier: Apache-2.0
"""Programs are run to their end: exit codes are read, everything they say is kept."""

import sys

import pytest

from flow.backend.process import Command, run, run_all
from flow.errors import ToolFailedError


def python(code, log, **options):
    return Command([sys.executable, "-c", code], log, **options)


def test_output_is_returned_and_kept(tmp_path):
    log = tmp_path / "logs" / "deep" / "a.log"
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert run(python(code, log)) == "out\nerr\n"
    assert log.read_text() == "out\nerr\n"


def test_failure_shows_its_errors(tmp_path):
    log = tmp_path / "a.log"
    code = "[print('line', i) for i in range(9)]; print('x.cpp:3: error: no such thing'); raise SystemExit(7)"
    with pytest.raises(ToolFailedError) as caught:
        run(python(code, log, remedy="mend it"))
    name = sys.executable.rsplit("/", 1)[-1]
    assert caught.value.message == (f"{name} ended with exit code 7:\n    x.cpp:3: error: no such thing\n  log: {log}")
    assert (caught.value.remedy, caught.value.log) == ("mend it", log)
    assert len(log.read_text().splitlines()) == 10


def test_failure_without_errors_shows_its_end(tmp_path):
    code = "[print('line', i) for i in range(30)]; raise SystemExit(1)"
    with pytest.raises(ToolFailedError) as caught:
        run(python(code, tmp_path / "a.log"))
    shown = caught.value.message.splitlines()[1:-1]
    assert shown == [f"    line {i}" for i in range(20, 30)]


def test_no_more_than_five_errors_are_shown(tmp_path):
    code = "[print('Error', i) for i in range(30)]; raise SystemExit(1)"
    with pytest.raises(ToolFailedError) as caught:
        run(python(code, tmp_path / "a.log"))
    assert caught.value.message.splitlines()[1:-1] == [f"    Error {i}" for i in range(5)]


def test_death_by_a_signal_is_a_failure(tmp_path):
    with pytest.raises(ToolFailedError, match="ended with exit code -9"):
        run(python("import os; os.kill(os.getpid(), 9)", tmp_path / "a.log"))


def test_folder_environment_and_input(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOW_TEST_OUTER", "outer")
    code = "import os, sys; print(os.getcwd(), os.environ['FLOW_TEST_OUTER'], os.environ['INNER'], sys.stdin.read())"
    command = python(code, tmp_path / "a.log", folder=tmp_path, environment={"INNER": "inner"})
    assert run(command).split() == [str(tmp_path), "outer", "inner"]


def test_bytes_that_are_no_text(tmp_path):
    assert "�" in run(python("import sys; sys.stdout.buffer.write(b'\\xff')", tmp_path / "a.log"))


def test_side_by_side_the_first_failure_is_raised_when_all_have_ended(tmp_path):
    commands = [
        python(f"import time; time.sleep({0.2 * (i == 3)}); raise SystemExit({i if i in (1, 2) else 0})", log)
        for i, log in enumerate(tmp_path / f"{i}.log" for i in range(4))
    ]
    with pytest.raises(ToolFailedError, match="exit code 1:"):
        run_all(commands, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.log", "1.log", "2.log", "3.log"]


def test_nothing_to_run():
    run_all([], 2)
