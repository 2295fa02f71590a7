"""An export in int8: the package, what it records, and what is not shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import rectexport
from rectexport.exporter import int8 as int8_stage
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, Int8, LoadOptions, ShapeOptions
from rectexport.exporter.checking.reference import spread
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.pipeline import Exported, run_export
from rectexport.exporter.quantize.speed import Speed
from rectexport.runtime.batching.rows import RowVerdict
from rectexport.runtime.errors import BadInput, ParityError, UsageError
from rectexport.runtime.package.schema import manifest_faults
from tests.export.engines import WHOLE_SUMS
from tests.export.quantize.nets import items, rectified_net

DATA = {"x": items(96).feeds["x"]}
#: One channel is the same everywhere; every fourth item holds a NaN.
CONSTANT, BROKEN = DATA["x"].copy(), DATA["x"].copy()
CONSTANT[:, 1] = 0.5
BROKEN[::4, 0, 0, 0] = np.nan
SHAPES = ShapeOptions(min=["x:1x3x8x8"], opt=["x:8x3x8x8"], max=["x:16x3x8x8"])


QUICK = Speed(0.4, 0.38, 0.43, 0.8, 2.0)


@pytest.fixture(scope="module", autouse=True)
def timed() -> Iterator[list[str]]:
    """In place of the stopwatch, which takes 10 seconds for each engine: the engines that it was asked for."""
    asked = []

    def compare(engine: str, *parts: Any) -> Speed:
        asked.append(engine)
        return QUICK

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_stage, "compare_speed", compare)
        yield asked


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(rectified_net(), path)
    return path


def export(
    file: Path, out: Path, target: str = "onnxruntime", shapes: ShapeOptions = SHAPES, **options: Any
) -> Exported:
    asked = ExportOptions(target=target, int8=Int8(**{"calibrate": DATA, **options}))
    return run_export(load_source(file, LoadOptions()), shapes, out, asked, Log())


@pytest.fixture(scope="module")
def exported(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    labelled = {**DATA, "labels": np.zeros(96, np.int64)}
    return export(file, tmp_path_factory.mktemp("out") / "net", "onnxruntime,openvino,tensorrt", calibrate=labelled)


def test_each_target_has_a_model_where_its_engine_wants_the_pairs(exported: Exported) -> None:
    package = exported.package
    assert {package.model_name(name) for name in ("onnxruntime", "openvino", "tensorrt")} == {
        "model.onnx",
        "model.openvino.onnx",
        "model.tensorrt.onnx",
    }
    counts = {}
    for name in ("onnxruntime", "openvino"):
        model = onnx.load(package.model_for(name))
        counts[name] = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert counts["onnxruntime"] > counts["openvino"] == 3


def test_the_manifest_records_what_was_done_and_measured(exported: Exported) -> None:
    document = exported.package.manifest.data
    assert not list(manifest_faults(document)) and document["options"]["precision"] == "int8"
    found = document["int8"]
    assert found["calibration"]["items"] == 72 and found["calibration"]["held_out"] == 24
    for name, entry in found["targets"].items():
        assert entry["snr_db"] > 25 and set(entry["layers"]) == {"a", "b", "head"}, name
        assert entry["tensors"]["x"]["scale"] > 0 and set(entry["regions"]) == {"corner", "edge", "interior"}
    assert found["targets"]["onnxruntime"]["speed"]["ratio"] == 0.4 and "speed" not in found["targets"]["tensorrt"]
    engine = found["targets"]["onnxruntime"]["engines"]["onnxruntime"]
    assert engine["agreement"] > 0.9 and engine["in_float"] == [] and "accuracy" in engine


def test_the_package_runs_agrees_and_is_verified(exported: Exported) -> None:
    from rectexport.runtime.verify import verify

    for backend in ("onnxruntime", "openvino"):
        pytest.importorskip(backend)
        assert verify(exported.package.path, backend).passed
    assert {proof.engine for proof in exported.parity.proofs if proof.precision == "int8"} >= {"onnxruntime"}
    assert 1e-3 <= exported.package.manifest.tolerances["relative_l2"] < 0.2
    assert "quantized" not in exported.package.manifest.data
    x = items(3, seed=9).feeds["x"]
    with rectexport.load(exported.package.path, "onnxruntime") as session:
        assert session(x).shape == (3, 5)


def test_rows_are_shown_to_be_independent_so_that_calls_share_runs(exported: Exported, tmp_path: Path) -> None:
    assert exported.package.manifest.rows == "independent"
    stage = int8_stage.Int8Stage(exported.package.path, *[None] * 6)  # type: ignore[arg-type]
    models = [SimpleNamespace(file="model.onnx")]
    dependent = RowVerdict("dependent", "batch statistics")
    assert stage._rows(models, dependent, 0.01) is dependent  # type: ignore[arg-type]


def averaging(tmp_path: Path) -> Path:
    """A net whose outputs average 64x64 values, so that they have far less noise than its layers."""
    path = tmp_path / "averaging.onnx"
    onnx.save(rectified_net(64), path)
    return path


#: Bright spots widen the range of the input, so the steps of its 8 bits are large.
SPOTTED = items(48, 64).feeds["x"].copy()
SPOTTED[:, :, ::16, ::16] *= 8
AVERAGED: dict[str, Any] = {
    "calibrate": {"x": SPOTTED},
    "shapes": ShapeOptions(min=["x:1x3x64x64"], opt=["x:2x3x64x64"], max=["x:4x3x64x64"]),
}


def test_layers_are_judged_by_their_own_noise_where_the_outputs_average_it(tmp_path: Path) -> None:
    found = export(averaging(tmp_path), tmp_path / "out", **AVERAGED)
    bounds = found.package.manifest.tolerances
    layers = {name: bound for name, bound in bounds.items() if name.startswith("layer:")}
    assert layers and all(10 * bounds["relative_l2"] < bound < 0.3 for bound in layers.values())
    farthest = max(layer.worst[1] for case in found.parity.cases for layer in case.layers)
    if WHOLE_SUMS:  # elsewhere weights have 7 bits, which the outputs feel more
        assert farthest > 10 * bounds["relative_l2"]  # what one bound for all would have refused


def test_a_wrong_border_in_int8_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = int8_stage.Quantizer.run

    def unrectified(self: Any, target: str) -> Any:
        found = run(self, target)
        for stored in found.model.graph.initializer:
            array = numpy_helper.to_array(stored)
            if stored.name.startswith(("a.out|0,0|weight", "a.out|0,0|bias")) and array.dtype == np.float32:
                stored.CopyFrom(numpy_helper.from_array(array / np.float32(9 / 4), stored.name))
        return found

    monkeypatch.setattr(int8_stage.Quantizer, "run", unrectified)
    with pytest.raises(ParityError, match=r"first layer to diverge: a.* \(tensor a.out\), worst in region corner"):
        export(averaging(tmp_path), tmp_path / "out", **AVERAGED)
    assert not (tmp_path / "out").exists()


class Wrong:
    """An engine that answers something else."""

    def __init__(self, runner: Any, change: Any) -> None:
        self._runner, self._change = runner, change

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._change(array) for name, array in self._runner.run(feeds).items()}

    def close(self) -> None:
        self._runner.close()


def test_an_engine_that_computes_something_else_is_not_shipped(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = int8_stage.open_engine
    monkeypatch.setattr(int8_stage, "open_engine", lambda *parts: Wrong(opened(*parts), lambda y: y * 0.7))
    with pytest.raises(ParityError, match="int8 on onnxruntime: it computes something else than the Q/DQ nodes say"):
        export(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_layers_that_run_in_float_are_not_shipped(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_stage, "float_layers", lambda engine, path, names: list(names)[:2])
    with pytest.raises(ParityError, match="computes 2 quantized layers in float: a, b"):
        export(file, tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": DATA["x"][:12]}, "needs at least 16 others"),
        ({"x": CONSTANT}, "channel 1 of input x is 0.5 in every item"),
        ({"x": BROKEN}, "holds NaN"),
        ({"y": DATA["x"]}, "input x is missing"),
    ],
)
def test_data_without_ranges_is_refused(file: Path, tmp_path: Path, data: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        export(file, tmp_path / "out", calibrate=data)
    assert said in str(caught.value) and not (tmp_path / "out").exists()


def test_data_scaled_unlike_the_models_own_example_is_refused(file: Path, tmp_path: Path) -> None:
    example = tmp_path / "example.npz"
    np.savez(example, x=DATA["x"][:2] * 4)
    with pytest.raises(BadInput, match="they are scaled differently"):
        export(file, tmp_path / "out", shapes=ShapeOptions(load=example))


def test_a_quantized_model_is_not_quantized_again(exported: Exported, tmp_path: Path) -> None:
    for target in ("onnxruntime", "openvino"):
        with pytest.raises(BadInput, match="the model is quantized already; leave out int8"):
            export(exported.package.model_for(target), tmp_path / "out")


def test_a_quantized_file_passes_through_with_its_own_meaning(exported: Exported, tmp_path: Path) -> None:
    """Without int8 the reference is ONNX Runtime on the file as stored."""
    path = tmp_path / "quantized.onnx"
    onnx.save(onnx.load(exported.package.model_for("openvino")), path)
    done = run_export(load_source(path, LoadOptions()), SHAPES, tmp_path / "out", ExportOptions(), Log())
    model = onnx.load(done.package.model_file)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 3


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_file_of_another_quantizer_has_a_verdict_for_each_engine(file: Path, tmp_path: Path, form: str) -> None:
    """onnxruntime's own tool: optimized, its answers differ from the file's as stored by a step here and there."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.items = iter(DATA["x"][:32])

        def get_next(self) -> dict[str, np.ndarray] | None:
            item = next(self.items, None)
            return None if item is None else {"x": item[None]}

    path = tmp_path / "quantized.onnx"
    quantization.quantize_static(file, path, Reader(), quant_format=quantization.QuantFormat[form], per_channel=True)
    asked = ExportOptions(target="onnxruntime,openvino")
    if form == "QDQ" and not WHOLE_SUMS:
        with pytest.raises(ParityError, match="disagrees with ONNX Runtime on the source file, as stored"):
            run_export(load_source(path, LoadOptions()), SHAPES, tmp_path / "out", asked, Log())
        return
    done = run_export(load_source(path, LoadOptions()), SHAPES, tmp_path / "out", asked, Log())
    assert done.parity.reference == "ONNX Runtime on the source file, as stored"
    verdicts = {proof.engine: proof.verdict for proof in done.parity.proofs}
    assert "onnxruntime" in verdicts and set(verdicts.values()) == {"agrees"}
    assert 1e-2 <= done.package.manifest.tolerances["relative_l2"] < 0.1
    assert done.package.manifest.data["quantized"] is True


