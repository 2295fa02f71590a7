"""Pages that show files of the repository which documents link to."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.site.links import ROOT

_LANGUAGES = {".py": "python", ".h": "cpp", ".cpp": "cpp", ".cu": "cpp", ".json": "json", ".yaml": "yaml"}
_HEAD = "---\norphan: true\n---\n\n"


def source_page(path: str) -> str:
    """The page of one file, or of a folder with a line for each of its modules."""
    whole = ROOT / path
    title = f"{_HEAD}# {path}\n\n"
    if whole.is_dir():
        return title + "\n".join(f"- `{module.name}`: {first_line(module)}" for module in sorted(whole.glob("*.py")))
    language = _LANGUAGES.get(whole.suffix, "text")
    text = whole.read_text(encoding="utf-8").rstrip()
    return f"{title}````{language}\n{text}\n````\n"


def first_line(module: Path) -> str:
    """The first line of a module's docstring."""
    found = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    return (found or "").partition("\n")[0] or "its parts"
