"""Export every network of `networks.py`, and write docs/models.md: `make foreign`.

    python -m benchmarks.foreign [--only TEXT] [--sizes static] [--forms plain] [--limit SECONDS] [--anew] [--table]

Finished attempts are kept in docs/models.json and out/foreign and are not repeated, so an interrupted run goes on where
it was, and `--anew` repeats those that were not exported.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.foreign.networks import NETWORKS, Network
from benchmarks.foreign.table import write_page

RESULTS = Path("out/foreign")
KEPT = Path("docs/models.json")
#: Folders of one attempt, which messages name.
SCRATCH = re.compile(r"/[^ \"]*rectexport-scratch\.\w+\.partial/")
#: Most characters of a message that are kept.
LONGEST = 600
SIZES, FORMS = ("static", "dynamic"), ("plain", "rectified")


def path_of(network: Network, sizes: str, form: str) -> Path:
    """Where an attempt's result is kept."""
    name = re.sub(r"[^\w.-]+", "-", f"{network.package} {network.name} {sizes} {form}")
    return RESULTS / f"{name}.json"


def run(network: Network, wanted: Sequence[tuple[str, str]], limit: float) -> None:
    """Make the results that are not there yet, in one process; what it leaves open counts as crashed."""
    open_ones = [(pair, path) for pair in wanted if not (path := path_of(network, *pair)).is_file()]
    if not open_ones:
        return
    words = [sys.executable, "-m", "benchmarks.foreign.attempt", network.package, network.name]
    words += [word for (sizes, form), path in open_ones for word in (sizes, form, str(path))]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=limit * len(open_ones), check=False)
        message = (ended.stderr.strip().splitlines()[-1:] or [f"exit {ended.returncode}"])[0]
    except subprocess.TimeoutExpired:
        message = f"not finished after {limit * len(open_ones):g} s"
    for _, path in open_ones:
        if not path.is_file():
            path.write_text(json.dumps({"outcome": "crashed", "message": message}), encoding="utf-8")


def restore(anew: bool) -> None:
    """Write the kept results that are no files yet; with anew, leave out what was not exported."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, result in json.loads(KEPT.read_text(encoding="utf-8")).items() if KEPT.is_file() else ():
        if not (path := RESULTS / f"{name}.json").is_file():
            path.write_text(json.dumps(result), encoding="utf-8")
    for path in RESULTS.glob("*.json") if anew else ():
        if json.loads(path.read_text(encoding="utf-8"))["outcome"] != "exported":
            path.unlink()


def keep(found: Mapping[tuple[str, str, str, str], dict[str, Any]]) -> None:
    """Write all results into one file, a line each, with messages cut off."""
    lines = []
    for (package, name, sizes, form), result in found.items():
        network = next(entry for entry in NETWORKS if (entry.package, entry.name) == (package, name))
        short = {**result, "message": result["message"][:LONGEST]} if "message" in result else result
        lines.append(f"{json.dumps(path_of(network, sizes, form).stem)}: {json.dumps(rounded(short), sort_keys=True)}")
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """The value with every float cut to three digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose package or name contains this text")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one attempt")
    parser.add_argument("--table", action="store_true", help="write the page from what is there")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--first", type=int, default=0, help="with --every: begin with this network")
    parser.add_argument(
        "--every", type=int, default=1, help="take every Nth network, to share the work among processes"
    )
    parser.add_argument("--anew", action="store_true", help="repeat what was not exported")
    asked = parser.parse_args()
    restore(asked.anew)
    found: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    pairs = [(sizes, form) for sizes in asked.sizes.split(",") for form in asked.forms.split(",")]
    for network in NETWORKS[asked.first :: asked.every]:
        if not asked.table and asked.only in f"{network.package} {network.name}":
            run(network, pairs, asked.limit)
            print(network.package, network.name, *(_outcome(network, *pair) for pair in pairs), flush=True)
    for network in NETWORKS:
        for pair in ((sizes, form) for sizes in SIZES for form in FORMS):
            if (path := path_of(network, *pair)).is_file():
                key = (network.package, network.name, pair[0], pair[1])
                found[key] = json.loads(SCRATCH.sub("", path.read_text(encoding="utf-8")))
    keep(found)
    packages = {entry.package for entry in NETWORKS}
    write_page(NETWORKS, found, {name: version(name) for name in packages})


def _outcome(network: Network, sizes: str, form: str) -> str:
    return f"{sizes}/{form}: {json.loads(path_of(network, sizes, form).read_text(encoding='utf-8'))['outcome']}"


def version(package: str) -> str:
    """The installed version of a package by the name it is imported by."""
    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
