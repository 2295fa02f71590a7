"""The engines of the manifest, and what each answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.page import build_page
from tests.runtime.report.conftest import manifest_document
from tests.runtime.report.page_reader import read_page, rows, table

pytest.importorskip("jinja2")


def proof(verdict: str = "agrees", **changed: Any) -> dict[str, Any]:
    worst = {"relative_l2": 2e-7, "output": "logits", "region": "edge", "case": "odd"}
    facts = {"engine": "openvino", "version": "2026.1", "precision": "float32", "cases": 5, "inner": "", "reason": ""}
    return {**facts, "verdict": verdict, "worst": worst, **changed}


def test_each_engine_has_a_row(write: Callable[..., Path]) -> None:
    proofs = [
        proof(inner="14 inner tensors agree"),
        proof("differs", reason="logits: off"),
        proof("refuses", reason="no such operator", worst=None, cases=0),
    ]
    root = read_page(build_page(Package.open(write(manifest={**manifest_document(), "proofs": proofs})), "net"))
    shown = [[cell.text for cell in row] for row in rows(table(root, "Engines that"))]
    assert [row[2] for row in shown] == ["agrees", "differs", "cannot run it"]
    assert shown[0] == [
        "openvino 2026.1",
        "float32",
        "agrees",
        "5",
        "2.0e-07",
        "logits, edge, case odd",
        "14 inner tensors agree",
    ]
    assert shown[2][4:] == ["–", "–", "no such operator"]
    assert len(root.all("td", "no")) == 2 and len(root.all("td", "yes")) == 1


@pytest.mark.parametrize("broken", [7, [7], [{}], [{**proof(), "worst": 7}]])
def test_malformed_proofs_are_refused(write: Callable[..., Path], broken: Any) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json: expected"):
        build_page(Package.open(write(manifest={**manifest_document(), "proofs": broken})), "net")
