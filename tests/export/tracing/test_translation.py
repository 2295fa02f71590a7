"""torch's custom operators, and the dialect nodes that are written for them."""

from __future__ import annotations

import pytest
import torch

from rectexport.exporter.graph.dialect import SIGNATURES
from rectexport.exporter.tracing import translation

OPS = torch.ops.rectexport
WINDOW = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 3]}


def test_every_custom_operator_has_a_translation() -> None:
    names = {"rectify": "Rectify", "symmetric_pad": "SymmetricPad", "crelu": "CRelu", "neg_concat": "NegConcat"}
    assert set(translation.table()) == {getattr(OPS, name).default for name in names}
    assert set(names.values()) <= set(SIGNATURES)


@pytest.mark.parametrize(
    ("mode", "empty", "numerator", "empty_bias"), [("sum", "bias", 6, 1), ("average", "zero", 1, 0)]
)
def test_modes_become_numbers(
    monkeypatch: pytest.MonkeyPatch, mode: str, empty: str, numerator: int, empty_bias: int
) -> None:
    written = []
    monkeypatch.setattr(translation, "_operator", lambda name: lambda *inputs, **attrs: written.append((name, attrs)))
    table = translation.table()
    table[OPS.rectify.default]("y", "x", "b", *WINDOW.values(), mode, empty)
    assert written == [("Rectify", {**WINDOW, "numerator": numerator, "empty_bias": empty_bias})]


@pytest.mark.parametrize("name", SIGNATURES)
def test_schemas_are_those_of_the_dialect(name: str) -> None:
    inputs, output, kinds = SIGNATURES[name]
    operator = translation._operator(name)
    schema = operator.op_schema
    assert [entry.name for entry in schema.inputs] == list(inputs)
    assert [entry.name for entry in schema.outputs] == [output]
    assert set(schema.attributes) == set(kinds) and schema.domain == "rectexport"
