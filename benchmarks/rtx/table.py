"""The section of docs/tensorrt.md with what was parsed and built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.common import table, write_section
from benchmarks.rtx.cases import FORMS, PRECISIONS, SHAPES, Case, cases
from benchmarks.rtx.outcomes import BUILT, PARSED, Outcomes
from rectexport.models.registry import model_entry

PAGE, SECTION = "tensorrt.md", "rtx"
#: Networks that a line names.
NAMED = 20
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def write(outcomes: Outcomes, names: Sequence[str]) -> None:
    """Replace the section."""
    families = {name: model_entry(name).builder for name in names}
    section = [complete(outcomes.found, families), text(outcomes.found, outcomes.version, names)]
    write_section(PAGE, SECTION, "\n\n".join(section))


def complete(found: Results, families: Mapping[str, str]) -> str:
    """How many families have a network of which every file was built. families: name -> its family."""
    keys = [case.key for case in cases()]
    built = [name for name in found if all(found[name].get(key, {}).get("outcome") == BUILT for key in keys)]
    left = sorted(set(families.values()) - {families[name] for name in built})
    rest = f"; not of {', '.join(left)}" if left else ""
    count = len(set(families.values()))
    return f"Every file of at least one network was built in {count - len(left)} of {count} families{rest}."


def text(found: Results, version: str, names: Sequence[str]) -> str:
    """Counts for each kind of file, then what was not parsed or not built, with the reason."""
    rows = [_row(found, kind, form, len(names)) for kind in SHAPES for form in FORMS]
    lines = [_summary(found, version, names), *_costs(found), "", table(_headings(), rows), "", *_failures(found)]
    return "\n".join([*lines, *_unbuilt(found, names)])


def _summary(found: Results, version: str, names: Sequence[str]) -> str:
    files = [entry for results in found.values() for entry in results.values()]
    built = sum(entry["outcome"] == BUILT for entry in files)
    parsed = built + sum(entry["outcome"] == PARSED for entry in files)
    wanted = len(names) * len(SHAPES) * len(FORMS) * len(PRECISIONS)
    different = len({entry["model"] for entry in files if "model" in entry})
    one_size = sum(any(entry.get("shapes") == "batch" for entry in results.values()) for results in found.values())
    return (
        f"Written by `make rtx-zoo` from docs/rtx.json: TensorRT for RTX {version}, for compute capability 8.6, at the "
        f"builder's least effort. Of {wanted} files of {len(names)} networks, {len(files)} were tried, {parsed} parsed "
        f"and {built} built. They are {different} different files: without rectification all forms are one file, and "
        "with dynamic sizes `auto` is `graph`. A cell has how many networks were parsed / built. *dynamic* is a batch "
        "of 1 to 4 and images of up to twice the size; where a network takes one size of image, the batch alone varies "
        f"(networks: {one_size}). int8 was calibrated on a few random images, since nothing is run."
    )


def _costs(found: Results) -> Iterator[str]:
    """The longest build and the one with the most memory; older results have neither."""
    costs = [
        (entry["build_s"], entry["peak_bytes"], f"{name}, {key}")
        for name, results in found.items()
        for key, entry in results.items()
        if "build_s" in entry
    ]
    if costs:
        seconds, _, slowest = max(costs)
        memory, largest = max((peak, case) for _, peak, case in costs)
        yield (
            f"Seconds and memory are known of {len(costs)} builds: at most {seconds:.0f} s ({slowest}) and "
            f"{memory / 2**30:.1f} GiB ({largest}), each in a process of its own. The machine had other work, too."
        )


def _headings() -> list[str]:
    return ["shapes", "`--rectify`", *PRECISIONS]


def _row(found: Results, kind: str, form: str, count: int) -> list[str]:
    cells = []
    for precision in PRECISIONS:
        key = Case(kind, form, precision).key
        reached = [results[key]["outcome"] for results in found.values() if key in results]
        built = reached.count(BUILT)
        cells.append(f"{built + reached.count(PARSED)} / {built}")
    return [kind, form, *cells]


def _failures(found: Results) -> Iterator[str]:
    for name, results in found.items():
        for key, entry in results.items():
            if entry["outcome"] not in (BUILT, PARSED) or "build" in entry:
                message = " ".join(str(entry.get("message", "")).split())[:300]
                yield f"- {name}, {key}: {entry.get('build', entry['outcome'])}: {message}"


def _unbuilt(found: Results, names: Sequence[str]) -> Iterator[str]:
    """Networks of which no file was tried, or not each one that was parsed was built."""
    missing = [name for name in names if not found.get(name)]
    if missing:
        yield f"\nNot tried yet: {_some(missing)}."
    waiting = [name for name in names if any(_waits(entry) for entry in found.get(name, {}).values())]
    if waiting:
        yield f"\nParsed in part or whole, and not built yet: {_some(waiting)}."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _waits(entry: Mapping[str, Any]) -> bool:
    return entry["outcome"] == PARSED and "build" not in entry