def test_the_bound_of_a_quantized_file_is_what_rounding_does_to_it() -> None:
    class Steps:
        """Outputs that move by a step where the inputs move at all."""

        def outputs(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return [np.where(feeds["x"] == DATA["x"][:2], 1.0, 1.05)]

        trial = outputs

    assert 0.04 < spread(Steps(), {"x": DATA["x"][:2]}) <= 0.05  # type: ignore[arg-type]
    assert spread(Steps(), {"x": np.arange(4)}) == 0  # type: ignore[arg-type]


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="int8 and bf16=True: what is not int8 is float32, or float16"):
        ExportOptions(int8=Int8(DATA), bf16=True)
    with pytest.raises(UsageError, match="int8 and fp16=True: only for target='tensorrt'"):
        ExportOptions(int8=Int8(DATA), fp16=True, target="onnxruntime,tensorrt")
    with pytest.raises(UsageError, match="int8 needs one; take target='auto'"):
        ExportOptions(int8=Int8(DATA), target="portable")
    with pytest.raises(UsageError, match="expected a share from 0 to 1"):
        Int8(DATA, float_budget=5)
    with pytest.raises(UsageError, match="calibration_images=15: expected 16 or more"):
        Int8(DATA, images=15)
    with pytest.raises(UsageError, match="min_snr=nan: expected a number of dB"):
        Int8(DATA, min_snr=float("nan"))


