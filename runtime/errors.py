"""The errors that rectexport raises; exit_code is what the command line exits with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """A parameter of the Python API, named in an error's text.

    From Python it reads `opset=5`, or `opset` without a value; the command line shows its flag, `--opset 5`.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r:.200}"


@dataclass(frozen=True)
class Spellings:
    """Words of an error's text that the command line and Python write differently."""

    flags: str
    python: str

    def __str__(self) -> str:
        return self.python


class RectexportError(Exception):
    """Base of every error that rectexport raises on purpose.

    Its arguments are the parts of its text, in order: strings, an Option for each parameter that it names, and
    Spellings.
    """

    exit_code = 1

    def __str__(self) -> str:
        return "".join(map(str, self.args))

    def spelled(self, option: Callable[[Option], str]) -> str:
        """The text for the command line, with every Option as `option` writes it."""
        words = (part.flags if isinstance(part, Spellings) else part for part in self.args)
        return "".join(option(part) if isinstance(part, Option) else str(part) for part in words)


def to_plain(error: RectexportError) -> list[Any]:
    """The parts of an error's text as JSON has them, to send them to another process."""
    return [_plain(part) for part in error.args]


def _plain(part: object) -> Any:
    if isinstance(part, Spellings):
        return asdict(part)
    return [part.name, part.value] if isinstance(part, Option) else str(part)


def from_plain(parts: Sequence[Any]) -> list[str | Option | Spellings]:
    """The arguments of an error whose parts `to_plain` gave."""
    return [part if isinstance(part, str) else _from_plain(part) for part in parts]


def _from_plain(part: Any) -> Option | Spellings:
    return Spellings(**part) if isinstance(part, dict) else Option(*part)


class BadInput(RectexportError, ValueError):
    """A file, model, tensor or option value that cannot be used."""


class NotFinite(RectexportError, ArithmeticError):
    """An output holds NaN or infinity, and the session was loaded with check_finite."""


class UsageError(RectexportError, ValueError):
    """Options that contradict each other or do not parse."""

    exit_code = 2


class ParityError(RectexportError):
    """The package's outputs differ from the reference's by more than the tolerance."""

    exit_code = 3


class MissingDependency(RectexportError, ImportError):
    """A dependency or device is missing: a library, a driver, a GPU."""

    exit_code = 5


class DeviceError(RectexportError):
    """A call to the GPU, or to the engine on it, failed."""
