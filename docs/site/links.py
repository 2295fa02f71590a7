"""Links of the documents in the repository, as the site has them.

A document links to other files of the repository by relative paths. On the site, documents at the root stand beside
those of docs/, and every other file that is linked to has a page that shows it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Documents at the root, and the site's pages for them.
AT_ROOT = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
SOURCES = "source"
_LINK = re.compile(r"(!?\[[^\]\n]*(?:\n[^\]\n]*)?\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


class BrokenLink(Exception):
    """A document links to a file that does not exist."""


def repository_path(page: str) -> str:
    """Where the document behind a page of the site stands in the repository."""
    at_root = {site: document for document, site in AT_ROOT.items()}
    return at_root.get(page, f"docs/{page}")


def page_of(path: str) -> str:
    """The site's page for a file or folder of the repository."""
    if path in AT_ROOT:
        return AT_ROOT[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{SOURCES}/{path}.md"


def targets(document: str, text: str, generated: Collection[str] = ()) -> list[str]:
    """Paths in the repository that a document links to, without anchors and addresses.

    generated  pages that the build writes, as paths in the repository; they count as files
    """
    links = (_target(document, match[2], generated) for match in _LINK.finditer(_FENCE.sub("", text)))
    return [path for path in links if path]


def rewritten(page: str, text: str, generated: Collection[str] = ()) -> str:
    """The text of a page with its links as the site has them."""
    document = repository_path(page)

    def moved(match: re.Match[str]) -> str:
        path = _target(document, match[2], generated)
        if not path:
            return match[0]
        _, mark, anchor = match[2].partition("#")
        relative = posixpath.relpath(page_of(path), posixpath.dirname(page) or ".")
        return f"{match[1]}{relative}{mark}{anchor}{match[3]}"

    fences = _FENCE.findall(text)
    parts = _FENCE.split(text)
    moved_parts = [_LINK.sub(moved, part) for part in parts]
    return "".join(part + fence for part, fence in zip(moved_parts, [*fences, ""], strict=True))


def _target(document: str, link: str, generated: Collection[str]) -> str:
    """The repository's path that a link of a document names; empty for an address or an anchor."""
    path = link.partition("#")[0]
    if not path or re.match(r"\w+:", path):
        return ""
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
    if not (ROOT / whole).exists() and whole not in generated:
        raise BrokenLink(f"{document} links to {link}, but there is no {whole}")
    return whole
