"""Variants of a model, the split of data, options that contradict each other; races are made up."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import rectexport
from rectexport.exporter.base.options import LoadOptions, ShapeOptions
from rectexport.exporter.base.tuning import TuneOptions
from rectexport.exporter.tuning import tune as module
from rectexport.exporter.tuning.data import split_data
from rectexport.exporter.tuning.tune import Tuned, Tuning, load_words, shape_words, tune
from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.errors import BadInput, MissingDependency, ParityError, UsageError
from rectexport.runtime.package.folder import TUNING, Package
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.timing.stopwatch import Timing
from rectexport.runtime.tuning.candidate import AS_WRITTEN, CHOSEN, Record
from rectexport.runtime.tuning.choice import LATENCY, THROUGHPUT
from rectexport.runtime.tuning.plan import work as make_plan
from rectexport.runtime.tuning.search import Search
from rectexport.runtime.tuning.trial import work
from tests.runtime.engines.tensorrt.machines import Machine, machine

__all__ = ["machine"]

SHAPES = ShapeOptions(input=("x:2x1x8x8",))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """One convolution with a dynamic batch."""
    weight = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["f"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["f"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["y"], "flatten"),
    ]
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["n", 1, 8, 8]), ("y", ["n", 4])))
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds of candidates by a part of their names, 1 by default; nothing is timed or proven."""
    seconds: dict[str, float] = {}

    def stopwatch(contestants: Any, how: Any) -> dict[str, Timing]:
        found = {}
        for entry in contestants:
            times = [next((value for part, value in seconds.items() if part in entry.name), 1.0)] * (3 * how.launches)
            found[entry.name] = Timing(tuple(times), tuple(index // 3 for index in range(len(times))), tuple(times))
        return found

    def asked(program: str, spec: Any) -> dict[str, Any]:
        return {"snr": 100.0, "memory": 1000, "description": "an engine"}

    monkeypatch.setattr(module, "Search", partial(Search, asked=asked, stopwatch=stopwatch))
    return seconds


def run(net: Path, out: Path, **options: Any) -> Tuned:
    return tune(net, out, TuneOptions(backends=("onnxruntime",), threads=(1, 2), shapes=SHAPES, **options))


def test_the_package_of_the_fastest_is_written_with_its_document(net: Path, made_up: dict[str, float]) -> None:
    made_up["2 threads"] = 0.5
    out = net.with_name("out")
    found = run(net, out)
    package = Package.open(out)
    package.verify_files()
    assert TUNING in package.manifest.files and found.package is not None
    assert found.document["load"] == {"backend": "onnxruntime", "threads": 2}
    assert found.document["variant_command"] == [
        *("rectexport", str(net), "--input", "x:1x1x8x8", "--target", "onnxruntime"),
    ]
    assert package.manifest.inputs[0].shape[1:] == (1, 8, 8)
    assert not net.with_name("out.tuning").exists()


def test_several_batches_have_one_package_for_all_of_them(net: Path, made_up: dict[str, float]) -> None:
    made_up["batch 8"] = 2.0
    found = run(net, net.with_name("out"), batches=(1, 8), goal=THROUGHPUT)
    assert found.document["chosen"].endswith("batch 8")
    assert found.package is not None and found.package.manifest.inputs[0].range.max == (8, 1, 8, 8)  # type: ignore[union-attr]


def test_a_form_and_a_precision_are_variants(net: Path, made_up: dict[str, float]) -> None:
    made_up["fp16"] = 0.5
    found = run(net, net.with_name("out"), forms=(CHOSEN, AS_WRITTEN), precisions=("fp16",))
    names = {row["name"].partition(",")[0] for row in found.document["candidates"]}
    assert names == {"fp32", "fp32 as written", "fp16"}
    assert found.package is not None and found.package.manifest.data["options"]["precision"] == "fp16"


def test_a_placement_is_a_variant_for_onnxruntime_alone(
    net: Path, made_up: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rectexport.exporter import pipeline

    whole, asked = pipeline.run_export, []

    def in_float(source: Any, shapes: Any, out: Path, options: Any, log: Any) -> Any:
        if options.int8 is not None:
            asked.append((options.int8.placement, options.target, options.command[-2:]))
        return whole(source, shapes, out, replace(options, int8=None), log)

    monkeypatch.setattr(pipeline, "run_export", in_float)
    made_up["int8 strips"] = 0.5
    data = {"x": np.zeros((20, 1, 8, 8), np.float32)}
    options = TuneOptions(calibrate=data, placements=("auto", "strips"), shapes=SHAPES, threads=(1,))
    found = tune(net, net.with_name("out"), options)
    assert asked[0][:2] == ("auto", "openvino,onnxruntime")
    assert asked[1] == ("strips", "onnxruntime", ["--int8-placement", "strips"]) and len(asked) == 2
    assert found.document["chosen"] == "int8 strips, onnxruntime, 1 thread, batch 1"
    rows = {row["name"].partition(",")[0]: row["placement"] for row in found.document["candidates"]}
    assert rows == {"fp32": "auto", "int8": "auto", "int8 strips": "strips"}


def test_the_layout_is_among_the_arguments_of_load(net: Path, made_up: dict[str, float]) -> None:
    made_up["plain layout"] = 0.5
    found = run(net, net.with_name("out"), layouts=("auto", "plain"))
    assert found.document["load"] == {"backend": "onnxruntime", "threads": 1, "layout": "plain"}
    rows = found.document["candidates"]
    assert [(row["threads"], row["layout"]) for row in rows] == [(1, "auto"), (1, "plain"), (2, "auto"), (2, "plain")]
    assert found.package is not None
    with rectexport.load(found.package.path, **found.document["load"]) as session:
        assert session.backend.description.endswith("plain layout")


@pytest.fixture
def gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch, made_up: dict[str, float]) -> Machine:
    """A made-up GPU with TensorRT; proofs run on it, in this process, and plans are built on it."""
    pytest.importorskip("polygraphy")
    made_up["tensorrt"] = 0.5
    stopwatch = module.Search.keywords["stopwatch"]  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "Search", partial(Search, asked=lambda program, spec: trial(spec), stopwatch=stopwatch))
    monkeypatch.setattr(module, "ask", lambda program, spec: dict(make_plan(spec)))
    return machine


def trial(spec: Any) -> dict[str, Any]:
    return dict(work(spec))


def on_gpu(net: Path, out: Path, **options: Any) -> Tuned:
    return tune(net, out, TuneOptions(backends=("onnxruntime", "tensorrt"), threads=(1,), shapes=SHAPES, **options))


def test_tensorrt_is_searched_with_a_plan_of_every_variant(net: Path, gpu: Machine, made_up: dict[str, float]) -> None:
    made_up.clear()
    made_up.update({"CUDA graphs": 0.25, "tensorrt": 0.5})
    gpu.trt.inspector = json.dumps({"Layers": ["conv"], "Bindings": []})  # names alone: no precision to judge
    found = on_gpu(net, net.with_name("out"), precisions=("fp16",), batches=(1, 8), goal=THROUGHPUT)
    rows = {row["name"]: row for row in found.document["candidates"] if row["backend"] == "tensorrt"}
    assert not found.document["refused_variants"]
    assert len(rows) == 2 * 2 * 2 and {row["state"] for row in rows.values()} == {"proven", "slower"}
    assert len(gpu.trt.builds) == 2  # nothing that is timed builds
    assert found.document["chosen"] == "fp32, tensorrt, batch 8, CUDA graphs"
    chosen = rows[found.document["chosen"]]
    assert (chosen["threads"], chosen["cuda_graphs"], chosen["batch"]) == (None, True, 8)
    assert found.document["load"] == {"backend": "tensorrt", "cuda_graphs": True}
    assert found.document["variant_command"][-5:] == [
        *("--trt", "--profile", "x:1x1x8x8", "--profile", "x:2x1x8x8..8x1x8x8..8x1x8x8"),
    ]
    assert found.package is not None
    found.package.verify_files()
    (plan,) = found.package.path.glob("*.plan")
    assert chosen["size_bytes"] == plan.stat().st_size
    with rectexport.load(found.package.path, **found.document["load"]) as session:
        assert session(np.zeros((8, 1, 8, 8), np.float32)).shape == (8, 4)
    assert len(gpu.trt.builds) == 2


def test_a_package_as_it_is_gets_its_plan_in_a_copy(net: Path, gpu: Machine) -> None:
    first = run(net, net.with_name("first"))
    assert first.package is not None
    before = first.package.identity
    found = on_gpu(first.package.path, net.with_name("second"))
    assert found.document["chosen"] == "first, tensorrt, batch 1" and found.document["variant_command"] == []
    assert found.package is not None and len(list(found.package.path.glob("*.plan"))) == 1
    assert Package.open(first.package.path).identity == before and not list(first.package.path.glob("*.plan"))


def test_a_variant_without_a_plan_is_searched_on_the_other_engines(net: Path, gpu: Machine) -> None:
    gpu.trt.refused_operator = "GlobalAveragePool"
    found = on_gpu(net, net.with_name("out"))
    assert found.document["chosen"] == "fp32, onnxruntime, 1 thread, batch 1"
    refused = found.document["refused_variants"]["fp32 on tensorrt"]
    assert "(GlobalAveragePool): TensorRT 10.13.3 does not support it" in refused
    assert {row["backend"] for row in found.document["candidates"]} == {"onnxruntime"}
    with pytest.raises(BadInput, match=r"TensorRT 10\.13\.3 does not support it"):
        tune(net, net.with_name("other"), TuneOptions(backends=("tensorrt",), shapes=SHAPES))
    assert not net.with_name("other.tuning").exists()


def test_a_model_that_tensorrt_cannot_be_exported_for_is_searched_without_it(
    net: Path, gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rectexport.exporter import pipeline

    whole, asked = pipeline.run_export, []

    def refused(source: Any, shapes: Any, out: Path, options: Any, log: Any) -> Any:
        asked.append(options.target)
        if "tensorrt" in options.target:
            raise BadInput("no version of TensorRT takes it")
        return whole(source, shapes, out, options, log)

    def stopped(search: Search) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run_export", refused)
    options = TuneOptions(backends=("onnxruntime", "tensorrt"), threads=(1,), shapes=SHAPES, forms=(CHOSEN, AS_WRITTEN))
    with pytest.raises(KeyboardInterrupt):
        Tuning(net, net.with_name("out"), options, started=stopped).run()
    found = Tuning(net, net.with_name("out"), options).run()
    assert asked == ["onnxruntime,tensorrt", "onnxruntime", "onnxruntime"]
    assert found.document["refused_variants"] == {"fp32 on tensorrt": "no version of TensorRT takes it"}
    assert found.document["chosen"] == "fp32, onnxruntime, 1 thread, batch 1"


def test_a_plan_is_built_once_although_the_search_is_interrupted(net: Path, gpu: Machine) -> None:
    def stopped(search: Search) -> None:
        raise KeyboardInterrupt

    options = TuneOptions(backends=("onnxruntime", "tensorrt"), threads=(1,), shapes=SHAPES)
    with pytest.raises(KeyboardInterrupt):
        Tuning(net, net.with_name("out"), options, started=stopped).run()
    found = Tuning(net, net.with_name("out"), options).run()
    assert found.document["chosen"].startswith("fp32, tensorrt") and len(gpu.trt.builds) == 1


def test_tensorrt_is_searched_by_default_where_plans_can_be_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("polygraphy")
    space = TuneOptions().space()
    assert "tensorrt" in space.backends and "tensorrt" not in space.left_out
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    space = TuneOptions().space()
    assert "tensorrt" not in space.backends and space.left_out["tensorrt"].startswith("TensorRT cannot be imported")
    assert not TuneOptions(backends=("onnxruntime",)).space().left_out
    with pytest.raises(MissingDependency, match=r"^backend tensorrt: TensorRT cannot be imported here"):
        TuneOptions(backends=("tensorrt",)).space()


def test_a_variant_that_cannot_be_made_is_named(
    net: Path, made_up: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rectexport.exporter import pipeline

    whole = pipeline.run_export

    def refused(source: Any, shapes: Any, out: Path, options: Any, log: Any) -> Any:
        if options.fp16:
            raise ParityError("too far off")
        return whole(source, shapes, out, options, log)

    monkeypatch.setattr(pipeline, "run_export", refused)
    found = run(net, net.with_name("out"), precisions=("fp16",))
    assert found.document["refused_variants"] == {"fp16": "too far off"}
    assert found.document["chosen"].startswith("fp32")


def test_an_interrupted_search_keeps_its_variants(
    net: Path, made_up: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(search: Search) -> None:
        raise KeyboardInterrupt

    out, options = net.with_name("out"), TuneOptions(backends=("onnxruntime",), shapes=SHAPES)
    with pytest.raises(KeyboardInterrupt):
        Tuning(net, out, options, started=stopped).run()
    assert not out.exists() and (net.with_name("out.tuning") / "fp32").is_dir()

    def never(*words: Any) -> None:
        raise AssertionError("the variant is exported again")

    from rectexport.exporter import pipeline

    monkeypatch.setattr(pipeline, "run_export", never)
    assert Tuning(net, out, options).run().package is not None


def test_nothing_is_left_where_the_model_cannot_be_exported(net: Path) -> None:
    net.write_bytes(b"\x08")
    with pytest.raises(BadInput):
        run(net, net.with_name("out"))
    assert [path.name for path in net.parent.iterdir()] == ["net.onnx"]


def test_a_package_is_searched_as_it_is(net: Path, made_up: dict[str, float]) -> None:
    first = run(net, net.with_name("first"))
    assert first.package is not None
    made_up["1 thread"] = 0.5
    found = run(first.package.path, net.with_name("second"))
    assert found.document["chosen"] == "first, onnxruntime, 1 thread, batch 1"
    assert {row["precision"] for row in found.document["candidates"]} == {"fp32"}


def test_a_package_of_one_batch_is_searched_at_it(net: Path, made_up: dict[str, float]) -> None:
    model = onnx.load(net)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, net)
    first = run(net, net.with_name("first"), batches=(4,))
    assert first.package is not None and first.package.manifest.inputs[0].shape[0] == 4
    found = run(first.package.path, net.with_name("second"))
    assert found.document["chosen"].endswith("batch 4")
    refused = run(first.package.path, net.with_name("third"), batches=(1,))
    assert refused.package is None and not net.with_name("third.tuning").exists()
    assert all("the package takes only 4, not 1" in row["reason"] for row in refused.document["candidates"])


def test_a_package_that_cannot_be_opened_leaves_nothing(net: Path, made_up: dict[str, float]) -> None:
    (net.parent / "package").mkdir()
    (net.parent / "package" / "manifest.json").write_text("{")
    with pytest.raises(BadInput):
        run(net.parent / "package", net.with_name("out"))
    assert not net.with_name("out.tuning").exists()


def test_data_that_cannot_be_judged_leaves_nothing(net: Path, made_up: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="input x, axis 2: expected 8, got 9"):
        run(net, net.with_name("out"), data={"x": np.zeros((4, 1, 9, 9), np.float32), "labels": np.arange(4)})
    assert not net.with_name("out.tuning").exists()


def test_changed_data_begins_a_new_search(net: Path, made_up: dict[str, float]) -> None:
    def stopped(search: Search) -> None:
        search.state.records["a candidate"] = Record()
        search.state.save()
        raise KeyboardInterrupt

    def continued(search: Search) -> None:
        found.append("a candidate" in search.state.records)
        raise KeyboardInterrupt

    found: list[bool] = []
    data = net.with_name("data.npz")
    np.savez(data, x=np.zeros((4, 1, 8, 8), np.float32), labels=np.arange(4))
    options = TuneOptions(backends=("onnxruntime",), shapes=SHAPES, precisions=("fp32",), data=data)
    for started in (stopped, continued):
        with pytest.raises(KeyboardInterrupt):
            Tuning(net, net.with_name("out"), options, started=started).run()
    np.savez(data, x=np.ones((4, 1, 8, 8), np.float32), labels=np.arange(4))
    with pytest.raises(KeyboardInterrupt):
        Tuning(net, net.with_name("out"), options, started=continued).run()
    assert found == [True, False]


def test_no_item_both_calibrates_and_judges(tmp_path: Path) -> None:
    entries = [TensorEntry("x", "float32", ("n", 3))]
    data = {"x": np.arange(300, dtype=np.float32).reshape(100, 3), "labels": np.arange(100)}
    paths = split_data(data, None, ImageScaling(), entries, tmp_path, seed=1)
    parts = [dict(np.load(path)) for path in paths]
    assert len(parts[0]["labels"]) == 25 and len(parts[1]["labels"]) == 75
    assert sorted([*parts[0]["labels"], *parts[1]["labels"]]) == list(range(100))
    assert all((part["x"][:, 0] == 3 * part["labels"]).all() for part in parts)
    (tmp_path / "other").mkdir()
    other = split_data(data, None, ImageScaling(), entries, tmp_path / "other", seed=2)
    assert set(np.load(other[0])["labels"]) != set(parts[0]["labels"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backends": ("torch",)}, "backends='torch': expected some of openvino, onnxruntime, cuda, tensorrt"),
        ({"layouts": ("nhwc",)}, "layouts='nhwc': expected some of auto, plain"),
        ({"cuda_graphs": ("yes",)}, "cuda_graphs='yes': expected some of off, on"),
        ({"placements": ("inside",)}, "placements='inside': expected some of auto, both, strips"),
        ({"precisions": ("int4",)}, "precisions='int4': expected some of fp32, fp16, int8"),
        ({"forms": ("new",)}, "forms='new': expected some of chosen, as written"),
        ({"goal": "speed"}, "goal='speed': expected latency or throughput"),
        ({"max_drop": 0.2}, "max_drop=0.2: needs labelled data; give data"),
        ({"precisions": ("int8",)}, "precisions='int8': needs data to calibrate on; give calibrate"),
        ({"memory": 0}, "memory=0: expected more than 0 bytes"),
        ({"threads": (0,)}, "threads: expected numbers from 1 on"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        TuneOptions(**options)
    assert str(caught.value) == said


def test_defaults() -> None:
    assert TuneOptions().asked_precisions() == ("fp32",)
    assert TuneOptions(data="x.npz").asked_precisions() == ("fp32", "int8")
    assert TuneOptions(precisions=("fp16",)).asked_precisions() == ("fp32", "fp16")
    assert TuneOptions().wanted().measure == LATENCY
    assert TuneOptions(max_latency=0.005).wanted().measure == THROUGHPUT


def test_flags_of_options() -> None:
    load = LoadOptions(model="nets.py:Net", model_args=("width=8",), weights="ema", rectify_model=True)
    assert load_words(load) == [
        *("--model", "nets.py:Net", "--weights", "ema", "--model-args", "width=8", "--rectify-model"),
    ]
    assert load_words(LoadOptions(arch="resnet50", rectified=False)) == ["--arch", "resnet50", "--plain"]
    assert shape_words(ShapeOptions(min=("x:1x3",), max=("x:8x3",))) == [
        "--min-shapes",
        "x:1x3",
        "--max-shapes",
        "x:8x3",
    ]


def test_int8_for_tensorrt_is_a_variant_with_a_plan_of_its_own(
    net: Path, gpu: Machine, made_up: dict[str, float]
) -> None:
    made_up.clear()
    made_up["int8"] = 0.25
    gpu.trt.inspector = json.dumps({"Layers": ["conv"], "Bindings": []})
    data = {"x": np.random.default_rng(0).uniform(0.5, 1.5, (40, 1, 8, 8)).astype(np.float32)}
    options = TuneOptions(backends=("tensorrt",), precisions=("int8",), calibrate=data, shapes=SHAPES)
    found = tune(net, net.with_name("out"), options)
    assert found.document["refused_variants"] == {} and len(gpu.trt.builds) == 2
    assert found.document["chosen"].startswith("int8") and "tensorrt" in found.document["chosen"]
    assert "--int8" in found.document["variant_command"] and "--trt" in found.document["variant_command"]
    assert found.package is not None and found.package.manifest.data["options"]["precision"] == "int8"
    with rectexport.load(found.package.path, **found.document["load"]) as session:
        assert session(data["x"][:1]).shape == (1, 4)
    assert len(gpu.trt.builds) == 2  # loading takes the plan that was built for the search
