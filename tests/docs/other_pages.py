"""`make test-docs`: what the other documents say is typed, as it is written. Minutes; takes ports 8000 and 8001."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ALWAYS, DOCUMENTS, follow, to_run


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name not in ALWAYS and to_run(name)])
def test_a_document_does_what_it_says(document: str, tmp_path: Path) -> None:
    follow(document, tmp_path)
