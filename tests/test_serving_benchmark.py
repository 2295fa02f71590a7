"""The serving benchmark: its client's requests, its counts, and the page it writes; nothing is timed."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import load, serving_report
from benchmarks.serving import ALL, RESNET, TINY
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.http.codec import Codec
from rectexport.runtime.serving.signature import Signature

SIGNATURE = Signature.of((TensorEntry("x", "float32", ("n", 2)),), (TensorEntry("y", "float32", ("n", 1)),))


@pytest.mark.parametrize("binary", [True, False])
def test_the_client_sends_what_the_server_reads(binary: bool) -> None:
    x = np.array([[1.5, -2]], np.float32)
    head, _, body = load.http_message("/p", {"x": x}, binary).partition(b"\r\n\r\n")
    fields = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
    assert int(fields[b"Content-Length"]) == len(body)
    length = fields.get(b"Inference-Header-Content-Length")
    request = Codec().parse(body, None if length is None else int(length), SIGNATURE)
    np.testing.assert_array_equal(request.feeds["x"], x)
    assert request.wanted[0].binary is binary


def test_only_answers_within_the_window_count() -> None:
    now = time.perf_counter()
    samples = load.Samples(now - 1, now + 100)
    assert samples.add(now - 0.5, True) and samples.add(now - 0.5, False)
    early = load.Samples(now + 50, now + 100)
    assert early.add(now, True) and early.ms == []
    late = load.Samples(now - 2, now - 1)
    assert not late.add(now - 3, True) and late.ms == []
    figures = load.summary(samples, 2.0)
    assert figures["rate"] == 1.0 and figures["failed"] == 1 and figures["p50_ms"] >= 500
    assert math.isnan(load.summary(late, 1.0)["p50_ms"])


def test_the_page(tmp_path: Path) -> None:
    page = tmp_path / "serving.md"
    page.write_text(f"before\n{serving_report.BEGIN}replaced\n{serving_report.END}after\n")
    parts = {}
    for name, net in (("tiny", TINY), ("resnet", RESNET)):
        raw = {str(rows): {"rate": 100.0 * rows, "p50_ms": 1.0} for rows in net.rows}
        figures = {"rate": 50.0, "p50_ms": 2.0, "p90_ms": 3.0, "p99_ms": 4.0, "failed": 0}
        rows = [
            {"host": host, "kind": kind, "connections": count, **figures}
            for host, kind in net.series
            for count in net.seconds
        ]
        parts[name] = {"machine": "a machine", "raw": [raw, raw], "rows": rows}
    parts["first"] = {"nets": {"tiny": {"after the start": [[3.0] * 10, [1.0] * 10]}}}
    parts["ray"] = {"machine": "a machine", "rows": parts["tiny"]["rows"][:1]}
    times = {"session": 0.1, "paused": 0.2, "health": 0.05, "workers": 0.4, "in process": 0.3}
    parts["latency"] = {"machine": "a machine", "rounds": {"openvino": [times]}}
    parts["throughput"] = {"machine": "a machine", "rounds": [{"session": 20.0, "workers": 19.0}]}
    rounds = [{"plain": 100.0, "shadow": 98.0}, {"plain": 100.0, "shadow": 96.0}]
    tiny = {"connections": 64, "rounds": rounds, "report": {"compared": 12, "dropped": 34}}
    parts["shadow"] = {"machine": "a machine", "nets": {"tiny": tiny}}
    document = json.loads(json.dumps(parts))
    for _ in range(2):
        serving_report.write(document, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "replaced" not in text
    assert "| openvino | 0.10 | 0.20 | 0.05 | 0.40 (+0.30) | 0.30 (+0.20) |" in text and "alone: 95%, over" in text
    assert "| tiny | after the start | 2.00 |" in text
    assert "| tiny | 64 | 100 | 97 | -3.0% (-4.0% to -2.0%) | 12 | 34 |" in text
    assert text.count("| workers | json | 1 | 50 |") == 2 + 1
    assert len(ALL) == 9 and (tmp_path / "serving-tiny.svg").exists() and (tmp_path / "serving-resnet.svg").exists()
