"""Exit codes, and the built-in exceptions that errors derive from."""

from __future__ import annotations

import pytest

from rectexport.runtime import errors


@pytest.mark.parametrize(
    ("kind", "code", "base"),
    [
        (errors.RectexportError, 1, Exception),
        (errors.BadInput, 1, ValueError),
        (errors.UsageError, 2, ValueError),
        (errors.ParityError, 3, errors.RectexportError),
        (errors.MissingDependency, 5, ImportError),
    ],
)
def test_exit_codes(kind: type[errors.RectexportError], code: int, base: type[Exception]) -> None:
    error = kind("what is wrong")
    assert error.exit_code == code
    assert isinstance(error, errors.RectexportError) and isinstance(error, base)
    assert str(error) == "what is wrong"
