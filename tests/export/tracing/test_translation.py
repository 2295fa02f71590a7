"""torch's custom operators, and the dialect nodes that are written for them."""

from __future__ import annotations

import pytest
import torch

from rectexport.exporter.graph.dialect import DOMAIN, SIGNATURES
from rectexport.exporter.tracing import translation

OPS = torch.ops.rectexport
WINDOW = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 3]}


def test_every_op_of_ours_has_a_translation() -> None:
    ours = [op.name() for op in translation.table() if op.name().startswith("rectexport::")]
    assert sorted(ours) == [
        "rectexport::boundary_pad",
        "rectexport::crelu",
        "rectexport::masked_count",
        "rectexport::masked_rectify",
        "rectexport::neg_concat",
        "rectexport::rectify",
        "rectexport::symmetric_pad",
    ]


def test_schemas_are_those_of_the_dialect() -> None:
    for name in ("Rectify", "SymmetricPad", "BoundaryPad", "CRelu", "NegConcat", "MaskedCount", "MaskedRectify"):
        schema = translation._operator(name).op_schema
        assert (schema.domain, schema.since_version) == (DOMAIN, 1)
        inputs, output, kinds = SIGNATURES[name]
        assert [entry.name for entry in schema.inputs] == list(inputs)
        assert [entry.name for entry in schema.outputs] == [output]
        assert {key: int(entry.type.value) for key, entry in schema.attributes.items()} == {
            key: int(kind) for key, kind in kinds.items()
        }
        assert all(entry.required for entry in schema.attributes.values())


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
