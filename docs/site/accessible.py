"""What Sphinx and furo write without a name or a way to reach it by keyboard, mended in the built pages.

Found by axe-core; docs/site.md says how to run it.
"""

from __future__ import annotations

import re
from pathlib import Path

_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
#: Text in a page -> what stands there instead.
_REPLACED = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages">'),
    ('<aside class="toc-drawer">', '<aside class="toc-drawer" aria-label="On this page">'),
    ("<pre>", '<pre tabindex="0">'),  # code and tables that scroll
    ('<div class="table-wrapper ', '<div tabindex="0" class="table-wrapper '),
    ('<th class="head"><p></p></th>', '<td class="head"></td>'),
    ('<div id="search-results"></div>', '<h1>Search</h1>\n<div id="search-results"></div>'),
)


def mend_pages(site: Path) -> None:
    """Mend every page of a built site in place."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(mended(text), encoding="utf-8")


def mended(text: str) -> str:
    """One page, mended."""
    for old, new in _REPLACED:
        text = text.replace(old, new)
    return _SIGNATURE.sub(_without_list, text)


def _without_list(signature: re.Match[str]) -> str:
    """A signature over several lines, whose lines are a definition list without terms, as lines."""
    text = signature[0].replace("<dl>", '<span class="sig-lines">').replace("</dl>", "</span>")
    return text.replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
