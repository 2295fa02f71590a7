"""Costs measured on this machine, for the very shapes of one model.

Each distinct site is cut out (excerpt.py), lowered into every form that is exact there, and timed against the same
site as written by rectexport.runtime.timing.stopwatch. A form's cost is the upper end of its measured interval, so a
form is taken only where it wins by more than the noise. At last the whole model is timed as tuned and as written; if
the tuned one is slower by more than the noise, everything stays as written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, Protocol

from onnx import ModelProto

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.lowering import boundary, crelu, linear, norm, rectify, symmetric
from rectexport.exporter.passes.lowering.choice import Costs
from rectexport.exporter.passes.lowering.machinery.cache import Cache, Figures
from rectexport.exporter.passes.lowering.machinery.excerpt import excerpt
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN, Operator, Shape
from rectexport.exporter.passes.order import FINISH, PREPARE, RECTIFY
from rectexport.exporter.passes.selection import PassContext, lower, select_passes
from rectexport.runtime.base.environment import version
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import Option, UsageError
from rectexport.runtime.timing import stopwatch
from rectexport.runtime.timing.machine import machine
from rectexport.runtime.timing.stopwatch import Timing

#: Targets that can be timed on the machine that exports.
ENGINES = ("onnxruntime", "openvino")
#: Seconds of measuring for one model in all, and for one site at most; loading comes on top.
BUDGET, SITE_SECONDS = 120.0, 6.0
#: Operators whose forms are chosen by counting, and those whose forms are timed.
COUNTED: tuple[Operator, ...] = (norm.OPERATOR, linear.OPERATOR)
MEASURED: tuple[Operator, ...] = (
    symmetric.OPERATOR,
    crelu.OPERATOR,
    crelu.NEG_CONCAT,
    boundary.OPERATOR,
    boundary.CIRCULAR_OPERATOR,
    rectify.OPERATOR,
)


def unreadable_forms(targets: Collection[str]) -> frozenset[str]:
    """Forms that an engine cannot read which has no file of its own in a package for these targets."""
    forms = (form for operator in MEASURED for form in operator.forms)
    return frozenset(form.name for form in forms if not set(form.refused_by) <= set(targets))


class Clock(Protocol):
    """Times models; rectexport.runtime.timing.stopwatch.measure, or a fake."""

    def __call__(self, models: Mapping[str, bytes], engine: str, *, seconds: float) -> dict[str, Timing]: ...


@dataclass(frozen=True)
class Sample:
    """A site cut out of a model, and the forms that are exact there."""

    model: ModelProto
    forms: tuple[str, ...]


@dataclass(frozen=True)
class TunedCosts:
    """Figures by operator and shape; a size that the model leaves open is taken as the measured one."""

    figures: Mapping[tuple[str, Shape], Figures]
    description: str

    def ratio(self, operator: str, form: str, shape: Shape | None) -> float | None:
        """Upper end of the measured interval."""
        if shape is None:
            return None
        for (name, known), found in self.figures.items():
            if name == operator and form in found and _same(shape, known):
                cost, noise = found[form]
                return cost + noise
        return None


@dataclass(frozen=True)
class ForcedForm:
    """Costs that make one form win wherever it is exact."""

    form: str
    description: str = "one form everywhere"

    def ratio(self, operator: str, form: str, shape: Shape | None) -> float | None:
        """Below anything else for the form, unknown for the others."""
        return 0.0 if form == self.form else None


def tuned_costs(
    model: ModelProto,
    target: str,
    feeds: Mapping[str, Array],
    log: Log,
    clock: Clock = stopwatch.measure,
    cache: Cache | None = None,
) -> TunedCosts:
    """Measure every distinct site of the model, or take its figures from the cache.

    feeds give the sizes that the model leaves open. Raises UsageError for a target that does not run here, and
    BadInput when the engine refuses a form.
    """
    if target not in ENGINES:
        raise UsageError(Option("tune"), f": {target} cannot be timed here; one of {', '.join(ENGINES)} can")
    cache = cache or Cache()
    fixed, _ = _lowered(_fixed(model, feeds), ForcedForm(AS_WRITTEN), COUNTED)
    sites = distinct_sites(fixed)
    seconds = min(SITE_SECONDS, BUDGET / max(len(sites), 1))
    figures: dict[tuple[str, Shape], Figures] = {}
    for index, ((operator, shape), sample) in enumerate(sites.items()):
        log.advance(index, len(sites) + 1, f"{operator.name} {_describe(shape)}")
        key = _key(target, {"operator": operator.name, "shape": shape.as_dict(), "forms": sample.forms})
        figures[operator.name, shape] = _recall(cache, key, partial(_measure, operator, sample, target, seconds, clock))
    log.advance(len(sites), len(sites) + 1, "the whole model")
    costs = TunedCosts(figures, f"{target}: measured on this machine for {len(sites)} distinct sites")
    if figures and not _worth_it(fixed, target, costs, clock, cache):
        return TunedCosts({}, f"{target}: measured on this machine; tuned, the whole model was no faster")
    return costs


def distinct_sites(model: ModelProto) -> dict[tuple[Operator, Shape], Sample]:
    """One excerpt for each operator and shape that occurs: where most forms are exact, and it can be cut out."""
    graph = open_graph(model)
    found: dict[tuple[Operator, Shape], Sample] = {}
    for operator in MEASURED:
        for site in operator.find(graph):
            shape = site.shape()
            forms = [form.name for form in operator.forms if not form.estimate and not form.refusal(graph, site)]
            known = found.get((operator, shape)) if shape else None
            if shape is None or not forms or (known is not None and len(known.forms) >= len(forms)):
                continue
            cut = excerpt(model, graph, site)
            if cut is not None:
                found[operator, shape] = Sample(cut, tuple(forms))
    return found


def _fixed(model: ModelProto, feeds: Mapping[str, Array]) -> ModelProto:
    """The model with its inputs' sizes set to those of the feeds."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name in feeds:
            for dimension, size in zip(value.type.tensor_type.shape.dim, feeds[value.name].shape, strict=True):
                dimension.dim_value = size
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return infer_shapes(fixed)


