"""A hostile input: how its file is made, the command that reads it, and how that must end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

#: Writes the file or folder at a given path.
Write = Callable[[Path], None]

EXPORT = ("{file}", "-o", "out")
PLAN = ("{file}", "-o", "out", "--dry-run")
OPTIMIZE = ("optimize", "{file}", "-o", "out.onnx")
DOCTOR = ("doctor", "{file}")
LOAD = ("load", "{file}")
REFUSED = (1,)


@dataclass(frozen=True)
class Case:
    """A file and a command.

    name      the file's name with its suffix; unique together with the command
    write     makes the file
    words     the command line; {file} is replaced by the file and {here} by its folder
    codes     allowed exit codes
    says      texts that the message must contain
    tensorrt  whether it runs on a fake machine with TensorRT
    """

    name: str
    write: Write
    words: tuple[str, ...] = EXPORT
    codes: Collection[int] = REFUSED
    says: tuple[str, ...] = ()
    tensorrt: bool = False

    @property
    def label(self) -> str:
        """The case's name in reports."""
        return f"{self.name}: {' '.join(self.words)}"


def data(content: bytes) -> Write:
    """A function that writes these bytes."""
    return lambda path: path.write_bytes(content) and None
