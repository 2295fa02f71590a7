"""Faults that a comparison may miss count wherever they match."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

pytest.importorskip("openvino")

from rectexport.exporter import targets
from rectexport.exporter.checking.engines import installed_engines
from rectexport.exporter.engine_facts.known import hidden_fault
from rectexport.exporter.frontend.load import load_source
from rectexport.runtime.engines.proving import engine_version
from rectexport.runtime.package.proofs import AGREES, DIFFERS, read_proofs
from tests.export.helper import build
from tests.export.nets import exported

NET = build("(float[1,8] x) => (float[1,8] y)", "s = Softplus(x)\ny = Sqrt(s)")


def test_the_node_and_the_way_out_are_named() -> None:
    said = hidden_fault(NET, "openvino", engine_version("openvino"))
    assert "Softplus" in said and said.endswith("target openvino avoids it")
    assert hidden_fault(NET, "onnxruntime", "1.31.1") == ""
    assert hidden_fault(build("(float[8] x) => (float[8] y)", "y = Softplus(x)"), "openvino", "2026.4.1") == ""


@pytest.mark.parametrize(("target", "verdict"), [("onnxruntime", DIFFERS), ("openvino", AGREES)])
def test_a_package_says_so(target: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "installed_engines", installed_engines)
    onnx.save(NET, tmp_path / "net.onnx")
    package = exported(load_source(tmp_path / "net.onnx"), tmp_path / "package", target=target).package
    assert {proof.engine: proof.verdict for proof in read_proofs(package.manifest.data)} == {
        "onnxruntime": AGREES, "openvino": verdict
    }  # fmt: skip
