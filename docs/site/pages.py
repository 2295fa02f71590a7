"""The folder that Sphinx reads: documents of the repository, generated pages, and files that they link to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from docs.site import api, commands, errors, links, sources
from docs.site.code import read_code
from docs.site.contents import CONTENTS

#: Documents of docs/ that are no pages.
NOT_SHOWN = {"site"}


def write_pages(folder: Path) -> None:
    """Write the site's sources into `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(links.ROOT / "docs", folder, ignore=_ignored)
    generated = generated_pages()
    texts = {**documents(folder), **generated}
    own = {links.repository_path(page) for page in generated}
    wanted = {path for page, text in texts.items() for path in links.targets(links.repository_path(page), text, own)}
    for page, text in texts.items():
        whole = links.rewritten(page, text, own) + (_toctrees() if page == "index.md" else "")
        _write(folder / page, whole)
    for path in sorted(wanted):
        page = links.page_of(path)
        if page.startswith(f"{links.SOURCES}/"):
            _write(folder / page, sources.source_page(path))


def generated_pages() -> dict[str, str]:
    """Pages made from the code, by their places on the site."""
    return {**commands.pages(), **api.pages(), "reference/errors.md": errors.page(read_code())}


def documents(folder: Path) -> Mapping[str, str]:
    """The texts of all documents of the repository, by their places on the site."""
    pages = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.md"))}
    pages.update({page: links.ROOT / document for document, page in links.AT_ROOT.items()})
    return {page: path.read_text(encoding="utf-8") for page, path in pages.items()}


def _ignored(folder: str, names: list[str]) -> set[str]:
    code = {name for name in names if name.endswith(".py") or name == "__pycache__"}
    return code | (NOT_SHOWN & set(names) if Path(folder) == links.ROOT / "docs" else set())


def _toctrees() -> str:
    """The sidebar."""
    blocks = []
    for caption, pages in CONTENTS.items():
        listed = [f"{title} <{page}>" for title, page in pages.items()]
        lines = ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *listed, "```"]
        blocks.append("\n".join(lines))
    return "\n".join(["", *blocks, ""])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
