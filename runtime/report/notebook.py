"""What a notebook shows of packages, sessions and results, made from the report's templates.

The style sheet is the report's, kept to the output's own element by `@scope`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rectexport.runtime.base.documents import strict
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.measurements import evaluated_of, latency_of, profiled_of, tuning_of
from rectexport.runtime.report.page import Documents, read_documents
from rectexport.runtime.report.plots.heat import REGIONS, heat_map
from rectexport.runtime.report.plots.icicle import icicle
from rectexport.runtime.report.plots.pareto import pareto_plot
from rectexport.runtime.report.plots.violin import plots
from rectexport.runtime.report.reading import parity_of
from rectexport.runtime.report.scale import STEPS
from rectexport.runtime.report.sections.card import card, tensor_rows
from rectexport.runtime.report.sections.headline import tiles
from rectexport.runtime.report.sections.quantized import quantized
from rectexport.runtime.report.template import TEMPLATES, rendered

#: Boxes of a profile's plot.
BOXES = 150


def as_html(kind: str, value: Any) -> str | None:
    """The HTML of a value; None for files that cannot be read: the notebook shows the short text then.

    kind   a key of VIEWS
    """
    try:
        view = VIEWS[kind](value)
    except (RectexportError, KeyError, TypeError, ValueError, AttributeError):
        return None
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8").replace(":root", ":scope")
    return rendered("notebook.html.j2", {"plots": (), "lines": (), "style": style, "title": repr(value), **view})


def _package(package: Package) -> Mapping[str, Any]:
    """The figures of the report; of a package whose documents cannot be read, its inputs and outputs alone."""
    data = package.manifest.data
    try:
        read = read_documents(package, package.path.name, Documents())
        facts = card(package, read.name, read.rewrites)
    except (RectexportError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return {"tensors": tensor_rows(package.manifest)}
    figures = tiles(data, facts.size, read.parity, read.rewrites, read.latency, None, quantized(data))
    return {"tiles": figures, "tensors": facts.tensors, "verdict": read.parity}


def _session(session: Any) -> Mapping[str, Any]:
    engine = "closed" if session.closed else session.backend.description
    return {**_package(session.package), "lines": [f"Engine: {engine}"]}


def _manifest(manifest: Any) -> Mapping[str, Any]:
    versions = ", ".join(f"{name} {found}" for name, found in manifest.data["versions"].items() if found)
    return {"tensors": tensor_rows(manifest), "lines": [f"Files: {', '.join(manifest.files)}", f"Made by {versions}"]}


def _parity(result: Any) -> Mapping[str, Any]:
    reference = next((case.reference for case in result.cases if case.reference), "its reference")
    parity = parity_of({"reference": reference, "backend": "the package", **strict(result.as_dict())})
    heat = heat_map(parity)
    return {"parity": parity, "heat": heat, "regions": REGIONS, "steps": STEPS, "verdict": parity}


def _bench(result: Mapping[str, Any]) -> Mapping[str, Any]:
    latency = latency_of(strict(result))
    told = [
        f"{entry.name} takes {entry.ratio:.3f} ({entry.low:.3f} to {entry.high:.3f}) of the time of {entry.base}, "
        f"batch {entry.batch}: {entry.verdict}"
        for entry in latency.comparisons
    ]
    return {"plots": plots(latency.contestants), "lines": [*told, *latency.warnings]}


def _evaluation(result: Any) -> Mapping[str, Any]:
    return {"evaluated": evaluated_of(strict(result.as_dict()))}


def _profile(result: Any) -> Mapping[str, Any]:
    return {"drawing": icicle(profiled_of(strict(result.as_dict())), BOXES)}


def _tuning(result: Any) -> Mapping[str, Any]:
    return {"drawing": pareto_plot(tuning_of(strict(result.document)))}


VIEWS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "package": _package,
    "session": _session,
    "manifest": _manifest,
    "parity": _parity,
    "bench": _bench,
    "evaluation": _evaluation,
    "profile": _profile,
    "tuning": _tuning,
}
