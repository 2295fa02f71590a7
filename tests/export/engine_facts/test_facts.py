"""The table of facts: complete rows, versions, and what a row matches."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from onnx import defs

from rectexport.exporter.engine_facts.conditions import CONDITIONS
from rectexport.exporter.engine_facts.facts import VERDICTS, Fact, engines, facts, value_versions
from rectexport.exporter.engine_facts.view import View
from rectexport.exporter.passes import PassContext, select_passes
from tests.export.helper import build

OPERATORS = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}


def fact(**fields: object) -> Fact:
    return Fact(
        **{"engine": "openvino", "operators": ["Relu"], "verdict": "wrong", "reason": "r", "source": "s", **fields}
    )


@pytest.mark.parametrize("row", facts(), ids=lambda row: f"{row.engine}-{row.operators[0]}-{row.reason[:30]}")
def test_rows_are_complete(row: Fact) -> None:
    assert row.engine in {entry.name for entry in engines()} and row.verdict in VERDICTS
    assert set(row.operators) <= OPERATORS and len(set(row.operators)) == len(row.operators)
    assert row.reason and row.source and row.condition in {"", *CONDITIONS}
    assert row.avoided_by or row.way_out or row.values, "a person needs a way out"
    assert row.avoided_by or not row.hidden, "a target that fails everywhere needs a pass"
    if row.avoided_by:
        assert row.avoided_by in {entry.name for entry in select_passes(PassContext(row.engine))}


def test_attributes_of_rows_exist() -> None:
    known = defaultdict(set)
    for schema in defs.get_all_schemas_with_history():
        known[schema.name] |= set(schema.attributes)
    for row in facts():
        for operator in row.operators:
            assert set(row.attributes) <= known[operator], f"{operator} has no {set(row.attributes) - known[operator]}"


def test_attribute_values_name_schemas() -> None:
    for operator, attribute, _ in value_versions():
        assert attribute in defs.get_schema(operator).attributes


def test_every_condition_is_used() -> None:
    assert {row.condition for row in facts()} - {""} == set(CONDITIONS)


@pytest.mark.parametrize(
    ("since", "until", "version", "holds"),
    [
        ("", "", "8.6", True),
        ("9.0", "", "8.6", False),
        ("9.0", "", "10.1", True),
        ("", "10.0", "9.3", True),
        ("", "10.0", "10.0", False),
        ("2026.4", "2026.5", "2026.4.1", True),
    ],
)
def test_versions_are_compared_as_numbers(since: str, until: str, version: str, holds: bool) -> None:
    assert fact(since=since, until=until).holds_for(version) == holds


def test_what_a_row_matches() -> None:
    body = "a = Cast<to=2>(x)\n b = Add(a, a)\n y = Cast<to=1>(b)"
    view = View(build("(float[2] x) => (float[2] y)", body))
    node = view.places[1].node
    assert fact(operators=["Add"], dtypes=["uint8"]).matches(node, view)
    assert not fact(operators=["Add"], dtypes=["int8"]).matches(node, view)
    assert not fact(operators=["Sub"]).matches(node, view)
    assert not fact(operators=["Add"], opset_below=18).matches(node, view)
    assert fact(operators=["Add"], opset_below=19).matches(node, view)
    cast = view.places[0].node
    assert fact(operators=["Cast"], attributes={"to": [2]}).matches(cast, view)
    assert fact(operators=["Cast"], attributes={"to": ["*"]}).matches(cast, view)
    assert not fact(operators=["Cast"], attributes={"to": [3]}).matches(cast, view)
    assert not fact(operators=["Cast"], attributes={"axis": ["*"]}).matches(cast, view)


def test_a_row_is_about_standard_operators() -> None:
    model = build("(float[2] x) => (float[2] y)", "y = Relu(x)")
    view = View(model)
    assert fact().matches(view.places[0].node, view)
    view.places[0].node.domain = "my"
    assert not fact().matches(view.places[0].node, view)


def test_a_weight_tied_through_identity_is_seen() -> None:
    body = "v = Identity(w)\n a = Conv(x, w)\n y = ConvTranspose(a, v)"
    weight = np.zeros((3, 3, 3, 3), np.float32)
    view = View(build("(float[1,3,6,6] x) => (float[1,3,6,6] y)", body, w=weight))
    assert CONDITIONS["weight_of_another_kind"](view.places[2].node, view)
    alone = View(build("(float[1,3,6,6] x) => (float[1,3,8,8] y)", "y = ConvTranspose(x, w)", w=weight))
    assert not CONDITIONS["weight_of_another_kind"](alone.places[0].node, alone)
