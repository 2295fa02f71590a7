"""The reference of the command line is made from the commands."""

from __future__ import annotations

import pytest

from docs.site import commands
from rectexport.cli.main import COMMANDS


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return commands.pages()


def test_every_command_has_a_page(pages: dict[str, str]) -> None:
    assert set(pages) == {f"reference/cli/{name}.md" for name in (*COMMANDS, "index")}
    assert all(f"[{name}]({name}.md)" in pages["reference/cli/index.md"] for name in COMMANDS)


def test_a_page_has_arguments_options_defaults_and_examples(pages: dict[str, str]) -> None:
    page = pages["reference/cli/verify.md"]
    assert "rectexport verify [OPTIONS] {PACKAGE}" in page and "| `PACKAGE` | Folder of a package. |" in page
    assert "| `--backend NAME` | " in page and "| `auto` |" in page and "**Examples**" in page and "## Engine" in page


def test_commands_below_a_command_are_shown(pages: dict[str, str]) -> None:
    assert "## rectexport models save" in pages["reference/cli/models.md"]


def test_every_option_says_what_it_does(pages: dict[str, str]) -> None:
    rows = [(page, row) for page, text in pages.items() for row in text.splitlines() if row.startswith("| `-")]
    assert len(rows) > 150
    assert [entry for entry in rows if "|  |" in entry[1].removesuffix("|  |")] == []
