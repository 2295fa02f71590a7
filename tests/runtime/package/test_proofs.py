"""Proofs are written as plain values, read back with suspicion, and hold for one engine, version and processor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rectexport.runtime.base.processor import Processor
from rectexport.runtime.package.proofs import AGREES, DIFFERS, REFUSES, Proof, Worst, read_proofs

HERE = Processor("x86_64", ("avx2", "fma"))
PROOF = Proof("openvino", "2026.4.1", "float32", HERE, AGREES, 5, Worst(3e-7, "y", "corner", "odd"))


def test_proofs_come_back_as_they_were_written() -> None:
    refused = replace(PROOF, verdict=REFUSES, cases=0, worst=None, reason="no such operator")
    assert read_proofs({"proofs": [PROOF.as_dict(), refused.as_dict()]}) == (PROOF, refused)


@pytest.mark.parametrize("entries", [None, "proofs", {}, [None], [{}], [{**PROOF.as_dict(), "processor": 3}]])
def test_what_does_not_read_as_a_proof_proves_nothing(entries: Any) -> None:
    assert read_proofs({"proofs": entries}) == ()
    assert read_proofs({}) == ()


def test_an_unknown_verdict_is_not_taken_for_agreement() -> None:
    assert read_proofs({"proofs": [{**PROOF.as_dict(), "verdict": "fine"}]})[0].verdict == REFUSES


def test_a_proof_holds_for_its_engine_version_and_processor() -> None:
    assert PROOF.holds_for("openvino", "2026.4.1", HERE)
    assert not PROOF.holds_for("onnxruntime", "2026.4.1", HERE)
    assert not PROOF.holds_for("openvino", "2026.5.0", HERE)
    assert not PROOF.holds_for("openvino", "2026.4.1", Processor("x86_64", ("avx2",)))


def test_a_proof_is_described_in_one_line() -> None:
    assert PROOF.describe() == "openvino 2026.4.1 agrees in 5 cases, farthest off 3.0e-07 (y, case odd)"
    assert replace(PROOF, verdict=DIFFERS, reason="output y: shape").describe() == (
        "openvino 2026.4.1 differs: output y: shape"
    )
    assert replace(PROOF, verdict=REFUSES, reason="Pad").describe() == "openvino 2026.4.1 cannot run it: Pad"
