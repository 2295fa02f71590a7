"""The layout: small folders, one direction between the rooms of each part, and documents that name real files."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.places import ROOT

#: Rooms (folders or single modules) of each part, from those that anyone may import to those that import the others.
ROOMS = {
    "runtime": (
        "errors",
        "base",
        "package",
        "arrays",
        "engines",
        "session",
        "verify",
        "api",
        "parity",
        "timing",
        "report",
        "serving",
    ),
    "export": (
        "base",
        "graph",
        "engine_facts",
        "frontend",
        "tracing",
        "passes",
        "writing",
        "checking",
        "tools",
        "pipeline",
        "optimize",
        "api",
    ),
    "models": ("layers", "registry", "networks", "rectify", "loading", "checkpoint", "tools", "digits"),
    "rectexport/cli": ("failure", "command", "display", "engine", "bench", "parity", "commands", "main"),
}
PREFIXES = {
    "runtime": "rectexport.runtime",
    "export": "rectexport.exporter",
    "models": "rectexport.models",
    "rectexport/cli": "rectexport.cli",
}
LARGEST_FOLDER = 16
TOP_LEVEL = 24
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])]
PATH_IN_TEXT = re.compile(
    r"(?<![\w/.])((?:benchmarks|docs|export|models|plugins|rectexport|runtime|tests)/[\w./-]*\w(?:\.\w+|/))(?![\w*])"
)


def modules(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py"))


def room(part: str, path: Path) -> str:
    return path.relative_to(ROOT / part).with_suffix("").parts[0]


def imported_rooms(part: str, path: Path) -> set[str]:
    """Rooms of the same part that a module imports, also inside functions and for types alone."""
    prefix, found = PREFIXES[part] + ".", set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return found & set(ROOMS[part])


@pytest.mark.parametrize("part", ROOMS)
def test_every_module_is_in_a_known_room(part: str) -> None:
    assert {room(part, path) for path in modules(part)} == {*ROOMS[part], "__init__"}


@pytest.mark.parametrize("part", ROOMS)
def test_rooms_import_in_one_direction(part: str) -> None:
    order = ROOMS[part]
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in modules(part)
        if (mine := room(part, path)) != "__init__"
        for other in imported_rooms(part, path)
        if order.index(other) > order.index(mine)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("part", ["export", "models", "runtime", "rectexport"])
def test_no_folder_is_crowded(part: str) -> None:
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules(part))
    assert {folder: size for folder, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_few_modules_stand_at_the_top() -> None:
    top = [path for part in ("export", "runtime") for path in (ROOT / part).glob("*.py")]
    assert len(top) <= TOP_LEVEL


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_files_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = [name for name in PATH_IN_TEXT.findall(text) if not re.search(r"/[A-Z]+\b", name)]  # export/passes/NAME.py
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing
