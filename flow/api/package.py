# SPDX-License-Identifier: Apache-2.0
"""A built bitstream with its driver as one archive: what goes to a board."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from flow.emit.fileset import digest_of, write_whole
from flow.errors import PackageError

_BESIDE = ("io.json", "build.lock", "report.txt")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Package:
    """An archive.

    Attributes:
        archive: The file, a .tar.gz with one folder.
        design: The name of that folder and of the bitstream.
        files: SHA-256 of each file in it, as in its ``manifest.json``.
    """

    archive: Path
    design: str
    files: dict[str, str]


def package(folder: str | Path, out: str | Path | None = None) -> Package:
    """Packs the bitstream of a build directory with its driver; the same files give the same bytes.

    Args:
        folder: A build directory with a bitstream (``flow build --synth bitstream``; for an Alveo ``xclbin``).
        out: The archive; None for ``DESIGN.tar.gz`` in the folder.

    Raises:
        PackageError: There is no bitstream, or it is not the one that was made last, or the board has no processor.
        OutputError: The archive cannot be written.
    """
    folder = Path(folder)
    described = _described(folder)
    design, board = str(described["design"]), str(described["board"])
    driver = folder / "driver"
    if not (driver / "accelerator.py").is_file():
        raise PackageError(
            f"{board} has no processor that could run a driver: there is nothing to pack",
            "vivado_scripts/README.md: an Arty A7 is tested over JTAG",
        )
    paths = {path.relative_to(driver).as_posix(): path for path in sorted(driver.rglob("*")) if path.is_file()}
    paths |= {name: folder / name for name in _BESIDE} | _bitstream(folder, design)
    contents = {name: path.read_bytes() for name, path in paths.items()}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    manifest = {"format": FORMAT, "design": design, "board": board, "files": files}
    # the same for sha256sum, on boards without Python
    contents["SHA256SUMS"] = "".join(f"{digest}  {name}\n" for name, digest in files.items()).encode()
    contents["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    archive = Path(out) if out is not None else folder / f"{design}.tar.gz"
    write_whole(archive, _archive(design, contents))
    return Package(archive, design, files)


def open_package(archive: str | Path) -> Package:
    """An archive that ``package`` made; every file in it is checked.

    Raises:
        PackageError: It is none, or damaged.
    """
    archive = Path(archive)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            contents = {member.name: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
            read = {name: file.read() for name, file in contents.items() if file is not None}
        (manifest_name,) = [name for name in read if name.endswith("/manifest.json")]
        manifest = json.loads(read.pop(manifest_name))
        design, files = str(manifest["design"]), dict(manifest["files"])
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise PackageError(f"{archive} is no package ({error})", "make it with: flow package DIR") from error
    found = {name: hashlib.sha256(content).hexdigest() for name, content in read.items()}
    found.pop(f"{design}/SHA256SUMS", None)
    if found != {f"{design}/{name}": digest for name, digest in files.items()}:
        raise PackageError(f"{archive} is damaged: its files are not those of its manifest", "make it again")
    return Package(archive, design, files)


def _described(folder: Path) -> dict[str, object]:
    """``io.json`` of a build directory."""
    try:
        found: dict[str, object] = json.loads((folder / "io.json").read_text())
        assert {"design", "board"} <= found.keys()
    except (OSError, ValueError, AssertionError) as error:
        raise PackageError(f"{folder} is not a build directory: it holds no io.json", "build it: flow build") from error
    return found


def _bitstream(folder: Path, design: str) -> dict[str, Path]:
    """What is loaded: a bitstream and its description, or an .xclbin; they must be those that the last step left."""
    target, step, suffixes = "bitstream", "system_build", ["bit", "hwh"]
    if (folder / "scripts/link.cfg").is_file():
        target, step, suffixes = "xclbin", "link", ["xclbin"]
    remedy = f"flow build MODEL --synth {target}"
    found = {}
    try:
        record = json.loads((folder / f"hls_work/steps/{step}.json").read_text())
        for suffix in suffixes:
            path = f"hls_work/{target}/{design}.{suffix}"
            found[f"{design}.{suffix}"] = folder / path
            if digest_of(folder / path) != record["reports"][path]:
                raise PackageError(f"{folder / path} is not what the last step of --synth {target} left", remedy)
    except (OSError, ValueError, KeyError) as error:
        raise PackageError(f"{folder} holds no finished {target}", remedy) from error
    return found


def _archive(design: str, contents: dict[str, bytes]) -> bytes:
    """The bytes of the archive: sorted, without dates and owners."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(contents.items()):
            entry = tarfile.TarInfo(f"{design}/{name}")
            entry.size, entry.mode = len(content), 0o755 if name.endswith((".py", ".sh")) else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)
