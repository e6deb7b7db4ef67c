# SPDX-License-Identifier: Apache-2.0
"""A build as a value: texts by path, with a digest. Writing it is another verb."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flow.errors import OutputError


@dataclass(frozen=True)
class FileSet:
    """Files that were generated, by their path in the build directory."""

    files: Mapping[PurePosixPath, str]

    @classmethod
    def of(cls, files: Mapping[str, str]) -> "FileSet":
        return cls({PurePosixPath(path): text for path, text in sorted(files.items())})

    def __iter__(self) -> Iterator[tuple[PurePosixPath, str]]:
        return iter(sorted(self.files.items()))

    def __or__(self, other: "FileSet") -> "FileSet":
        twice = self.files.keys() & other.files.keys()
        if twice:
            raise ValueError(f"two parts of a build write {', '.join(map(str, sorted(twice)))}")
        return FileSet({**self.files, **other.files})

    def digest(self) -> str:
        """SHA-256 over paths and contents: equal builds have equal digests."""
        total = hashlib.sha256()
        for path, text in self:
            total.update(f"{path}\0{len(text)}\0".encode())
            total.update(text.encode())
        return total.hexdigest()

    def write(self, folder: Path) -> None:
        """Writes every file whose content is not there already."""
        for path, text in self:
            target = folder / path
            if target.exists() and target.read_text() == text:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that the user named with ``--out``, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        new.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}", "name another with --out") from error
