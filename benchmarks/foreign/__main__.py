"""Export every network of `networks.py`, and write docs/models.md: `make foreign`.

    python -m benchmarks.foreign [--only TEXT] [--limit SECONDS] [--table]

Finished attempts are kept in out/foreign and not repeated, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
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


def run(network: Network, sizes: str, form: str, limit: float) -> dict[str, Any]:
    """The result of one attempt; made in its own process, unless it is there already."""
    path = path_of(network, sizes, form)
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    words = [sys.executable, "-m", "benchmarks.foreign.attempt", network.package, network.name, sizes, form, str(path)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
        said = ended.stderr.strip().splitlines()[-1:] or [f"exit {ended.returncode}"]
        failed = {"outcome": "crashed", "message": said[0]}
    except subprocess.TimeoutExpired:
        failed = {"outcome": "crashed", "message": f"not finished after {limit:g} s"}
    if not path.is_file():
        path.write_text(json.dumps(failed), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose package or name contains this text")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one attempt")
    parser.add_argument("--table", action="store_true", help="write the page from what is there")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--forms", default=",".join(FORMS))
    asked = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for network in NETWORKS:
        for sizes in SIZES:
            for form in FORMS:
                wanted = sizes in asked.sizes and form in asked.forms and not asked.table
                if path_of(network, sizes, form).is_file() or (
                    wanted and asked.only in f"{network.package} {network.name}"
                ):
                    result = run(network, sizes, form, asked.limit)
                    found[network.package, network.name, sizes, form] = result
                    if wanted:
                        print(network.package, network.name, sizes, form, result["outcome"], flush=True)
    write_page(NETWORKS, found, {package: version(package) for package in {entry.package for entry in NETWORKS}})


def version(package: str) -> str:
    """The installed version of a package by the name it is imported by."""
    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
