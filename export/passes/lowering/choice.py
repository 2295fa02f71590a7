"""Which form each site takes: the cheapest one that is exact, by counting or by measured costs.

A form's cost is its time relative to the graph as written. Forms that save work whatever the target (`magnitude`,
`merged`, `folded`) are judged by counting; all others by a `Costs`: the committed table of a target (costs.py) or
this machine's own figures (tuning.py). A form without a known cost is never taken, and neither is one that wins by
less than MARGIN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import onnx_graphsurgeon as gs
from onnx import ModelProto

from rectexport.exporter.graph.results import Pass, PassResult, Tally
from rectexport.exporter.graph.surgeon import close_graph, label, open_graph
from rectexport.exporter.passes.lowering import crelu, linear, norm, rectify, symmetric
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN, Form, Operator, Shape, Site

#: Below this share of the time as written, a form is worth taking; closer figures are noise.
MARGIN = 0.98

OPERATORS: tuple[Operator, ...] = (
    norm.OPERATOR,  # first: it puts convolutions next to each other
    linear.OPERATOR,  # merging leaves fewer convolutions for the others to match
    symmetric.OPERATOR,  # before crelu: an embedded kernel is a linear reader, a SymmetricPad is not
    crelu.OPERATOR,
    crelu.NEG_CONCAT,  # both before rectify: doubling reaches across Rectify nodes
    rectify.OPERATOR,
)


class Costs(Protocol):
    """Knows what a form costs."""

    @property
    def description(self) -> str:
        """Where the figures come from."""

    def ratio(self, operator: str, form: str, shape: Shape | None) -> float | None:
        """Time of the form by the time as written, for a site of this shape; None when unknown."""


@dataclass(frozen=True)
class Considered:
    """One form at one site: its cost if known, or the reason why it is not exact there."""

    form: str
    cost: float | None
    refusal: str | None = None


@dataclass(frozen=True)
class Decision:
    """What was chosen for one site, and what from."""

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


@dataclass
class Lowering:
    """The lowering passes of one run, and the decisions they take."""

    costs: Costs
    operators: Sequence[Operator] = OPERATORS
    decisions: list[Decision] = field(default_factory=list)

    def passes(self) -> tuple[Pass, ...]:
        """One pass an operator, in order."""
        return tuple(Pass(f"lower_{operator.name}", self._run(operator)) for operator in self.operators)

    def _run(self, operator: Operator) -> Callable[[ModelProto], tuple[ModelProto, PassResult]]:
        def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
            graph, tally = open_graph(model), Tally(f"lower_{operator.name}")
            while (site := self._next(graph, operator)) is not None:
                self._lower(graph, operator, site, tally)
            return (close_graph(graph, model) if tally.fired else model), tally.result()

        return run

    def _next(self, graph: gs.Graph, operator: Operator) -> Any:
        """The first site that has not been decided: earlier rewrites may have changed what follows."""
        done = {entry.node for entry in self.decisions if entry.operator == operator.name}
        return next((site for site in operator.find(graph) if label(site.node) not in done), None)

    def _lower(self, graph: gs.Graph, operator: Operator, site: Site, tally: Tally) -> None:
        decision = decide(graph, operator, site, self.costs)
        self.decisions.append(decision)
        if decision.taken != AS_WRITTEN:
            form = next(entry for entry in operator.forms if entry.name == decision.taken)
            form.apply(graph, site)
            tally.fire(f"{decision.node}: {decision.taken}")
            return
        for entry in decision.considered:
            if entry.refusal:
                tally.refuse(decision.node, f"{entry.form}: {entry.refusal}")


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


def lower(model: ModelProto, costs: Costs) -> tuple[ModelProto, list[PassResult], list[Decision]]:
    """Lower every dialect site of a model. Returns the model, a result for each pass, and all decisions.

    What is left as written keeps its dialect node, for the passes that fold, build or inline it.
    """
    lowering, results = Lowering(costs), []
    for entry in lowering.passes():
        model, result = entry.run(model)
        results.append(result)
    return model, results, lowering.decisions
