"""Every public name is on a page of the reference, with what a caller needs to know."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import pytest

import rectexport
from docs.site import api
from docs.site.contents import ERRORS, LAYERS, PYTHON, VALUES
from docs.site.docstrings import entries, parameters_of
from rectexport import models

NAMES = [f"rectexport.{name}" for names in PYTHON.values() for name in names]
LAYER_NAMES = [f"rectexport.models.{name}" for names in LAYERS.values() for name in names]
#: Parameters that every caller of NumPy, PyTorch or Python knows under this name.
KNOWN = {"self", "args", "kwargs"}


def find(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def members(kind: type) -> dict[str, Any]:
    """Public methods and properties that a class of this project defines."""
    return {
        f"{kind.__name__}.{name}": value
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property | classmethod))
    }


def test_every_public_name_has_an_entry() -> None:
    assert sorted(NAMES) == sorted(f"rectexport.{name}" for name in rectexport.__all__)
    assert {f"rectexport.models.{name}" for name in models.__all__} <= set(LAYER_NAMES)
    pages = "\n".join(api.pages().values())
    assert all(f":: {name}\n" in pages for name in (*NAMES, *LAYER_NAMES, *VALUES, *ERRORS))


@pytest.mark.parametrize("name", [*NAMES, *LAYER_NAMES, *VALUES, *ERRORS])
def test_every_public_name_and_member_is_documented(name: str) -> None:
    found = find(name)
    if not inspect.isclass(found) and not inspect.isfunction(found):
        return  # a name for a type, which has no docstring
    assert (found.__doc__ or "").strip(), name
    undocumented = (
        [member for member, value in members(found).items() if not (inspect.getdoc(value) or "").strip()]
        if inspect.isclass(found)
        else []
    )
    assert not undocumented


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(find(name))])
def test_every_parameter_of_a_public_function_is_explained(name: str) -> None:
    function = find(name)
    text = inspect.getdoc(function) or ""
    listed = {one for names, _ in entries(text, parameters_of(function)) for one in names.split(", ")}
    missing = [one for one in parameters_of(function) if one not in listed | KNOWN and f"`{one}`" not in text]
    assert not missing


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(find(name))])
def test_public_functions_say_what_they_raise(name: str) -> None:
    assert re.search(r"\bRaises? |\braises? ", inspect.getdoc(find(name)) or ""), name
