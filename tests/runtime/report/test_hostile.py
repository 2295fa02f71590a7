"""Names come from untrusted models: nothing in them may act in a browser or a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.comparison import build_comparison
from rectexport.runtime.report.page import Documents, build_page
from tests.runtime.report.conftest import (
    evaluation_document,
    latency_document,
    manifest_document,
    origins_document,
    parity_document,
    profile_document,
    rewrites_document,
)
from tests.runtime.report.page_reader import Element, read_page

pytest.importorskip("jinja2")

Write = Callable[..., Path]
HOSTILE = [
    "<script>alert(1)</script>",
    "</title></style></svg><img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)' x=\"",
    "{{ 7*7 }}{% raw %}${7*7}",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x00\x9b31m",
    "\u202etxt.exe\u2066\ufeff\u200b",
    "\ud800 lone",
    "-->]]><!--&lt;&#60;",
    "x" * 100_000,
]
#: Values that mean something to the reader of a document, and where numbers stand.
MEANT = {"rectexport-package", "rectexport-rewrites", "rectexport-origins", "float32", "auto", "fp32", "AP8="}


def poisoned(value: Any, name: str) -> Any:
    """The document with `name` for every string in it, and in every key that is a name."""
    if isinstance(value, list):
        return [poisoned(entry, name) for entry in value]
    if isinstance(value, str):
        return value if value in MEANT else name
    if not isinstance(value, dict):
        return value
    named = {"logits", "boxes", "atol:logits", "Mul", "Conv", "x", "numpy", "cpu", "trace", "z", "framework", "run"}
    return {name if key in named else key: poisoned(entry, name) for key, entry in value.items()}


DOCUMENTS = {
    "parity": parity_document,
    "rewrites": rewrites_document,
    "latency": latency_document,
    "manifest": manifest_document,
    "origins": origins_document,
}
MEASURED = {"profile": profile_document, "evaluation": evaluation_document}


def measured(folder: Path, name: str | None = None) -> Documents:
    """A profile and an evaluation with that name in every string, as files."""
    for kind, document in MEASURED.items():
        value = document() if name is None else poisoned(document(), name)
        (folder / f"{kind}.json").write_text(json.dumps(value), encoding="utf-8")
    return Documents(**{kind: folder / f"{kind}.json" for kind in MEASURED})


@pytest.fixture
def plain(write: Write, tmp_path: Path) -> Element:
    """Both kinds of pages of harmless documents."""
    package = Package.open(write("plain", **{kind: document() for kind, document in DOCUMENTS.items()}))
    given = measured(tmp_path)
    return read_page(build_page(package, "plain", given) + build_comparison(package, package, "a", "b", given))


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_escaped_as_text(write: Write, tmp_path: Path, plain: Element, name: str) -> None:
    folder = write(**{kind: poisoned(document(), name) for kind, document in DOCUMENTS.items()})
    package, given = Package.open(folder), measured(tmp_path, name)
    page = build_page(package, name, given)
    check(page, plain)
    assert len(read_page(page).all("h2")) == 9
    check(build_comparison(package, package, name, name, given), plain)


def check(page: str, plain: Element) -> None:
    """Nothing of the name acts: the page has the elements, attributes and kinds of characters of a harmless one."""
    page.encode("utf-8")
    assert len(page) < 200_000
    root = read_page(page)
    assert {element.tag for element in root.all()} <= {element.tag for element in plain.all()}
    assert {key for element in root.all() for key in element.attributes} <= {
        key for element in plain.all() for key in element.attributes
    }
    texts = [*(element.text for element in [root]), *(v for e in root.all() for v in e.attributes.values())]
    characters = set("".join(texts)) - {"\n"}
    assert not {char for char in characters if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert "49" not in root.all("h1")[0].text


def test_invisible_characters_are_shown_as_escapes(write: Write) -> None:
    manifest = manifest_document()
    manifest["source"]["description"] = "a\x1b[31m<b>\u202e\U000e0041\nz"
    text = read_page(build_page(Package.open(write(manifest=manifest)), "net")).text
    assert r"a\x1b[31m<b>\u202e\U000e0041\nz" in text


def test_the_reproduce_command_is_escaped_as_text(write: Write) -> None:
    folder = write()
    (folder / "reproduce.sh").write_text("#!/bin/sh\nexec rectexport '<b>\x1b[2J\u202e'\n", encoding="utf-8")
    text = read_page(build_page(Package.open(folder), "net")).text
    assert r"rectexport '<b>\x1b[2J\u202e'" in text


def test_infinite_and_huge_numbers_are_shown(write: Write) -> None:
    """Documents with infinite and huge numbers give a page too."""
    parity, latency = parity_document(), latency_document()
    for layer, value in zip(parity["cases"][0]["layers"], ("inf", "nan", 0.0, 1e300), strict=True):
        layer["relative_l2"] = layer["max_abs"] = value
        layer["regions"] = {region: {**figures, "relative_l2": value} for region, figures in layer["regions"].items()}
    parity["tolerances"] = {"relative_l2": 0.0}
    for entry, median in zip(latency["contestants"], ("inf", 0.0, 1e12), strict=True):
        entry |= {"median_ms": median, "samples_ms": [median] * 3, "p90_ms": None, "throughput": None}
    folder = write(parity=parity, latency=latency)
    assert "NaN" in read_page(build_page(Package.open(folder), "net")).text


def test_a_cyclic_graph_is_drawn(write: Write) -> None:
    rewrites = rewrites_document()
    side = rewrites["passes"][0]["examples"][0]["after"]
    entry = side["nodes"][0]
    side["nodes"] = [{**entry, "inputs": [f"t{(i + 1) % 200}", f"t{i}"], "outputs": [f"t{i}"]} for i in range(200)]
    assert read_page(build_page(Package.open(write(rewrites=rewrites)), "net"))