def test_int8_that_is_not_faster_is_written_only_by_force(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_stage, "compare_speed", lambda *parts: Speed(1.2, 1.1, 1.3, 2.4, 2.0))
    with pytest.raises(ParityError) as caught:
        export(file, tmp_path / "out")
    said = (
        "int8 on onnxruntime is not faster than float32 on this machine: int8 takes 1.20 of the time of float32 (1.10"
    )
    assert str(caught.value).startswith(said) and "force=True writes it" in str(caught.value)
    assert not (tmp_path / "out").exists()
    done = export(file, tmp_path / "out", force=True)
    assert done.package.manifest.data["int8"]["targets"]["onnxruntime"]["speed"]["interval"] == [1.1, 1.3]
    assert "int8 takes 1.20 of the time" in (tmp_path / "out" / "export.log").read_text()


def test_with_fp16_what_is_not_int8_is_half(file: Path, tmp_path: Path, exported: Exported) -> None:
    asked = ExportOptions(target="tensorrt", fp16=True, int8=Int8({"x": DATA["x"]}, keep_float=("head",)))
    package = run_export(load_source(file, LoadOptions()), SHAPES, tmp_path / "out", asked, Log()).package
    model = onnx.load(package.model_for("tensorrt"))
    onnx.checker.check_model(model, full_check=True)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    made = {node.name: types.get(node.output[0]) for node in model.graph.node}
    assert made["a"] == made["b"] == single and made["add"] == made["head"] == half
    scales = {node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    stored = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert {stored[name] for name in scales} == {single}
    options = package.manifest.data["options"]
    assert options["precision"] == "int8" and options["rest"] == "fp16"
    whole = exported.package.manifest.data["int8"]["targets"]["tensorrt"]["snr_db"]
    assert package.manifest.data["int8"]["targets"]["tensorrt"]["snr_db"] > whole - 1
    kept = {entry["node"] for result in package.manifest.data["passes"] for entry in result["refused"]}
    assert kept.isdisjoint({"a", "b"})  # TensorRT 8.6 would compute in float32 what the pass names
