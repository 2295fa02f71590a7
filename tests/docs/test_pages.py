"""What the README, the tutorials and the pages that a newcomer reads say is typed, as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.not_run import NOT_RUN
from tests.docs.pages import ALWAYS, DOCUMENTS, follow, to_run
from tests.docs.snippets import commands, steps
from tests.places import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("document", ALWAYS)
def test_a_document_does_what_it_says(document: str, tmp_path: Path) -> None:
    assert to_run(document)
    follow(document, tmp_path)


def test_nothing_is_left_out_that_is_not_in_a_document() -> None:
    for document, begin, why in NOT_RUN:
        assert why and any(step.text.startswith(begin) for step in steps(document)), (document, begin)


def test_every_document_is_known() -> None:
    assert set(ALWAYS) <= set(DOCUMENTS)


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = {
        target
        for document in DOCUMENTS
        for step in steps(document)
        for target in re.findall(r"^(?:GPU_DRY=1 )?make ([\w-]+)", step.text)
    }
    assert {"demo", "test"} <= wanted
    for target in wanted:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_a_command_over_several_lines_is_one() -> None:
    block = "one --a \\\n  --b\n# a remark\ntwo '{\n  3}'\n\nthree   # isn't four\n"
    assert list(commands(block)) == [(0, "one --a \\\n  --b"), (3, "two '{\n  3}'"), (6, "three")]


def test_a_wrong_command_is_noticed(tmp_path: Path) -> None:
    from tests.docs.snippets import Reader, Step

    with pytest.raises(AssertionError, match="line 7"):
        Reader(tmp_path).follow(Step("sh", "false", 7))
    with pytest.raises(AssertionError, match="did not fail"):
        Reader(tmp_path).follow(Step("sh", "true", 7, fails=True))
