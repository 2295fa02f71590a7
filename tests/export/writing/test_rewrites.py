"""rewrites.json: of the right form, true, and no larger for a larger network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import ModelProto

from rectexport.exporter.passes import Code, Pass, PassResult, Refusal, batch_norm
from rectexport.exporter.writing.rewrites import MAX_EXAMPLES, Rewrites
from tests.export.helper import build, normal
from tests.export.nets import Small, exported, image, seeded, source
from tests.places import ROOT

SCHEMA = json.loads((ROOT / "runtime" / "package" / "rewrites.schema.json").read_text(encoding="utf-8"))


def checked(document: dict[str, Any]) -> dict[str, Any]:
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    return document


def deep(layers: int) -> ModelProto:
    """Convolutions, each with a BatchNorm, and a ReLU behind."""
    body = [
        f"c{i} = Conv(t{i}, w) n{i} = BatchNormalization(c{i}, one, one, one, one) t{i + 1} = Relu(n{i})"
        for i in range(layers)
    ]
    text = "\n".join(["t0 = Identity(x)", *body, f"y = Identity(t{layers})"])
    ones = np.ones(2, np.float32)
    return build("(float[1,2,4,4] x) => (float[1,2,4,4] y)", text, w=normal(2, 2, 1, 1), one=ones)


def folded(layers: int) -> dict[str, Any]:
    rewrites, before = Rewrites(), deep(layers)
    after, result = rewrites.watched(Pass(batch_norm.NAME, batch_norm.run)).run(before)
    assert len(result.fired) == layers
    return checked(rewrites.as_dict(before, after, 7))


def test_equal_rewrites_are_reported_once() -> None:
    document = folded(3)
    assert document["nodes"]["before"]["BatchNormalization"] == 3
    assert "BatchNormalization" not in document["nodes"]["after"]
    (entry,) = document["passes"]
    assert (entry["name"], entry["delta"], entry["kinds"]) == ("batch_norm", {"BatchNormalization": -3}, 1)
    (example,) = entry["examples"]
    assert (example["tensor"], example["count"]) == ("n0", 3)
    assert document["parameters"] == 7 and document["constants"]["before"] == 4 + 2


def test_it_does_not_grow_with_the_network() -> None:
    small, large = (len(json.dumps(folded(layers))) for layers in (4, 400))
    assert large < small + 60


def test_a_pass_that_does_nothing_has_no_entry() -> None:
    rewrites, model = Rewrites(), build("(float[2] x) => (float[2] y)", "y = Relu(x)")
    assert rewrites.watched(Pass(batch_norm.NAME, batch_norm.run)).run(model)[0] is model
    assert rewrites.passes == []


def test_what_the_guard_skipped_is_forgotten() -> None:
    rewrites, model = Rewrites(), deep(1)
    norm = Pass(batch_norm.NAME, batch_norm.run)
    whole = rewrites.watched(Pass("together", batch_norm.run, parts=(norm,)))
    whole.run(model)
    whole.parts[0].run(model)
    rewrites.keep([PassResult(norm.name, ("n0",))])
    assert [entry["name"] for entry in rewrites.passes] == ["batch_norm"]
    rewrites.keep([PassResult(norm.name, (), (Refusal("n0", "it changed output y", Code.GUARD),))])
    assert rewrites.passes == []


def test_the_most_frequent_kinds_are_kept() -> None:
    unary = ("Abs", "Neg", "Exp", "Sin", "Cos")
    counts = (1, 4, 2, 5, 3)
    names = [(op, f"{op.lower()}{i}") for op, count in zip(unary, counts, strict=True) for i in range(count)]
    ends = ", ".join(f"float[2] {name}" for _, name in names)
    before, after = (
        build(f"(float[2] x) => ({ends})", "\n".join(f"{name} = {op if old else 'Relu'}(x)" for op, name in names))
        for old in (True, False)
    )
    rewrites = Rewrites()
    rewrites.note("relu", before, after)
    (entry,) = rewrites.passes
    assert entry["kinds"] == 5 and len(entry["examples"]) == MAX_EXAMPLES
    kept = [(example["before"]["nodes"][0]["op"], example["count"]) for example in entry["examples"]]
    assert kept == [("Sin", 5), ("Neg", 4), ("Cos", 3)]


@pytest.mark.parametrize("fp16", [False, True])
def test_an_export_writes_it(tmp_path: Path, shared_traces: None, fp16: bool) -> None:
    model = seeded(Small())
    done = exported(source(model, image(1, 2, 9, 11)), tmp_path / "package", fp16=fp16)
    assert "rewrites.json" in done.package.manifest.files
    document = checked(json.loads((done.package.path / "rewrites.json").read_text(encoding="utf-8")))
    assert document["parameters"] == sum(value.numel() for value in model.parameters())
    stored = onnx.load(done.package.model_file)
    assert sum(document["nodes"]["after"].values()) == len(stored.graph.node) == done.nodes[1]
    assert sum(document["nodes"]["before"].values()) == done.nodes[0]
    fired = {entry.name for entry in done.passes if entry.fired}
    names = [entry["name"] for entry in document["passes"]]
    assert {"batch_norm", "rectify_fold"} <= set(names) <= fired | {"cleanup"}
    assert ("float16" in names) is fp16
