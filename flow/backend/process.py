# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs: exit codes are read, everything they say is kept."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flow.errors import ToolFailedError


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, and where it says what it says.

    Attributes:
        arguments: The program first.
        log: Where its output goes, both streams.
        folder: Where it runs; None for here.
        remedy: What to do if it fails.
        environment: Added to this program's.
        stdin: A file that it reads; None for nothing to read.
        timeout: Seconds after which it is ended; None to wait.
    """

    arguments: Sequence[str]
    log: Path
    folder: Path | None = None
    remedy: str = ""
    environment: Mapping[str, str] | None = None
    stdin: Path | None = None
    timeout: float | None = None


def run(command: Command) -> str:
    """Runs a program to its end; its output.

    Raises:
        ToolFailedError: It ended with another exit code than 0, or not in time; the last lines that it said are in
            the message.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    # into the file at once: a run of hours can be watched, and what was said before a crash is kept
    with command.log.open("wb") as log, _opened(command.stdin) as stdin:
        program = subprocess.Popen(
            list(command.arguments),
            cwd=command.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=stdin,
            env={**os.environ, **(command.environment or {})},
            start_new_session=command.timeout is not None,
        )
        try:
            code = program.wait(command.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)  # with all that it started
            program.wait()
            raise ToolFailedError(
                f"{Path(command.arguments[0]).name} was ended after {command.timeout:g} s",
                log=command.log,
                remedy=command.remedy,
            ) from None
        except BaseException:
            program.kill()
            program.wait()
            raise
    output = command.log.read_text(errors="replace")
    if code != 0:
        lines = output.strip().splitlines()
        told = [line for line in lines if "error" in line.lower()][:5] or lines[-10:]
        raise ToolFailedError(
            f"{Path(command.arguments[0]).name} ended with exit code {code}:\n"
            + "\n".join(f"    {line}" for line in told),
            log=command.log,
            remedy=command.remedy,
        )
    return output


@contextmanager
def _opened(path: Path | None) -> Iterator[int | IO[bytes]]:
    """A file to read, or nothing to read."""
    if path is None:
        yield subprocess.DEVNULL
        return
    with path.open("rb") as file:
        yield file


def run_all(commands: Sequence[Command], workers: int) -> None:
    """Runs programs side by side; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for future in [pool.submit(run, command) for command in commands]:
            future.result()
