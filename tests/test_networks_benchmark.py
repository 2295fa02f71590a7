"""The benchmark of whole networks: which it takes, what it makes of times, and its page; nothing is timed."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks import networks
from benchmarks.networks import NETWORKS
from rectexport.models.catalog import ENTRIES
from rectexport.models.registry import model_entry
from rectexport.runtime.errors import BadInput
from rectexport.runtime.timing.stopwatch import Timing

TOLD = {"inputs": [["x", "float32", [1, 1, 8, 8]]], "failed": {}}


def times(**seconds):
    """Timings of ours and the others; a name with __ stands for NAME, ENGINE."""
    spelled = {"eager": networks.EAGER, "compiled": networks.COMPILED, "plain": "torch.onnx.export"}
    found = {}
    for key, value in seconds.items():
        name, _, engine = key.partition("__")
        label = f"{spelled.get(name, name)}, {engine}" if engine else spelled.get(name, name)
        found[label] = Timing((value,) * 4)
    return found


FASTEST = times(ours__onnxruntime=2e-3, ours__openvino=1e-3, twin__onnxruntime=1e-3, twin__openvino=2e-3, eager=4e-3)
BEATEN = times(ours__onnxruntime=2e-3, ours__openvino=3e-3, plain__openvino=1e-3, compiled=2e-3)


def test_one_network_of_every_family_is_timed():
    assert sorted(model_entry(entry.name).builder for entry in NETWORKS) == sorted({entry.builder for entry in ENTRIES})
    assert all(model_entry(entry.twin) for entry in NETWORKS if entry.twin)


def test_ours_is_compared_on_its_faster_engine_and_with_its_twin_on_each():
    row = networks.figures(FASTEST, TOLD)
    assert row["best"] == "ours, openvino" and row["ratios"] == {networks.EAGER: [0.25, 0.0]}
    assert row["cost"] == {"onnxruntime": [2.0, 0.0], "openvino": [0.5, 0.0]}
    assert networks.place(row) == "first"
    row = networks.figures(BEATEN, TOLD)
    assert row["ms"]["ours, onnxruntime"] == 2.0 and row["cost"] == {}
    assert networks.place(row) == "not first: torch.onnx.export, OpenVINO takes 0.50 of our time"
    row["operators"] = {"ours, openvino": {"Conv": 3, "Mul": 2}, "torch.onnx.export": {"Conv": 3, "Pad": 1}}
    assert networks.place(row).endswith("of our time; our graph there: +2 Mul, -1 Pad")
    row["ratios"] = {"torch.compile": [1.01, 0.02], "PyTorch eager": [0.5, 0.1]}
    assert networks.place(row) == "first, together with torch.compile"


def test_a_model_that_does_not_load_is_named_and_left_out():
    class Broken:
        def wait_ready(self):
            raise BadInput("OpenVINO refuses it")

    broken = networks.Lenient(Broken())
    broken.wait_ready()
    assert math.isnan(broken.burst(0.1)[0])
    failed = {**BEATEN, "onnxsim, openvino": Timing((math.nan,) * 4, said=broken.said)}
    row = networks.figures(failed, {**TOLD, "failed": {"onnxslim": "it crashed"}})
    assert row["failed"] == {"onnxslim": "it crashed", "onnxsim, openvino": "OpenVINO refuses it"}
    assert "onnxsim, openvino" not in row["ratios"] | row["ms"]


def test_the_page_is_made_of_the_figures():
    kept = networks.read(networks.DOCS / "none.json", anew=False)
    kept["networks"] = {
        "digits": networks.figures(FASTEST, {**TOLD, "failed": {"onnxsim": "it crashed"}}),
        "resnet20": networks.figures(BEATEN, TOLD),
    }
    text = networks.page(kept)
    assert "Ours is first in 1 of 2." in text
    assert "| digits | 1.00 (OpenVINO) | 4.00; 0.25 ± 0.00 | – |" in text and "| first |" in text
    assert "| digits | plain convolutions | 2.00 ± 0.00 | 0.50 ± 0.00 |" in text
    assert "- digits: onnxsim: it crashed" in text and "{" not in text


def test_figures_of_another_machine_are_dropped(tmp_path):
    path = tmp_path / "networks.json"
    kept = networks.read(path, anew=False)
    path.write_text(json.dumps({**kept, "networks": {"digits": {}}}))
    assert networks.read(path, anew=False)["networks"] == {"digits": {}}
    assert networks.read(path, anew=True)["networks"] == {}
    path.write_text(json.dumps({**kept, "machine": {"processor": "another"}, "networks": {"digits": {}}}))
    assert networks.read(path, anew=False)["networks"] == {}


@pytest.mark.parametrize("twin", [True, False])
def test_every_model_of_a_network_has_a_process(tmp_path, twin):
    for name in ("ours", *(["twin"] if twin else [])):
        (tmp_path / name).mkdir()
    for name in ("plain", "onnxslim"):
        (tmp_path / f"{name}.onnx").write_bytes(b"")
    found = {entry.name: entry for entry in networks.contestants(tmp_path, TOLD)}
    assert len(found) == 8 + 2 * twin and ("twin, openvino" in found) == twin and "onnxsim, openvino" not in found
    assert found["ours, openvino"].spec["engine"] == "openvino" and "inputs" not in found["ours, openvino"].spec
    assert found[networks.COMPILED].spec["compile"] and found[networks.COMPILED].spec["inputs"] == TOLD["inputs"]
