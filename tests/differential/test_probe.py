"""What the installed engines do otherwise than ONNX, over the corpus of operators, is in the table of facts."""

from __future__ import annotations

import pytest

pytest.importorskip("openvino")

from tests.differential import operators, probe
from tests.differential.case import single

# One case in so many: `make engine-probe` takes them all.
EVERY = 6


@pytest.mark.slow
def test_every_finding_has_a_row() -> None:
    findings = [entry for case in list(operators.corpus())[::EVERY] for entry in probe.examine(case)]
    assert findings
    assert not [f"{entry.case.name} on {entry.engine}: {entry.said}" for entry in probe.unnamed(findings)]


def test_a_fault_that_no_row_names_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "facts", tuple)
    case = single(
        "wrap", "Pad", [operators.normal(1, 1, 3, 3)], {1: operators.ints(0, 0, 1, 1, 0, 0, 1, 1)}, mode="wrap"
    )
    (finding,) = probe.unnamed(probe.examine(case))
    assert (finding.engine, finding.verdict) == ("openvino", "refused")


def test_names_of_cases_are_unique() -> None:
    names = [(case.group, case.name) for case in operators.corpus()]
    assert len(names) == len(set(names))
