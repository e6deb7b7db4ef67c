# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs: exit codes are read, everything they say is kept."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
    """

    arguments: Sequence[str]
    log: Path
    folder: Path | None = None
    remedy: str = ""
    environment: Mapping[str, str] | None = None


def run(command: Command) -> str:
    """Runs a program to its end; its output.

    Raises:
        ToolFailedError: It ended with another exit code than 0; the last lines that it said are in the message.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    # into the file at once: a run of hours can be watched, and what was said before a crash is kept
    with command.log.open("wb") as log:
        finished = subprocess.run(
            list(command.arguments),
            cwd=command.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(command.environment or {})},
            check=False,
        )
    output = command.log.read_text(errors="replace")
    if finished.returncode != 0:
        lines = output.strip().splitlines()
        told = [line for line in lines if "error" in line.lower()][:5] or lines[-10:]
        raise ToolFailedError(
            f"{Path(command.arguments[0]).name} ended with exit code {finished.returncode}:\n"
            + "\n".join(f"    {line}" for line in told),
            log=command.log,
            remedy=command.remedy,
        )
    return output


def run_all(commands: Sequence[Command], workers: int) -> None:
    """Runs programs side by side; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for future in [pool.submit(run, command) for command in commands]:
            future.result()
