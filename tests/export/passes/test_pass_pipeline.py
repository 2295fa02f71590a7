"""Leaving passes out, and adding passes by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import rectexport
from rectexport.exporter.passes import PASSES, Code, Pass, PassPipeline, PassResult
from rectexport.runtime.errors import UsageError
from tests.export.helper import build, normal, operators
from tests.export.nets import Small, exported, image, seeded, source

BODY = """
  n = Neg(x)
  c = Concat<axis=1>(x, n)
  r = Relu(c)
  z = Conv(r, w)
"""


def model() -> ModelProto:
    return build("(float[1,2,3,4] x) => (float[1,3,3,4] z)", BODY, w=normal(3, 4, 1, 1))


def nothing(name: str = "mine") -> Pass:
    return Pass(name, lambda given: (given, PassResult(name)))


def scaled(factor: float) -> Pass:
    """Multiplies the weight of the convolution, in a new model."""

    def run(given: ModelProto) -> tuple[ModelProto, PassResult]:
        changed = ModelProto()
        changed.CopyFrom(given)
        for entry in changed.graph.initializer:
            if len(entry.dims) == 4:
                values = numpy_helper.to_array(entry) * np.float32(factor)
                entry.CopyFrom(numpy_helper.from_array(values, entry.name))
        return changed, PassResult("scaled", ("w",))

    return Pass("scaled", run)


def test_the_default_is_every_pass_in_order() -> None:
    assert rectexport.PassPipeline is PassPipeline
    assert PassPipeline.default().passes == PASSES
    assert PassPipeline.default().names == tuple(entry.name for entry in PASSES)


def test_passes_are_left_out_by_name_or_stage() -> None:
    whole = PassPipeline.default()
    assert set(whole.names) - set(whole.without("inline", "raise_avr").names) == {"inline", "raise_avr"}
    left = set(whole.names) - set(whole.without("raise").names)
    assert len(left) == 10 and all(name.startswith("raise_") for name in left)
    assert whole == PassPipeline.default()  # nothing changes in place


def test_passes_are_added_before_and_after_others() -> None:
    names = PassPipeline.default().before("batch_norm", nothing("a")).after("batch_norm", nothing("b")).names
    start = names.index("a")
    assert names[start : start + 3] == ("a", "batch_norm", "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pipeline: pipeline.without("crelu"), "no pass is named crelu; did you mean raise_crelu, lower_crelu$"),
        (
            lambda pipeline: pipeline.after("batchnorm", nothing()),
            "no pass is named batchnorm; did you mean batch_norm",
        ),
        (lambda pipeline: pipeline.before("lower", nothing()), "no pass is named lower; did you mean lower_norm_conv"),
        (lambda pipeline: pipeline.without("zzz"), "no pass is named zzz; there are raise_tidy, "),
        (lambda pipeline: pipeline.after("inline", nothing("cleanup")), "two passes are named cleanup"),
        (lambda pipeline: pipeline.after("inline", print), "expected Pass\\(name, run\\), got builtin_function"),
    ],
)
def test_names_that_do_not_fit(change, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        change(PassPipeline.default())


def test_a_pass_left_out_does_not_run() -> None:
    every, _ = rectexport.optimize(model(), "portable")
    assert operators(every) == ["Relu", "Neg", "Relu", "Concat", "Conv"]  # raised to a CRelu, and inlined again
    without = PassPipeline.default().without("raise", "lower")
    kept, results = rectexport.optimize(model(), "portable", passes=without)
    assert operators(kept) == operators(model())
    ran = [
        "rectify_unbiased",
        "masked_ones",
        "masked_narrow",
        "batch_norm",
        "wrap_pad",
        "softplus_tail",
        "rectify_fold",
        "rectify_graph",
        "masked_counts",
        "boundary_pad",
        "inline",
        "cleanup",
    ]
    assert [result.name for result in results] == ran


def test_an_added_pass_runs_at_its_place_and_is_reported() -> None:
    seen: list[list[str]] = []

    def look(given: ModelProto) -> tuple[ModelProto, PassResult]:
        seen.append([node.op_type for node in given.graph.node])
        return given, PassResult("look", ("here",))

    pipeline = PassPipeline.default().after("raise_rectification", Pass("look", look)).without("lower")
    _, results = rectexport.optimize(model(), "portable", passes=pipeline)
    assert seen == [["CRelu", "Conv"]]
    assert [result.name for result in results][:3] == ["raise", "look", "rectify_unbiased"]


@pytest.mark.parametrize("place", ["raise_avr", "batch_norm", "cleanup"])
def test_an_added_pass_is_guarded(place: str) -> None:
    pipeline = PassPipeline.default().after(place, scaled(1.01))
    right, _ = rectexport.optimize(model(), "portable")
    found, results = rectexport.optimize(model(), "portable", passes=pipeline)
    refusals = {entry.name: entry.refused for entry in results if entry.refused and not entry.fired}
    assert [entry.code for entry in refusals["scaled"]] == [Code.GUARD]
    assert refusals["scaled"][0].reason.startswith("it changed output z")
    assert found == right
    rectexport.optimize(model(), "portable", passes=pipeline, guard=False)


def test_inline_cannot_be_left_out_while_dialect_nodes_remain() -> None:
    pipeline = PassPipeline.default().without("inline", "lower")
    with pytest.raises(UsageError, match=r"CRelu .* is still a node of the domain rectexport.*keep the pass inline"):
        rectexport.optimize(model(), "portable", passes=pipeline)
    rectexport.optimize(model(), "portable", passes=pipeline.without("raise"))  # none remain


def test_an_export_takes_a_pipeline(tmp_path: Path) -> None:
    pipeline = PassPipeline.default().without("lower").after("cleanup", nothing())
    done = exported(source(seeded(Small()), image(1, 2, 6, 6)), tmp_path / "p", passes=pipeline)
    names = [result.name for result in done.passes]
    assert names[-1] == "mine" and not any(name.startswith("lower") for name in names)
    left = PassPipeline.default().without("rectify_fold", "rectify_graph", "inline", "lower")
    with pytest.raises(UsageError, match=r"Rectify .* is still a node"):
        exported(source(seeded(Small()), image(1, 2, 6, 6)), tmp_path / "q", passes=left)
    assert not (tmp_path / "q").exists()
