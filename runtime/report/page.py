"""Builds the page: documents to views, views into the template.

The template engine escapes every value from a document; svg.py escapes the drawings. The page links only to its own
parts, and its Content-Security-Policy forbids scripts and loading in case escaping ever fails. It is at most MOST_BYTES
large: a large model gets fewer details.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.package.folder import LATENCY, PARITY, REWRITES, TUNING, Package, check_outside
from rectexport.runtime.profiling.origins import Graph, read_graph
from rectexport.runtime.report.documents import Evaluated, Latency, Parity, Profiled, Rewrites, Tuning
from rectexport.runtime.report.measurements import read_evaluation, read_latency, read_profile, read_tuning
from rectexport.runtime.report.network.names import Names
from rectexport.runtime.report.network.tree import DEEPEST, network_map
from rectexport.runtime.report.plots.heat import REGIONS, heat_map
from rectexport.runtime.report.plots.icicle import icicle
from rectexport.runtime.report.plots.pareto import pareto_plot
from rectexport.runtime.report.plots.violin import plots
from rectexport.runtime.report.reading import faults_as_bad_input, read_parity, read_rewrites
from rectexport.runtime.report.rewrites.graph import anchors, operator_rows, pass_views
from rectexport.runtime.report.scale import STEPS
from rectexport.runtime.report.sections.borders import border_table
from rectexport.runtime.report.sections.card import card
from rectexport.runtime.report.sections.example import example_of
from rectexport.runtime.report.sections.headline import tiles
from rectexport.runtime.report.sections.proofs import proof_rows
from rectexport.runtime.report.sections.quantized import REGIONS as INT8_REGIONS
from rectexport.runtime.report.sections.quantized import quantized
from rectexport.runtime.report.template import rendered

FILE_NAME = "report.html"
MOST_BYTES = 300_000
_ENGINE = "onnxruntime"


@dataclass(frozen=True)
class Documents:
    """What else the page is made from; None takes the package's own document, or leaves the section out.

    latency, parity, profile   of `rectexport bench`, `parity` and `profile`
    evaluation                 of `rectexport eval`: accuracy, and a real input with its answer
    """

    latency: Path | None = None
    parity: Path | None = None
    profile: Path | None = None
    evaluation: Path | None = None


@dataclass(frozen=True)
class Read:
    """The documents of a package, read."""

    package: Package
    name: str
    parity: Parity
    latency: Latency | None
    profile: Profiled | None
    evaluated: Evaluated | None
    tuning: Tuning | None
    rewrites: Rewrites | None
    graph: Graph


@dataclass(frozen=True)
class Detail:
    """How much is shown: rows of a table, drawings of a pass, boxes of a plot, single nodes and depth of the map."""

    rows: int
    drawings: int
    boxes: int
    nodes: bool
    depth: int = DEEPEST


#: From all details to few; the first that fits is taken.
DETAILS = (
    Detail(rows=60, drawings=3, boxes=400, nodes=True),
    Detail(rows=40, drawings=1, boxes=150, nodes=True),
    Detail(rows=40, drawings=1, boxes=150, nodes=False),
    Detail(rows=20, drawings=1, boxes=100, nodes=False, depth=3),
    Detail(rows=10, drawings=0, boxes=50, nodes=False, depth=1),
)


def write_report(package: Package, out: Path, name: str | None = None, documents: Documents | None = None) -> None:
    """Write the report of a package to `out`, which is replaced atomically.

    name   the package's name on the page, by default its folder's name

    Raises BadInput for documents that cannot be read, UsageError for an `out` inside a package, MissingDependency
    without jinja2.
    """
    require("jinja2")
    check_outside(out)
    page = build_page(package, name or package.path.resolve().name, documents)
    with replaced_file(out) as work:
        work.write_text(page, encoding="utf-8")


def build_page(package: Package, name: str, documents: Documents | None = None) -> str:
    """The page as text; arguments as in `write_report`."""
    read = read_documents(package, name, documents or Documents())
    with faults_as_bad_input(package.path / "manifest.json", "a manifest as an export writes it"):
        page = ""
        for detail in DETAILS:
            page = rendered("page.html.j2", _view(read, detail))
            if len(page.encode("utf-8")) <= MOST_BYTES:
                break
        return page


def read_documents(package: Package, name: str, given: Documents) -> Read:
    """Read everything that a page of this package shows. Raises BadInput for documents that cannot be read."""
    timed = given.latency or package.path / LATENCY
    drawn = package.path / REWRITES
    profile = read_profile(given.profile) if given.profile else None
    return Read(
        package,
        name,
        parity=read_parity(given.parity or package.path / PARITY),
        latency=read_latency(timed) if given.latency or timed.is_file() else None,
        profile=profile,
        evaluated=read_evaluation(given.evaluation) if given.evaluation else None,
        tuning=read_tuning(package.path / TUNING) if TUNING in package.manifest.files else None,
        rewrites=read_rewrites(drawn) if drawn.is_file() else None,
        graph=read_graph(package, profile.backend if profile else _ENGINE),
    )


def _view(read: Read, detail: Detail) -> dict[str, Any]:
    """Everything that the template shows."""
    data, parity, rewrites = read.package.manifest.data, read.parity, read.rewrites
    names = Names.of(read.graph, parity)
    facts = card(read.package, read.name, rewrites)
    passes = pass_views(data["passes"], rewrites, names, detail.drawings)
    heat, int8 = heat_map(parity), quantized(data)
    scale = heat.scale if heat else None
    return {
        "name": read.name,
        "detail": detail,
        "names": names,
        "card": facts,
        "example": example_of(read.package, read.evaluated),
        "tiles": tiles(data, facts.size, parity, rewrites, read.latency, read.evaluated, int8),
        "network": network_map(read.graph, parity, read.profile, anchors(passes), scale, detail.nodes, detail.depth),
        "operators": operator_rows(rewrites) if rewrites else None,
        "passes": passes,
        "parity": parity,
        "proofs": proof_rows(data.get("proofs", ())),
        "evaluated": read.evaluated,
        "allowed": parity.tolerances.get("relative_l2", 0.0),
        "heat": heat,
        "regions": REGIONS,
        "borders": border_table(data.get("borders", ()), parity, names, detail.rows),
        "steps": STEPS,
        "latency": read.latency,
        "int8": int8,
        "int8_regions": INT8_REGIONS,
        "plots": plots(read.latency.contestants) if read.latency else [],
        "profile": read.profile,
        "icicle": icicle(read.profile, detail.boxes) if read.profile else "",
        "tuning": read.tuning,
        "pareto": pareto_plot(read.tuning) if read.tuning else "",
        "versions": {str(library): found for library, found in data["versions"].items()},
        "seconds": {str(step): float(seconds) for step, seconds in data["seconds"].items()},
    }
