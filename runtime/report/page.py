"""Builds the page: documents to views, views into the template.

The template engine escapes every value from a document; svg.py escapes the drawings. The page links only to its own
parts, and its Content-Security-Policy forbids scripts and loading in case escaping ever fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.package.folder import LATENCY, PARITY, REWRITES, TUNING, Package, check_outside
from rectexport.runtime.report import text
from rectexport.runtime.report.borders import border_table
from rectexport.runtime.report.card import card, headline
from rectexport.runtime.report.documents import Latency, Parity, Rewrites
from rectexport.runtime.report.example import example_of
from rectexport.runtime.report.graph import operator_rows, pass_views
from rectexport.runtime.report.heat import REGIONS, heat_map, severity
from rectexport.runtime.report.plots.icicle import icicle
from rectexport.runtime.report.plots.pareto import pareto_plot
from rectexport.runtime.report.plots.violin import plots
from rectexport.runtime.report.quantized import REGIONS as INT8_REGIONS
from rectexport.runtime.report.quantized import quantized
from rectexport.runtime.report.reading import (
    faults_as_bad_input,
    read_latency,
    read_parity,
    read_profile,
    read_rewrites,
    read_tuning,
)
from rectexport.runtime.report.scale import STEPS

if TYPE_CHECKING:
    from jinja2 import Environment

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    package: Package,
    out: Path,
    name: str | None = None,
    latency: Path | None = None,
    parity: Path | None = None,
    profile: Path | None = None,
) -> None:
    """Write the report of a package to `out`, which is replaced atomically.

    name      the package's name on the page, by default its folder's name
    latency   a document of `rectexport bench`, by default the package's latency.json if it has one
    parity    a document of `rectexport parity`, by default the package's parity.json
    profile   a document of `rectexport profile`; without one the page has no section about it

    Raises BadInput for documents that cannot be read, UsageError for an `out` inside a package, MissingDependency
    without jinja2.
    """
    require("jinja2")
    check_outside(out)
    page = build_page(package, name or package.path.resolve().name, latency, parity, profile)
    with replaced_file(out) as work:
        work.write_text(page, encoding="utf-8")


def build_page(
    package: Package,
    name: str,
    latency: Path | None = None,
    parity: Path | None = None,
    profile: Path | None = None,
) -> str:
    """The page as text; arguments as in `write_report`."""
    compared = read_parity(parity or package.path / PARITY)
    timed_file = latency or package.path / LATENCY
    timed = read_latency(timed_file) if latency or timed_file.is_file() else None
    profiled = read_profile(profile) if profile else None
    tuned = read_tuning(package.path / TUNING) if TUNING in package.manifest.files else None
    drawn = package.path / REWRITES
    rewrites = read_rewrites(drawn) if drawn.is_file() else None
    with faults_as_bad_input(package.path / "manifest.json", "a manifest as an export writes it"):
        data = package.manifest.data
        view = {
            "name": name,
            "card": card(package, name, rewrites),
            "example": example_of(package),
            "tiles": _tiles(package, compared, rewrites, timed),
            "operators": operator_rows(rewrites) if rewrites else None,
            "passes": pass_views(data["passes"], rewrites),
            "parity": compared,
            "allowed": compared.tolerances.get("relative_l2", 0.0),
            "heat": heat_map(compared),
            "regions": REGIONS,
            "borders": border_table(data.get("borders", ()), compared),
            "steps": STEPS,
            "latency": timed,
            "int8": quantized(data),
            "int8_regions": INT8_REGIONS,
            "plots": plots(timed.contestants) if timed else [],
            "profile": profiled,
            "icicle": icicle(profiled) if profiled else "",
            "tuning": tuned,
            "pareto": pareto_plot(tuned) if tuned else "",
            "versions": {str(library): found for library, found in data["versions"].items()},
            "seconds": {str(step): float(seconds) for step, seconds in data["seconds"].items()},
        }
    return environment().get_template("page.html.j2").render(view)


def environment() -> Environment:
    """The template engine, which escapes every value that a template prints."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": text.number,
        "bound": text.bound,
        "ms": text.milliseconds,
        "decibels": text.decibels,
        "short": text.short,
        "sizes": text.sizes,
    }
    return environment


def _shown(value: Any) -> Any:
    """Applied to every expression of the template: escapes control characters in names."""
    return text.visible(value) if type(value) is str else value


def _tiles(
    package: Package, parity: Parity, rewrites: Rewrites | None, latency: Latency | None
) -> list[tuple[str, str, str]]:
    """The figures at the top of the page: (figure, name, explanation)."""
    outputs = [distance for case in parity.cases for distance in case.outputs.values()]
    tiles = []
    if outputs:
        worst = max((distance.relative_l2 for distance in outputs), key=severity)
        allowed = text.bound(parity.tolerances.get("relative_l2"))
        tiles.append((text.number(worst), "relative L2", f"worst output; {allowed} allowed"))
    classes = [distance.top1 for distance in outputs if distance.top1 is not None]
    if classes:
        tiles.append((f"{100 * min(classes):.4g} %", "same class", "as the reference, on the inputs compared"))
    if rewrites:
        before, after = sum(rewrites.before.values()), sum(rewrites.after.values())
        tiles.append((f"{before} → {after}", "nodes", "as traced, as packaged"))
    if parameters := headline(rewrites):
        tiles.append((parameters, "parameters", _precision(package.manifest.data)))
    if latency and latency.contestants:
        first = latency.contestants[0]
        tiles.append((text.milliseconds(first.median), "median", f"{text.short(first.name, 40)}, batch {first.batch}"))
    return tiles


def _precision(data: Mapping[str, Any]) -> str:
    return {"fp32": "float32", "fp16": "float16", "int8": "int8"}.get(str(data["options"].get("precision")), "")
