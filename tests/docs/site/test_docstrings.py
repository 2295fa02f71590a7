"""Columns of names in docstrings become lists on the site."""

from __future__ import annotations

from docs.site.docstrings import as_list, entries, parameters_of

TEXT = """Do it.

path      where it is,
          and what
check_all raise if not
a, b      both

Returns nothing.  Two spaces in prose are no column."""


def test_columns_become_a_list() -> None:
    names = ["path", "check_all", "a", "b"]
    assert entries(TEXT, names) == [
        ("path", "where it is, and what"),
        ("check_all", "raise if not"),
        ("a, b", "both"),
    ]
    shown = as_list(TEXT, names)
    assert "``path``\n    where it is, and what\n" in shown and "``a``, ``b``\n    both" in shown
    assert shown.startswith("Do it.\n\n") and shown.endswith("Two spaces in prose are no column.\n")


def test_prose_stays_prose() -> None:
    text = "path is a word here\nand this goes on"
    assert entries(text, ["path"]) == [] and as_list(text, ["path"]) == text + "\n"


def test_parameters_of_a_function_and_of_anything_else() -> None:
    assert parameters_of(entries) == ["text", "parameters"]
    assert parameters_of(3) == []
