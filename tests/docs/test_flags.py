"""Flags that documents name are flags of a command."""

from __future__ import annotations

import re
from functools import cache

import pytest

from docs.site import commands
from tests.docs.snippets import steps
from tests.places import ROOT

#: Every document but the list of changes, which names old flags too.
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if path.name != "CHANGELOG.md"
)
#: Flags of other programs that documents name in the text.
OF_OTHERS = {
    "--allowGPUFallback",
    "--dynamicPlugins",
    "--enablePluginOverride",
    "--gpus",
    "--loadEngine",
    "--system-site-packages",
    "--useDLACore",
}
_FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")


@cache
def known() -> frozenset[str]:
    return frozenset(_FLAG.findall("\n".join(commands.pages().values())))


def named(document: str) -> set[str]:
    """Flags in `code` of the text and in commands of ours."""
    text = (ROOT / document).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [span for span in re.findall(r"`([^`\n]+)`", prose) if re.match(r"(rectexport\b|--)", span)]
    typed = [step.text for step in steps(document) if step.kind == "sh" and step.text.startswith("rectexport ")]
    return {flag for words in (*spans, *typed) for flag in _FLAG.findall(words)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_exist(document: str) -> None:
    assert named(document) - known() - OF_OTHERS == set()
