"""Which form is taken: the cheapest that is exact and wins by more than noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.lowering import boundary, crelu, linear, norm, rectify, symmetric
from rectexport.exporter.passes.lowering.choice import MARGIN, decide
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN, Form, Operator, Shape
from rectexport.exporter.passes.order import LOWER, PASSES
from tests.export.helper import build

SHAPE = Shape(1, 8, 8, 4, 4, 3, 1, 1, "float32")


@dataclass
class Site:
    """A node with a shape."""

    node: object

    def shape(self):
        return SHAPE


@dataclass
class Costs:
    """Ratios by form, and what was asked for."""

    ratios: dict[str, float | None]
    asked: list[tuple[str, str, Shape | None]] = field(default_factory=list)

    def ratio(self, operator, form, shape):
        self.asked.append((operator, form, shape))
        return self.ratios.get(form)


def form(name, refusal=None, estimate=None):
    return Form(name, lambda graph, site: refusal, lambda graph, site: None, estimate)


def decision_of(*forms, **ratios):
    graph = open_graph(build("(float[2] x) => (float[2] y)", "y = Relu(x)"))
    costs = Costs(ratios)
    return decide(graph, Operator("op", lambda graph: iter(()), forms), Site(graph.nodes[0]), costs), costs


@pytest.mark.parametrize(
    ("ratios", "taken"),
    [
        ({"a": 0.5, "b": 0.6}, "a"),
        ({"a": 0.7, "b": 0.6}, "b"),
        ({"a": None, "b": 0.9}, "b"),
        ({"a": MARGIN}, "a"),
        ({"a": MARGIN + 1e-6}, AS_WRITTEN),
        ({"a": 1.5}, AS_WRITTEN),
        ({}, AS_WRITTEN),
    ],
)
def test_the_cheapest_form_is_taken(ratios, taken):
    decision, costs = decision_of(form("a"), form("b"), **ratios)
    assert decision.taken == taken
    assert costs.asked == [("op", "a", SHAPE), ("op", "b", SHAPE)]


def test_a_form_that_is_not_exact_is_never_taken_nor_priced():
    decision, costs = decision_of(form("a", refusal="two nodes read it"), form("b"), a=0.1, b=0.9)
    assert decision.taken == "b"
    assert [(entry.form, entry.cost, entry.refusal) for entry in decision.considered] == [
        (AS_WRITTEN, 1.0, None),
        ("a", None, "two nodes read it"),
        ("b", 0.9, None),
    ]
    assert [name for _, name, _ in costs.asked] == ["b"]


def test_counting_comes_before_measurements():
    decision, costs = decision_of(form("a", estimate=lambda site: 0.25), a=3.0)
    assert decision.taken == "a" and not costs.asked


def test_a_decision_as_plain_values():
    document = decision_of(form("a"), a=0.5)[0].as_dict()
    assert document["operator"] == "op" and document["node"] == "Relu→y" and document["taken"] == "a"
    assert document["shape"] == SHAPE.as_dict()
    assert document["considered"][1] == {"form": "a", "cost": 0.5, "refusal": None}


def test_operators_whose_rewrites_make_room_for_others_come_first():
    names = [entry.name.removeprefix("lower_") for entry in PASSES if entry.stage == LOWER]
    order = (norm, linear, symmetric, crelu, boundary, rectify)
    assert [name for name in names if name not in (crelu.NEG_CONCAT.name, boundary.CIRCULAR_NAME)] == [
        entry.OPERATOR.name for entry in order
    ]
    assert names.index(crelu.NEG_CONCAT.name) < names.index(rectify.OPERATOR.name)
