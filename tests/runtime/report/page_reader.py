"""Parses a page with the standard library; every element must be closed in the right place."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "wbr", "br", "img", "link", "input", "hr", "base", "source"}
#: What stands apart from the text around it.
APART = {"td", "th", "b", "small", "dt", "dd", "span", "text", "title"}


@dataclass
class Element:
    """An element, with its texts and child elements."""

    tag: str
    attributes: dict[str, str]
    content: list[Element | str] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        """The child elements."""
        return [entry for entry in self.content if isinstance(entry, Element)]

    def all(self, tag: str | None = None, cls: str | None = None) -> list[Element]:
        """All descendants with a tag and a class, in order."""
        found = []
        for child in self.children:
            classes = child.attributes.get("class", "").split()
            if (tag is None or child.tag == tag) and (cls is None or cls in classes):
                found.append(child)
            found += child.all(tag, cls)
        return found

    @property
    def text(self) -> str:
        """All text, on one line."""
        return " ".join(self._whole().split())

    def _whole(self) -> str:
        apart = " " if self.tag in APART else ""
        return apart + "".join(entry if isinstance(entry, str) else entry._whole() for entry in self.content) + apart


class Reader(HTMLParser):
    """Builds the tree; raises for an end tag that does not match the open element."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].content.append(made)
        if tag not in VOID:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].content.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> where <{self._open[-1].tag}> is open"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].content.append(data)


def read_page(page: str) -> Element:
    """The tree of a page."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader._open == [reader.root], f"<{reader._open[-1].tag}> is never closed"
    return reader.root


def rows(table: Element) -> list[list[Element]]:
    """The cells of a table's body."""
    (body,) = table.all("tbody")
    return [[cell for cell in row.children if cell.tag in ("td", "th")] for row in body.all("tr")]


def table(page: Element, caption: str) -> Element:
    """The table whose caption starts with this text."""
    (found,) = [entry for entry in page.all("table") if entry.all("caption")[0].text.startswith(caption)]
    return found
