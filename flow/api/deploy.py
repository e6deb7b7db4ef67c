# SPDX-License-Identifier: Apache-2.0
"""A package to boards: copied, tested there with known answers, measured."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flow.api.package import Package, open_package, package
from flow.backend import remote
from flow.backend.remote import Host
from flow.errors import DeployError, OptionError

TIMEOUT = 300.0
"""Seconds of each step on a board."""
FOLDER = "flow"
"""On the board, from the home folder."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a board said; a board that failed has its error in place of figures.

    Attributes:
        host: Its address.
        folder: Where the package lies on it.
        compared: Integers of the self test, all equal.
        frames_per_second: With all copies of the driver.
        planned_frames_per_second: Of the accelerator alone, by the plan.
        call_us: A call with one frame.
        power_w: By supply; empty where the board measures none.
        error: Why it has none of these.
    """

    host: str
    folder: str
    compared: int | None = None
    frames_per_second: float | None = None
    planned_frames_per_second: float | None = None
    call_us: float | None = None
    power_w: dict[str, float] | None = None
    error: str | None = None


def deploy(
    source: str | Path,
    hosts: Sequence[Host],
    *,
    folder: str = FOLDER,
    timeout: float = TIMEOUT,
    keep_going: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[Deployed, ...]:
    """Copies a package to boards, runs the self test and measures, one board after the other.

    Everything that ssh and the boards say is in ``PACKAGE.logs/HOST/`` beside the archive.

    Args:
        source: A package, or a build directory, which is packed first.
        hosts: The boards.
        folder: On the board.
        timeout: Seconds of each step on a board.
        keep_going: Whether to go on with the next board when one fails.
        progress: Is told each step.

    Raises:
        PackageError: There is nothing to deploy.
        DeployError: A board failed, and ``keep_going`` is not given.
    """
    if timeout <= 0:
        raise OptionError(f"a timeout of {timeout:g} s means nothing", "give more than 0")
    packed = package(source) if Path(source).is_dir() else open_package(source)
    found = []
    for host in hosts:
        try:
            found.append(_deploy(packed, host, folder, timeout, progress))
        except DeployError as error:
            if not keep_going:
                raise
            progress(f"{host.address}: failed")
            found.append(Deployed(host.address, folder, error=str(error)))
    return tuple(found)


def _deploy(packed: Package, host: Host, folder: str, timeout: float, progress: Callable[[str], None]) -> Deployed:
    logs = packed.archive.with_name(f"{packed.archive.name}.logs") / re.sub(r"[^\w.@-]", "_", host.address)
    place = f"{folder}/{packed.design}"
    progress(f"{host.address}: copy {packed.archive.stat().st_size:,} bytes to {place}")
    remote.unpack(host, packed.archive, folder, logs / "copy.log", timeout)
    progress(f"{host.address}: self test")
    said = remote.call(host, place, ("sh", "run.sh", "self-test"), logs / "self-test.log", timeout)
    compared = re.search(r"self test: ([\d,]+) integers compared, all equal", said)
    progress(f"{host.address}: measure")
    measured = remote.call(host, place, ("sh", "run.sh", "measure"), logs / "measure.log", timeout)
    try:
        figures = json.loads(measured[measured.index("{") :])  # what a login prints comes before
        return Deployed(
            host.address,
            place,
            int(compared[1].replace(",", "")) if compared is not None else None,
            float(figures["frames_per_second"]),
            float(figures["planned_frames_per_second"]),
            float(figures["call_us"]),
            dict(figures["power_w"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeployError(
            f"{host.address}: the measurement cannot be read", log=logs / "measure.log", remedy="read the log"
        ) from error
