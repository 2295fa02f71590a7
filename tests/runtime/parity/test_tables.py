"""A comparison as text: failures, outputs and layers by region."""

from __future__ import annotations

import numpy as np

from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.parity.outcome import ParityOutcome
from rectexport.runtime.parity.reports import CaseReport, compare_layer, compare_outputs, first_divergence, judge_layers
from rectexport.runtime.parity.tables import MOST, outcome_text


def outcome() -> ParityOutcome:
    """A border that is off in an image, first seen in the layer stem.norm."""
    expected = np.ones((1, 1, 6, 6), np.float32)
    actual = expected.copy()
    actual[..., 0, 1:-1] = 2
    tolerance = Tolerance.from_dict({"relative_l2": 1e-5})
    case = CaseReport("odd", {"x": (1, 1, 6, 6)})
    compare_outputs(case, {"y\x1b": expected}, {"y\x1b": actual}, tolerance)
    names = ["stem.conv", "stem.norm", *(f"body.{index}" for index in range(MOST))]
    case.layers += [compare_layer(name, name, expected, expected if name == "stem.conv" else actual) for name in names]
    judge_layers(case, tolerance)
    return ParityOutcome(tolerance, [case], notes=["a note"], divergence=first_divergence(case.layers, tolerance))


def test_regions_stand_side_by_side() -> None:
    text = outcome_text(outcome())
    failures, outputs, layers, note = text.split("\n\n")
    assert "first layer to diverge: stem.norm" in failures and note == "a note"
    heads, row = outputs.splitlines()
    assert heads.split()[-3:] == ["corner", "edge", "interior"]
    assert row.split()[:3] == ["odd", "1x1x6x6", r"y\x1b"]
    corner, edge, interior = (float(value) for value in row.split()[-3:])
    assert corner == interior == 0 and edge > 0.4
    lines = layers.splitlines()
    assert lines[1].startswith("stem.norm") and len(lines) == 1 + MOST and len({len(line) for line in lines}) == 1
