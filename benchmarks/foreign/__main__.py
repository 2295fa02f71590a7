"""Export every network of `networks.py`, and write docs/models.md: `make foreign`.

    python -m benchmarks.foreign [--only TEXT] [--sizes static] [--forms plain] [--limit SECONDS] [--table]

Finished attempts are kept in out/foreign and not repeated, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.foreign.networks import NETWORKS, Network
from benchmarks.foreign.table import write_page

RESULTS = Path("out/foreign")
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
    asked = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
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
                found[key] = json.loads(path.read_text(encoding="utf-8"))
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
