"""Links between documents, as the repository and the site have them."""

from __future__ import annotations

import pytest

from docs.site.contents import CONTENTS
from docs.site.links import ROOT, BrokenLink, page_of, rewritten, targets
from docs.site.pages import documents, generated_pages
from docs.site.sources import source_page


def test_links_lead_to_the_pages_of_the_site() -> None:
    text = "[a](docs/start.md) [b](docs/latency.md#method) ![c](docs/report.png) [d](plugins/reference.py) [e](#here)"
    assert rewritten("index.md", text) == (
        "[a](start.md) [b](latency.md#method) ![c](report.png) [d](source/plugins/reference.py.md) [e](#here)"
    )
    up = "[a](../ARCHITECTURE.md) [b](package.md) [c](../README.md)"
    assert rewritten("tutorials/int8.md", up.replace("../", "../../").replace("(p", "(../p")) == (
        "[a](../ARCHITECTURE.md) [b](../package.md) [c](../index.md)"
    )


def test_code_is_left_as_it_is() -> None:
    text = "```python\nx = y[0](docs/none.md)\n```\n"
    assert rewritten("index.md", text) == text and targets("README.md", text) == []


def test_a_broken_link_is_refused() -> None:
    with pytest.raises(BrokenLink, match=r"README.md links to docs/none.md, but there is no docs/none.md"):
        rewritten("index.md", "[a](docs/none.md)")
    assert rewritten("index.md", "[a](docs/none.md)", {"docs/none.md"}) == "[a](none.md)"


def test_every_page_is_in_the_sidebar() -> None:
    listed = {f"{page}.md" for pages in CONTENTS.values() for page in pages.values()}
    commands = {page for page in generated_pages() if page.startswith("reference/cli/")}
    pages = {*documents(ROOT / "docs"), *generated_pages()} - {"index.md"}
    assert pages - commands == listed - {"reference/cli/index.md"}


def test_files_and_folders_have_pages() -> None:
    assert page_of("plugins/reference.py") == "source/plugins/reference.py.md"
    assert '"""' in source_page("plugins/reference.py") and "````python\n" in source_page("plugins/reference.py")
    assert "- `batch_norm.py`: " in source_page("export/passes")
