"""Errors that a user may see; each knows the exit code of the command that raised it."""

from __future__ import annotations


class RectexportError(Exception):
    """Base of every error that rectexport raises on purpose."""

    exit_code = 1


class BadInput(RectexportError, ValueError):
    """A file, model, tensor or option value that cannot be used."""


class NotFinite(RectexportError, ArithmeticError):
    """An output holds NaN or infinity, and the session was asked to say so."""


class UsageError(RectexportError, ValueError):
    """Options that contradict each other or do not parse."""

    exit_code = 2


class ParityError(RectexportError):
    """The package's answers differ from the reference's by more than the tolerance."""

    exit_code = 3


class MissingDependency(RectexportError, ImportError):
    """Something this machine lacks: a library, a device, a driver."""

    exit_code = 5


class DeviceError(RectexportError):
    """The GPU, or the engine on it, failed at what it was asked to do."""
