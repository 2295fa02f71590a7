"""The site is built without a warning and without a network."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from docs.site.accessible import mended
from tests.places import ROOT


@pytest.fixture(scope="module")
def built() -> str:
    done = subprocess.run([sys.executable, "-m", "docs.site"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_the_site_is_built_without_a_warning(built: str) -> None:
    assert built.strip() == ""
    site = ROOT / "build" / "site"
    assert {"index.html", "start.html", "searchindex.js"} <= {path.name for path in site.iterdir()}
    assert "rectexport verify" in (site / "reference" / "cli" / "verify.html").read_text(encoding="utf-8")


def test_pages_load_nothing_from_elsewhere(built: str) -> None:
    loading = re.compile(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"')
    pages = sorted((ROOT / "build" / "site").rglob("*.html"))
    assert len(pages) > 60
    assert [
        (path.name, match[0]) for path in pages if (match := loading.search(path.read_text(encoding="utf-8")))
    ] == []


def test_what_scrolls_can_be_reached_by_keyboard() -> None:
    assert mended("<pre>x</pre>") == '<pre tabindex="0">x</pre>'
    signature = '<dt class="sig sig-object py"><dl><dd>a</dd></dl></dt><dl><dd>b</dd></dl>'
    assert mended(signature) == (
        '<dt class="sig sig-object py"><span class="sig-lines"><span class="sig-line">a</span></span></dt>'
        "<dl><dd>b</dd></dl>"
    )
