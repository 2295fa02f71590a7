"""Every pass and every form says what it matches, what it makes of it, and when it must not."""

from __future__ import annotations

import inspect
import re
import sys
from functools import partial
from types import ModuleType

import pytest

from rectexport.exporter.passes import PASSES, Pass
from rectexport.exporter.passes.lowering.machinery.form import Form
from rectexport.exporter.passes.lowering.machinery.tuning import COUNTED, MEASURED
from rectexport.exporter.passes.order import LOWER

FORMS = {
    f"{operator.name} {form.name}": form for operator in (*COUNTED, *MEASURED) for form in operator.forms
}  # fmt: skip


def home(entry: Pass) -> ModuleType:
    run = entry.run.func if isinstance(entry.run, partial) else entry.run
    return sys.modules[run.__module__]


def has_algebra(text: str | None) -> bool:
    """Given, Result and Not when, in this order, each at the beginning of a line or after a column gap."""
    return text is not None and re.search(r"^Given .*?(^|  )Result .*^Not when\b", text, re.S | re.M) is not None


@pytest.mark.parametrize("entry", [entry for entry in PASSES if entry.stage != LOWER], ids=lambda entry: entry.name)
def test_a_pass_opens_with_its_algebra(entry: Pass) -> None:
    assert has_algebra(home(entry).__doc__), f"{home(entry).__name__}: Given, Result, Not when"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_opens_with_its_algebra(form: Form) -> None:
    assert has_algebra(inspect.getdoc(form.apply)), f"{form.name}: Given, Result, Not when"


def test_a_docstring_without_a_part_is_noticed() -> None:
    whole = "Do it.\n\nGiven   a             Result  b\n\nNot when c.\n"
    assert has_algebra(whole)
    for word in ("Given", "Result", "Not when"):
        assert not has_algebra(whole.replace(word, "Else"))
    assert not has_algebra(None)
