"""The errors that rectexport raises; exit_code is what the command line exits with."""

from __future__ import annotations


class RectexportError(Exception):
    """Base of every error that rectexport raises on purpose."""

    exit_code = 1


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
