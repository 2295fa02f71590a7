"""Exit codes, and the built-in exceptions that errors derive from."""

from __future__ import annotations

import json
import pickle

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


def test_a_parameter_is_spelled_as_in_python_or_as_asked() -> None:
    error = errors.BadInput(errors.Option("rectify", "fold"), ": use ", errors.Option("opset"), " instead")
    assert str(error) == "rectify='fold': use opset instead"
    assert error.spelled(lambda option: f"--{option.name} {option.value}") == "--rectify fold: use --opset None instead"
    assert len(str(errors.Option("target", "x" * 1000))) < 300


def test_words_that_python_and_the_command_line_write_differently() -> None:
    error = errors.BadInput("use ", errors.Spellings("--max-shapes x:2", "Dim('x', max=2)"))
    assert str(error) == "use Dim('x', max=2)" and error.spelled(str) == "use --max-shapes x:2"


def test_the_parts_of_an_error_survive_json() -> None:
    ways = errors.Spellings("--opset 5", "opset=5")
    error = errors.BadInput("use ", errors.Option("opset", 5), " or ", errors.Option("rectify"), ways)
    assert errors.from_plain(json.loads(json.dumps(errors.to_plain(error)))) == list(error.args)


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.UsageError(errors.Option("opset", 5), ": too low")))
    assert str(error) == "opset=5: too low" and error.exit_code == 2
