"""The benchmark scripts: their models, their report, and the tables they write; nothing is timed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import attribution, forms, neighbours, report, selftest, tuning_runs, zoo
from benchmarks.cases import FLOOR, KINDS, Case, grid
from benchmarks.chains import Chain
from rectexport.exporter.passes import lower
from rectexport.exporter.passes.lowering.machinery.costs import CostTable
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN, Shape
from rectexport.models.registry import model_entry, model_names
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.timing.stopwatch import Timing


def outputs(model):
    runner = OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False)
    x = np.random.default_rng(0).standard_normal((2, 16, 48, 48)).astype(np.float32)
    return runner.run({"x": x})["y"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_every_form_of_a_chain_computes_the_same(kind):
    models = Case(kind, Chain(16, 48, 2, 2)).models("onnxruntime")
    assert list(models) == [AS_WRITTEN, *kind.forms, FLOOR]
    graphs = {tuple(node.op_type for node in models[form].graph.node) for form in (AS_WRITTEN, *kind.forms)}
    assert len(graphs) == 1 + len(kind.forms)
    expected = outputs(models[AS_WRITTEN])
    for form in kind.forms:
        assert np.linalg.norm(outputs(models[form]) - expected) <= 1e-6 * np.linalg.norm(expected)
    outputs(models[FLOOR])


def test_the_grid_covers_the_requested_shapes():
    cases = [case for case in grid() if (case.chain.batch, case.chain.size, case.chain.channels) not in case.kind.more]
    assert {case.chain.batch for case in cases} == {1, 8}
    assert {case.chain.size for case in cases} == {28, 56, 112}
    assert {case.chain.channels for case in cases} == {32, 64, 128, 256}
    assert all(case.chain.layers % 2 == 0 for case in cases)


def test_report_and_cost_table(tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "TABLES", tmp_path)
    monkeypatch.setattr(
        forms.stopwatch,
        "measure",
        lambda models, engine, **options: {name: Timing((0.5 if name == "shift" else 1.0,) * 4) for name in models},
    )
    monkeypatch.setattr(forms.nets, "resnet50", lambda *options: {"plain twin": _Empty(), "as_written": _Empty()})
    cases = [Case(kind, Chain(8, 28, 1, 2)) for kind in KINDS]
    results = forms.measure_forms(cases, ["onnxruntime"], 1.0)
    forms.write_costs("onnxruntime", results)
    written = json.loads((tmp_path / "onnxruntime.json").read_text())
    table = CostTable("onnxruntime", written["machine"], written["entries"])
    assert cases[0].chosen(table) == "shift" and cases[2].chosen(table) == AS_WRITTEN
    nets = [forms.measure_net("onnxruntime", 64, (1, 1, 1, 1), 1.0)]
    machine = {"processor": "p", "cores": 1, "onnxruntime": "1"}
    document = {"machine": machine, "date": "2026-01-01", "forms": results, "nets": nets}
    report.write(document, {"onnxruntime": table}, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "C2sp on ONNX Runtime" in text and "| shift | 0.50 | 1.12 |" in text
    assert len(list(tmp_path.glob("*.svg"))) == len(KINDS) + 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_a_measured_case_uses_its_own_measurement(kind):
    case = Case(kind, Chain(8, 28, 4, 2))
    _, _, decisions = lower(kind.build(case.chain), CostTable("onnxruntime", {}))
    shape = decisions[0].shape
    found = {"kernel": shape.kernel, "channels": shape.channels, "size": shape.height, "batch": shape.batch}
    assert {"operator": kind.operator, **found} == case.cost_key


class _Empty:
    def SerializeToString(self):
        return b""


def test_the_nearest_entry_decides():
    entry = {"operator": "crelu", "form": "halves", "kernel": 3, "batch": 1, "size": 28}
    table = CostTable("onnxruntime", {}, [{**entry, "channels": c, "ratio": r} for c, r in ((256, 1.5), (32, 0.5))])
    shape = Shape(batch=1, channels=64, outputs=64, height=28, width=28, kernel=3, stride=1, groups=1, dtype="float32")
    assert table.ratio("crelu", "halves", shape) == 0.5
    assert table.ratio("crelu", "halves", replace(shape, channels=512)) == 1.5
    assert table.ratio("crelu", "halves", replace(shape, channels=0, height=0, width=0, batch=0)) == 0.5
    for unknown in (replace(shape, kernel=5), replace(shape, groups=2), None):
        assert table.ratio("crelu", "halves", unknown) is None
    assert table.ratio("crelu", "doubled", shape) is None


def test_the_self_test_adds_up_its_runs(tmp_path, monkeypatch):
    rows = iter(
        [(0.9, 0.99, "faster"), (0.9, 1.1, "no difference"), (1.01, 1.2, "slower"), (0.9, 1.0, "no difference")]
    )

    def contest(models, seed):
        low, high, verdict = next(rows)
        found = {"ratio": (low + high) / 2, "low": low, "high": high, "ms": 1.0, "verdict": verdict}
        return {**found, "others_cores": 0.1 * seed}

    monkeypatch.setattr(selftest, "contest", contest)
    monkeypatch.setattr(selftest, "KEPT", tmp_path / "latency.json")
    monkeypatch.setattr(selftest, "itself", lambda: ())
    pages = []
    monkeypatch.setattr(selftest, "write_page", lambda name, text: pages.append((name, text)))
    for words in (["--runs", "2"], ["--runs", "1"], ["--runs", "1", "--loaded"]):
        monkeypatch.setattr("sys.argv", ["selftest", *words])
        selftest.main()
    assert [row["others_cores"] for row in json.loads((tmp_path / "latency.json").read_text())] == [0.0, 0.1, 0.2, 0.0]
    name, text = pages[-1]
    assert name == "latency.md" and "| a model against itself | 3 | 1 | 1 | 1 | 0.945 – 1.105 | 0.190 | 0.10 |" in text
    assert "one core kept busy by another process | 1 | 0 | 0 | 1 |" in text and "{" not in text


def test_neighbours_run_at_the_same_time(monkeypatch):
    together = threading.Barrier(3, timeout=20)

    def child(module, package, *words):
        together.wait()
        assert module == "serving_raw" and words == ("1", "--backend", "openvino", "--threads", "1", "--seconds", "2.0")
        return {"1": {"rate": 7.5, "p50_ms": 1.0}}

    monkeypatch.setattr(neighbours, "child", child)
    assert neighbours.rates(("--backend", "openvino"), 3, 2.0) == [7.5] * 3


def test_the_page_of_the_zoo():
    row = {
        "parameters": 1_230_000,
        "rectified": 3,
        "nodes": [20, 10],
        "relative_l2": 2e-7,
        "seconds": 4.25,
        "threads": 1,
    }
    row |= {"worst": ["corner", 3e-6, "layer4.2.bn1"], "milliseconds": 2.5}
    text = zoo.page({"net rectified": {**row, "ratio": [1.25, 0.03]}, "net plain": {**row, "relative_l2": 1e-7}})
    assert (
        "| net | rectified | 1.23 M | 3 | 20 → 10 | 2.0e-07 | corner 3.0e-06 layer4.2.bn1 | 4.2 | 2.50 | 1.25 ± 0.03 |"
        in text
    )
    assert "largest of all: 2.0e-07" in text and text.count("| 2.50 |  |") == 1


def test_networks_are_added_to_the_page_of_the_zoo_on_its_machine_alone(tmp_path, monkeypatch):
    row = {
        "parameters": 1_000_000,
        "rectified": 3,
        "nodes": [20, 10],
        "relative_l2": 2e-7,
        "seconds": 4.25,
        "threads": 1,
    }
    row |= {"worst": ["corner", 3e-6, "a"], "milliseconds": 2.5, "ratio": [1.25, 0.03]}
    monkeypatch.setattr(zoo, "DOCS", tmp_path)
    whole = zoo.page({"digits rectified": row, "digits plain": row})
    (tmp_path / "zoo.md").write_text(whole, encoding="utf-8")
    assert zoo.page({}, zoo.kept_page(True)) == whole
    more = zoo.page({"m5 rectified": {**row, "relative_l2": 4e-7, "threads": 2}}, zoo.kept_page(True))
    assert (
        "largest of all: 4.0e-07" in more and "PyTorch: 1 or 2)" in more and more.count("| 2.50 | 1.25 ± 0.03 |") == 3
    )
    (tmp_path / "zoo.md").write_text(more.replace("Measured on ", "Measured on another "), encoding="utf-8")
    with pytest.raises(SystemExit, match="are of another machine"):
        zoo.kept_page(True)
    untimed = zoo.page({"r3d_18 rectified": row}, zoo.kept_page(False), timed=False)
    assert untimed.count("| 2.50 | 1.25 ± 0.03 |") == 3 and "| 4.2 |  |  |" in untimed
    assert untimed.rstrip().endswith(more.splitlines()[-1].removeprefix("Measured on "))


def test_every_network_is_exported_in_every_kind_it_has():
    for name in model_names():
        kinds = zoo.variants(name)
        own = "masked" if "masked" in model_entry(name).uses else "rectified"
        assert {own, "plain"} <= kinds.keys()
        assert all(choices["conv"] in (own, "plain") for choices in kinds.values())
        assert ("rectified, average" in kinds) == ("rectified" in model_entry(name).uses)


def test_attribution_takes_a_network_of_every_family_and_replaces_its_table(tmp_path, monkeypatch):
    names = attribution.families()
    assert {model_entry(name).builder for name in names} == {model_entry(name).builder for name in model_names()}
    page = tmp_path / "tuning.md"
    kept = "| digits | openvino | 91.1 % | 0.0 % | 0.0 % | 8.9 % | 91.1 % | 15 | 26 |"
    gone = "| resnet50 | onnxruntime | 1.0 % | 0.0 % | 0.0 % | 8.9 % | 91.1 % | 15 | 26 |"
    page.write_text(f"before\n{attribution.BEGIN}old\n{kept}\n{gone}\n{attribution.END}after\n")
    monkeypatch.setattr(attribution, "PAGE", page)
    row = {
        "tied": 0.987,
        "reorders": 0.05,
        "dispatch": 0.02,
        "framework": 0.013,
        "modules": 0.98,
        "layers": 7,
        "nodes": 9,
    }
    attribution.write({"resnet50 onnxruntime": row})
    text = page.read_text()
    assert "| resnet50 | onnxruntime | 98.7 % | 5.0 % | 2.0 % | 1.3 % | 98.0 % | 7 | 9 |" in text
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert kept in text and gone not in text
    assert attribution.size_of("resnet20") == (64, 3, 32, 32) and attribution.size_of("resnet50") == (1, 3, 224, 224)


def test_tuning_runs_are_summed_up_in_a_row():
    runs = [{"drop": 0.2, "ratio": 1.0, "share": 0.1}, {"drop": 1.4, "ratio": 1.08, "share": 0.3}]
    assert tuning_runs.summary("digits", runs) == [
        *("digits", "2", "1", "+1.40 points", "1.040, at most 1.080", "1 of 2", "20 %"),
    ]
    drawn, unseen = tuning_runs.data("digits")
    assert len(drawn["labels"]) == len(drawn["x"]) and len(unseen["labels"]) == len(unseen["x"])


def test_a_choice_is_judged_by_the_best_candidate_that_both_searches_have(monkeypatch):
    """A package for one engine in one search may be one for both in the other; another choice is timed once more."""
    search = SimpleNamespace(entries=lambda: [SimpleNamespace(key=key) for key in ("fp32, a", "int8, a")])
    medians = {"fp32, a": 2.0, "int8 for openvino, a": 1.0, "plain, a": 0.5}
    monkeypatch.setattr(tuning_runs, "time_some", lambda search, keys, seed: {"fp32, a": 3.0, "int8, a": 2.0})
    assert tuning_runs.behind_best(search, "int8, a", medians, 0) == 1.0
    assert tuning_runs.behind_best(search, "fp32, a", medians, 0) == 1.5


def test_int8_speed_compares_int8_with_what_it_says(monkeypatch):
    from benchmarks import int8_speed

    chain = Chain(8, 8, 2, 2)
    row = int8_speed.stack_row("onnxruntime", chain)
    kinds = [[node.op_type for node in model.graph.node] for model in (row.quick, row.base)]
    assert all("QuantizeLinear" in kind for kind in kinds) and "Mul" in kinds[0] and "Mul" not in kinds[1]
    row = int8_speed.even_row("onnxruntime", chain)
    kinds = [[node.op_type for node in model.graph.node] for model in (row.quick, row.base)]
    assert "QuantizeLinear" in kinds[0] and "QuantizeLinear" not in kinds[1] and row.goal == 2.5
    seconds = {"quick": 1.0, "base": 3.0}
    monkeypatch.setattr(
        int8_speed.stopwatch,
        "measure",
        lambda models, *_, **__: {name: Timing((seconds[name],) * 3) for name in models},
    )
    assert int8_speed.timed(row, 1.0)[2:] == ["3000.00", "1000.00", "3.00 ± 0.00", ">= 2.5", "yes"]
    assert int8_speed.timed(replace(row, faster=False, goal=1.25), 1.0)[4:] == ["0.33 ± 0.00", "<= 1.25", "yes"]


def test_int8_costs_are_measured_in_int8(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(forms, "TABLES", tmp_path)
    monkeypatch.setattr(
        forms.stopwatch,
        "measure",
        lambda models, engine, seconds: (
            seen.extend(models.values()) or {name: Timing((1.0 + index,) * 3) for index, name in enumerate(models)}
        ),
    )
    results = forms.measure_forms([Case(KINDS[0], Chain(8, 6, 2, 2))], ["onnxruntime"], 1.0, int8=True)
    assert seen and all(b"QuantizeLinear" in model for model in seen)
    forms.write_costs("onnxruntime", results, forms.INT8)
    (table,) = tmp_path.iterdir()
    assert table.name == "int8.json" and "int8" in json.loads(table.read_text())["machine"]["description"]


def test_the_yardsticks_cover_every_family_of_the_zoo():
    from benchmarks.int8_yardsticks import FAMILIES
    from rectexport.models.catalog import ENTRIES

    builders = {entry.builder for entry in ENTRIES if len(entry.input_shape) == 3 and "masked" not in entry.uses}
    assert {model_entry(name).builder for name in FAMILIES} == builders


def test_other_quantizers_are_called_in_their_own_environment(monkeypatch, tmp_path):
    """The tool that every development environment has: onnxruntime's."""
    import sys
    from pathlib import Path

    from benchmarks import chains, int8_yardsticks
    from rectexport.exporter.quantize.calibration import Items

    images = np.random.default_rng(0).random((4, 8, 6, 6)).astype(np.float32)
    model = chains.plain(Chain(8, 6, 1, 2))
    monkeypatch.setattr(int8_yardsticks, "ROWS", (1, 1))
    found, version = int8_yardsticks.foreign(
        Path(sys.executable), "onnxruntime", model, images, Items({"x": images}, None)
    )
    assert version.startswith("onnxruntime 1.") and 25 < float(found) < 60
    failed = int8_yardsticks.foreign(Path(sys.executable), "none", model, images, Items({"x": images}, None))
    assert failed == ("fails", "")
