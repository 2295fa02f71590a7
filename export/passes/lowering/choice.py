"""Choose the form of each site: the cheapest that is exact, by counting or by measured costs.

A form's cost is its time relative to the graph as written. For forms that save work on every target (`magnitude`,
`merged`, `folded`) it is counted; for all others it comes from a `Costs`: the committed table of a target (costs.py)
or figures measured on this machine (tuning.py). A form is taken only where its cost is known and at most MARGIN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import Code, PassRecord, PassResult
from rectexport.exporter.graph.surgeon import close_graph, label, open_graph
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN, Form, Operator, Shape, Site

#: The largest cost at which a form is taken; a smaller advantage may be noise.
MARGIN = 0.98


class Costs(Protocol):
    """What forms cost."""

    @property
    def description(self) -> str:
        """Where the figures come from."""

    def ratio(self, operator: str, form: str, shape: Shape | None) -> float | None:
        """Time of the form by the time as written, for a site of this shape; None when unknown."""


@dataclass(frozen=True)
class Without:
    """Costs in which some forms are unknown, so that they are never taken."""

    costs: Costs
    forms: frozenset[str]

    @property
    def description(self) -> str:
        """That of the costs."""
        return self.costs.description

    def ratio(self, operator: str, form: str, shape: Shape | None) -> float | None:
        """That of the costs, or None for these forms."""
        return None if form in self.forms else self.costs.ratio(operator, form, shape)


@dataclass(frozen=True)
class Considered:
    """One form at one site: its cost if known, or the reason why it is not exact there."""

    form: str
    cost: float | None
    refusal: str | None = None


@dataclass(frozen=True)
class Decision:
    """The form taken at one site, and the forms considered."""

    operator: str
    node: str
    shape: Shape | None
    considered: tuple[Considered, ...]
    taken: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "operator": self.operator,
            "node": self.node,
            "shape": None if self.shape is None else self.shape.as_dict(),
            "considered": [vars(entry) for entry in self.considered],
            "taken": self.taken,
        }


def lower_operator(
    operator: Operator, model: ModelProto, costs: Costs, decisions: list[Decision]
) -> tuple[ModelProto, PassResult]:
    """Give every site of one operator its form; each choice is added to `decisions`."""
    graph, record = open_graph(model), PassRecord(f"lower_{operator.name}")
    while (site := _next_site(graph, operator, decisions)) is not None:
        decision = decide(graph, operator, site, costs)
        decisions.append(decision)
        _apply(graph, operator, site, decision, record)
    return (close_graph(graph, model) if record.fired else model), record.result()


def _next_site(graph: gs.Graph, operator: Operator, decisions: Sequence[Decision]) -> Any:
    """The first site that has not been decided: earlier rewrites may have changed what follows."""
    done = {entry.node for entry in decisions if entry.operator == operator.name}
    return next((site for site in operator.find(graph) if label(site.node) not in done), None)


def _apply(graph: gs.Graph, operator: Operator, site: Site, decision: Decision, record: PassRecord) -> None:
    if decision.taken != AS_WRITTEN:
        form = next(entry for entry in operator.forms if entry.name == decision.taken)
        form.apply(graph, site)
        record.fire(f"{decision.node}: {decision.taken}")
        return
    for entry in decision.considered:
        if entry.refusal:
            record.refuse(decision.node, f"{entry.form}: {entry.refusal}", Code.NOT_EXACT)


def decide(graph: gs.Graph, operator: Operator, site: Site, costs: Costs) -> Decision:
    """Choose the form of one site; changes nothing."""
    shape = site.shape()
    considered = [Considered(AS_WRITTEN, 1.0)]
    for form in operator.forms:
        refusal = form.refusal(graph, site)
        cost = None if refusal else _cost(form, operator, site, shape, costs)
        considered.append(Considered(form.name, cost, refusal))
    best = min((entry for entry in considered if entry.cost is not None), key=lambda entry: entry.cost or 0.0)
    taken = best.form if best.cost is not None and best.cost <= MARGIN else AS_WRITTEN
    return Decision(operator.name, label(site.node), shape, tuple(considered), taken)


def _cost(form: Form, operator: Operator, site: Site, shape: Shape | None, costs: Costs) -> float | None:
    return form.estimate(site) if form.estimate else costs.ratio(operator.name, form.name, shape)
