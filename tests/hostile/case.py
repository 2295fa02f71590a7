"""One hostile input: how its file is made, what is run on it, and how that must end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

#: Writes the file, or the folder, at the path it is given.
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

    name      of the file, with its suffix; unique together with the command
    write     makes it
    words     the command line, {file} standing for the file and {here} for the folder it is in
    codes     exit codes that are right
    says      parts of the message, where one is asked for
    tensorrt  whether it runs on a made-up machine with TensorRT
    """

    name: str
    write: Write
    words: tuple[str, ...] = EXPORT
    codes: Collection[int] = REFUSED
    says: tuple[str, ...] = ()
    tensorrt: bool = False

    @property
    def label(self) -> str:
        """For reports."""
        return f"{self.name}: {' '.join(self.words)}"


def data(content: bytes) -> Write:
    """Writes these bytes."""
    return lambda path: path.write_bytes(content) and None