def _measure(operator: Operator, sample: Sample, target: str, seconds: float, clock: Clock) -> Figures:
    models = {AS_WRITTEN: finished(sample.model).SerializeToString()}
    unknown = {form.name for form in operator.forms if form.targets and target not in form.targets}
    for form in set(sample.forms) - unknown:
        lowered, taken = _lowered(sample.model, ForcedForm(form), (operator,))
        if form in taken:
            models[form] = finished(lowered).SerializeToString()
    times = clock(models, target, seconds=seconds)
    compared = {form: times[form].against(times[AS_WRITTEN]) for form in models if form != AS_WRITTEN}
    return {form: (entry.ratio, entry.noise) for form, entry in compared.items()}


def _worth_it(model: ModelProto, target: str, costs: TunedCosts, clock: Clock, cache: Cache) -> bool:
    """Whether the whole model, tuned, is no slower than as written beyond noise."""
    tuned, taken = _lowered(model, costs, (*COUNTED, *MEASURED))
    if not taken:
        return True
    written, quick = finished(model).SerializeToString(), finished(tuned).SerializeToString()
    key = _key(target, {"model": [hashlib.sha256(data).hexdigest() for data in (written, quick)]})

    def compare() -> Figures:
        times = clock({AS_WRITTEN: written, "tuned": quick}, target, seconds=SITE_SECONDS)
        found = times["tuned"].against(times[AS_WRITTEN])
        return {"tuned": (found.ratio, found.noise)}

    ratio, noise = _recall(cache, key, compare)["tuned"]
    return ratio - noise <= 1.0


def finished(model: ModelProto) -> ModelProto:
    """The model as it is deployed: what is left of the dialect folded and inlined."""
    for entry in select_passes(PassContext(), stages=(PREPARE, RECTIFY, FINISH)):
        model, _ = entry.run(model)
    return model


def _lowered(model: ModelProto, costs: Costs, operators: Sequence[Operator]) -> tuple[ModelProto, set[str]]:
    """The model with these operators lowered, and the names of the forms taken."""
    model, _, decisions = lower(model, costs, {f"lower_{operator.name}" for operator in operators})
    return model, {decision.taken for decision in decisions} - {AS_WRITTEN}


def _recall(cache: Cache, key: Mapping[str, Any], measure: Callable[[], Figures]) -> Figures:
    found = cache.get(key)
    if found is None:
        found = measure()
        cache.put(key, found)
    return found


def _key(target: str, what: Mapping[str, Any]) -> dict[str, Any]:
    versions = {"rectexport": version("rectexport"), target: version(target)}
    return {**what, "target": target, "versions": versions, "machine": machine()}


def _same(asked: Shape, known: Shape) -> bool:
    return all(mine in (0, theirs) for mine, theirs in zip(astuple(asked), astuple(known), strict=True))


def _describe(shape: Shape) -> str:
    return f"{shape.channels}→{shape.outputs}, {shape.height}×{shape.width}, batch {shape.batch}"
