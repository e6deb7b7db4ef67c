# SPDX-License-Identifier: Apache-2.0
"""Another machine by OpenSSH's own program: its keys, agent and configuration hold; no password passes through here.

Files go through the standard input of one ``ssh`` as an archive, so there is one quoting to get right, the remote
shell's, and no difference between the versions of ``scp``.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from flow.backend import tools
from flow.backend.process import Command, run
from flow.errors import DeployError, OptionError, ToolFailedError

_CONNECT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Host:
    """A machine and how to reach it.

    Attributes:
        address: ``host`` or ``user@host``, as for ssh: a name, an address, or an alias of the user's configuration.
        port: None for ssh's own choice.
        identity: A file with a private key; None for ssh's own choice.
        accept_new: Whether a machine that was never seen is trusted; one whose key changed never is.

    Raises:
        OptionError: The address is none.
    """

    address: str
    port: int | None = None
    identity: Path | None = None
    accept_new: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_:\[][A-Za-z0-9_.:%\[\]-]*", self.address):
            raise OptionError(f"'{self.address}' is not an address", "use HOST or USER@HOST, as for ssh")

    def arguments(self, script: str, *words: str) -> list[str]:
        """``ssh`` with a script of the remote shell; ``words`` are its ``$1``, ``$2``, ..."""
        options = [
            "BatchMode=yes",  # it never asks: a question would wait for ever
            f"ConnectTimeout={_CONNECT_SECONDS}",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=6",
            *(["StrictHostKeyChecking=accept-new"] if self.accept_new else []),
        ]
        return [
            str(tools.require(tools.SSH)),
            *(word for option in options for word in ("-o", option)),
            *(["-p", str(self.port)] if self.port is not None else []),
            *(["-i", str(self.identity)] if self.identity is not None else []),
            "--",
            self.address,
            shlex.join(["sh", "-c", script, "flow", *words]),
        ]


def unpack(host: Host, archive: Path, folder: str, log: Path, timeout: float) -> None:
    """Puts what an archive (.tar.gz) holds into a folder of the host, in place of what was there under its name.

    Raises:
        DeployError: The host cannot be reached, or refuses.
    """
    script = 'mkdir -p -- "$1" && cd -- "$1" && tar -xzf -'
    _run(host, Command(host.arguments(script, folder), log, stdin=archive, timeout=timeout))


def call(host: Host, folder: str, words: tuple[str, ...], log: Path, timeout: float) -> str:
    """What a program says that runs in a folder of the host.

    Raises:
        DeployError: The host cannot be reached, or the program failed.
    """
    return _run(host, Command(host.arguments('cd -- "$1" && shift && exec "$@"', folder, *words), log, timeout=timeout))


# what ssh or the board says, what it means, what to do; the first that is found is told
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "it is not the machine that was there before: its host key changed",
        "if it was installed anew: ssh-keygen -R {host}; otherwise find out who answers there",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "it was never seen before",
        "compare its key by hand once (ssh {address}), or trust it unseen: --accept-new-host-key",
    ),
    (
        r"Permission denied|Too many authentication failures|Load key .*: ",
        "it does not let us in",
        "give it your public key (ssh-copy-id {address}), or name the right one: --identity FILE; passwords are not "
        "asked for",
    ),
    (r"Could not resolve hostname", "its name is not known", "check the name, or use its address"),
    (
        r"Connection refused",
        "no ssh server answers there",
        "start the ssh server of the board, or name its port: --port N",
    ),
    (
        r"(?:Connection|Operation) timed out|No route to host|Network is unreachable",
        "it cannot be reached",
        "check power, cable and address (ping {host})",
    ),
    (
        r"Connection (?:reset|closed)|Broken pipe|Timeout, server .* not responding|client_loop",
        "the connection broke off",
        "repeat the command: it starts anew",
    ),
    (
        r"sudo: .*(?:password|terminal|not in the sudoers)",
        "the user may not become root without a password",
        "log in as root (--host root@{host}), or let the user: a line 'USER ALL=(ALL) NOPASSWD: ALL' for visudo",
    ),
    (r"No space left on device|Disk quota exceeded", "its disk is full", "free some space on the board"),
    (r"Read-only file system|mkdir: .*: Permission denied", "the folder cannot be written", "name another: --dir"),
)


def _run(host: Host, command: Command) -> str:
    try:
        return run(command)
    except ToolFailedError as error:
        said = command.log.read_text(errors="replace")
        for pattern, meaning, remedy in _CAUSES:
            if found := re.search(f".*(?:{pattern}).*", said):
                advice = remedy.format(address=host.address, host=host.address.rpartition("@")[2])
                message = f"{host.address}: {meaning}:\n    {found[0].strip()}"
                raise DeployError(message, log=command.log, remedy=advice) from error
        lines = [line for line in said.splitlines() if line.strip()][-5:]
        told = "\n".join(f"    {line}" for line in lines) or f"    {error.message.splitlines()[0]}"
        raise DeployError(f"{host.address}:\n{told}", log=command.log, remedy="read the log") from error
