"""The section of docs/tensorrt.md with what was parsed and built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.common import table, write_section
from benchmarks.rtx.attempt import BUILT
from benchmarks.rtx.cases import FORMS, PRECISIONS, SHAPES, Case
from rectexport.runtime.base.environment import version

PAGE, SECTION = "tensorrt.md", "rtx"
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def write(results: Results) -> None:
    """Replace the section."""
    write_section(PAGE, SECTION, text(results))


def text(results: Results) -> str:
    """Counts for each kind of file, then what was not built, with the message."""
    tried = {name: found for name, found in results.items() if found}
    lines = [_summary(results, tried), "", table(_headings(), [_row(tried, kind, form) for kind, form in _rows()]), ""]
    return "\n".join([*lines, *_failures(tried)])


def _summary(results: Results, tried: Results) -> str:
    files = [entry for found in tried.values() for entry in found.values()]
    built = sum(entry["outcome"] == BUILT for entry in files)
    one_size = sum(any(entry.get("shapes") == "batch" for entry in found.values()) for found in tried.values())
    return (
        f"Written by `make rtx-zoo`: TensorRT for RTX {version('tensorrt-rtx-cu13') or '?'}, for compute capability "
        f"8.6. {built} of {len(files)} files of {len(tried)} of the zoo's {len(results)} networks were parsed and "
        f"built. *dynamic* is a batch of 1 to 4 and images of up to twice the size; {one_size} networks take one size "
        "of image, so there only the batch varies."
    )


def _rows() -> list[tuple[str, str]]:
    return [(kind, form) for kind in SHAPES for form in FORMS]


def _headings() -> list[str]:
    return ["shapes", "`--rectify`", *PRECISIONS]


def _row(tried: Results, kind: str, form: str) -> list[str]:
    cells = []
    for precision in PRECISIONS:
        key = Case(kind, form, precision).key
        found = [entry[key]["outcome"] for entry in tried.values() if key in entry]
        cells.append(f"{found.count(BUILT)} of {len(found)}")
    return [kind, form, *cells]


def _failures(tried: Results) -> list[str]:
    lines = []
    for name, found in tried.items():
        for key, entry in found.items():
            if entry["outcome"] != BUILT:
                message = " ".join(str(entry.get("message", "")).split())[:300]
                lines.append(f"- {name}, {key}: {entry['outcome']}: {message}")
    return lines
