"""Ensembles that Triton would refuse are found; tests/tritonserver asks Triton about the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tritonclient.grpc")

from rectexport.runtime.serving.triton.ensemble_rules import ensemble_refusals
from rectexport.runtime.serving.triton.merge import read_config
from rectexport.runtime.serving.triton.repository import CONFIG

STEP = """name: "{name}" backend: "python" max_batch_size: {most}
input {{ name: "a" data_type: TYPE_FP32 dims: [3] }} output {{ name: "b" data_type: TYPE_FP32 dims: [{size}] }}
"""
GOOD = """name: "t" platform: "ensemble" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [3] }
output { name: "y" data_type: TYPE_FP32 dims: [2] }
ensemble_scheduling {
  step { model_name: "one" model_version: -1 input_map { key: "a" value: "x" } output_map { key: "b" value: "m" } }
  step { model_name: "two" model_version: -1 input_map { key: "a" value: "m" } output_map { key: "b" value: "y" } }
}
"""
#: What is wrong -> (old text, new text, part of the finding).
REFUSED = {
    "no such model": ('"two"', '"three"', "the repository has no model 'three'"),
    "no such version": ("model_version: -1", "model_version: 7", "no version 7"),
    "larger batches": ("max_batch_size: 4", "max_batch_size: 9", "batches of up to 8"),
    "unmapped input": ('key: "a" value: "m"', 'key: "c" value: "m"', "input 'a' of the model is not mapped"),
    "no such output": ('key: "b" value: "y"', 'key: "c" value: "y"', "the model has no output 'c'"),
    "nobody gives it": ('key: "a" value: "m"', 'key: "a" value: "n"', "gives 'n'"),
    "given twice": ('key: "b" value: "m"', 'key: "b" value: "x"', "'x' is the ensemble's input already"),
    "another type": ("TYPE_FP32 dims: [3]", "TYPE_INT32 dims: [3]", "another data_type"),
    "other sizes": ("TYPE_FP32 dims: [3]", "TYPE_FP32 dims: [4]", "has sizes [-1, 3]"),
    "an output that nobody gives": ('output { name: "y"', 'output { name: "z"', "output z: no step gives it"),
    "instances": ("max_batch_size: 4", "max_batch_size: 4 instance_group { count: 2 }", "instance_group"),
    "no steps": (GOOD[GOOD.index("  step") : GOOD.rindex("}")], "", "ensemble_scheduling: no step"),
}


def write(folder: Path, text: str, name: str = "t") -> Path:
    """A repository with the ensemble and its two steps."""
    for step, size in (("one", 3), ("two", 2)):
        (folder / step / "1").mkdir(parents=True, exist_ok=True)
        (folder / step / CONFIG).write_text(STEP.format(name=step, size=size, most=8))
    (folder / name / "1").mkdir(parents=True)
    (folder / name / CONFIG).write_text(text.replace('name: "t"', f'name: "{name}"', 1))
    return folder / name


def findings(folder: Path) -> list[str]:
    return list(ensemble_refusals(read_config(folder / CONFIG), folder))


def test_a_good_ensemble_has_no_findings(tmp_path: Path) -> None:
    assert findings(write(tmp_path, GOOD)) == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_is_named(name: str, tmp_path: Path) -> None:
    old, new, said = REFUSED[name]
    assert old in GOOD
    found = findings(write(tmp_path, GOOD.replace(old, new)))
    assert any(said in text for text in found), found
