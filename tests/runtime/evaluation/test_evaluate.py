"""`rectexport.evaluate`: values, differences, flips, regions, verdicts; and options that contradict each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rectexport
from rectexport.runtime.base.documents import strict
from rectexport.runtime.engines.backends import Choice
from rectexport.runtime.errors import BadInput, ParityError, UsageError
from rectexport.runtime.package.manifest import TensorEntry
from tests.runtime.tiny import dynamic_package

LOGITS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
LABELS = LOGITS.argmax(axis=1)


class Fake:
    """A model whose answer is its input, changed; as a session and as a reference."""

    description = "fake"

    def __init__(self, change: Callable[[np.ndarray], np.ndarray] = lambda x: x, batch: int | str = "n") -> None:
        self.change, self.batch, self.calls = change, batch, list[int]()
        self.backend = Choice("fake", "fake engine")
        data: dict[str, Any] = {}
        entries = {
            "data": data,
            "inputs": (TensorEntry("x", "float32", (batch, 4)),),
            "outputs": (TensorEntry("y", "float32", ()),),
        }
        self.package = SimpleNamespace(manifest=SimpleNamespace(**entries))

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(len(feeds["x"]))
        return {"y": self.change(feeds["x"])}


def evaluate(engine: Fake, reference: Fake | None = None, data: Any = None, **options: Any) -> Any:
    data = {"x": LOGITS, "labels": LABELS} if data is None else data
    return rectexport.evaluate(engine, data, against=reference, **options)  # type: ignore[arg-type]


def shifted(count: int) -> Callable[[np.ndarray], np.ndarray]:
    """Another class for the first rows of a batch."""

    def change(x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.roll(x[:count], 1, axis=1), x[count:]])

    return change


def test_a_perfect_package() -> None:
    found = evaluate(Fake())
    assert found.engines[0].value == 100 and found.reference is None and found.passed
    assert (found.items, found.metric, found.unit, found.output) == (50, "top1", "points", "y")


@pytest.mark.parametrize("batch", ["n", 16, 50, 64])
def test_batches_are_filled_up_and_cut(batch: int | str) -> None:
    engine = Fake(batch=batch)
    assert evaluate(engine).engines[0].value == 100
    if isinstance(batch, int):
        assert set(engine.calls) == {batch} and len(engine.calls) == -(-50 // batch)


def test_flips_are_named_with_the_references_margin() -> None:
    found = evaluate(Fake(shifted(2), 50), Fake())
    (entry,) = found.engines
    assert entry.value == 96 and found.reference.value == 100
    assert entry.difference.value == -4 and entry.difference.low < -4 < entry.difference.high < 4
    assert entry.against.agreement == 0.96
    first = entry.against.flips[0]
    ordered = np.sort(LOGITS[0])
    assert (first.item, first.target, first.expected) == ("item 0", LABELS[0], LABELS[0])
    assert first.actual == (LABELS[0] + 1) % 4 and first.margin == pytest.approx(ordered[-1] - ordered[-2])
    margins = np.sort(LOGITS, axis=1)
    assert entry.against.median_margin == pytest.approx(np.median(margins[:, -1] - margins[:, -2]))


@pytest.mark.parametrize(
    ("count", "allowed", "passed"), [(2, 0.2, True), (20, 0.2, False), (20, 60, True), (0, 0, True)]
)
def test_only_a_certain_drop_fails(count: int, allowed: float, passed: bool) -> None:
    found = evaluate(Fake(shifted(count), 50), Fake(), max_drop=allowed)
    assert found.passed is passed
    assert bool(found.failures()) is not passed
    if not passed:
        assert "40" in found.failures()[0] and "0.2 allowed" in found.failures()[0]


def test_without_labels_there_is_agreement_and_no_metric() -> None:
    found = evaluate(Fake(shifted(1), 50), Fake(), {"x": LOGITS})
    assert found.metric == "" and found.engines[0].value is None and found.engines[0].difference is None
    assert found.engines[0].against.agreed == 49 and found.engines[0].against.flips[0].target is None


def test_the_worst_region_of_a_dense_output_is_found() -> None:
    x = np.random.default_rng(1).normal(size=(12, 2, 6, 6)).astype(np.float32)

    def corner(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        changed[7:8, 0, 0, 5] += 3.0
        changed[:, 1, 3, 3] += 0.01
        return changed

    engine, reference = Fake(corner, 12), Fake()
    engine.package.manifest.inputs = (TensorEntry("x", "float32", (12, 2, 6, 6)),)
    found = evaluate(engine, reference, {"x": x, "labels": x.argmax(axis=1)}, metric="miou").engines[0]
    regions = found.against.regions
    assert regions["corner"].item == "item 7" and regions["corner"].difference.worst.index == (0, 0, 0, 5)
    assert regions["corner"].difference.snr_db < 10 < regions["interior"].difference.snr_db
    assert regions["edge"].difference.relative_l2 == 0
    assert 0.99 < found.against.agreement <= 1 and found.difference.value <= 0


def test_the_document_is_strict_json() -> None:
    found = evaluate(Fake(shifted(1), 50), Fake(), max_drop=1)
    document = json.loads(json.dumps(strict(found.as_dict()), allow_nan=False))
    assert document["engines"][0]["flips"][0]["item"] == "item 0" and document["reference"]["value"] == 100


def test_progress_counts_items() -> None:
    seen: list[tuple[int, int, str]] = []
    evaluate(Fake(batch=20), progress=lambda *parts: seen.append(parts))
    assert seen == [(0, 50, "item 0"), (20, 50, "item 20"), (40, 50, "item 40")]


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a reference to drop from"):
        evaluate(Fake(), max_drop=1)
    with pytest.raises(UsageError, match="has no labels and there is no reference"):
        evaluate(Fake(), data={"x": LOGITS})
    with pytest.raises(UsageError, match="no metric can drop"):
        evaluate(Fake(), Fake(), {"x": LOGITS}, max_drop=1)
    with pytest.raises(
        BadInput, match="mean, std: are for images of a floating-point input; arrays are used as stored"
    ):
        evaluate(Fake(), mean=(0.5,))
    for kind in ("topk", "argmax"):
        engine = Fake()
        engine.package.manifest.data["postprocessing"] = {"kind": kind}
        with pytest.raises(UsageError, match=f"needs a score for each class, and the package answers with {kind}"):
            evaluate(engine)
    with pytest.raises(UsageError, match="expected a module, a package"):
        evaluate(Fake(), 3)  # type: ignore[arg-type]


def test_a_bound_needs_items_enough_for_an_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nearness.py").write_text("def score(outputs, targets):\n    return outputs[:, 0]\n")
    monkeypatch.chdir(tmp_path)
    few = {"x": LOGITS[:4], "labels": LABELS[:4]}
    found = evaluate(Fake(), Fake(), few, metric="nearness:score")
    assert found.engines[0].difference.low is None
    with pytest.raises(BadInput, match="too few items"):
        evaluate(Fake(), Fake(), few, metric="nearness:score", max_drop=1)


def test_nan_and_outputs_without_rows_are_refused() -> None:
    def broken(x: np.ndarray) -> np.ndarray:
        changed = x.copy()
        changed[3, 1] = np.nan
        return changed

    with pytest.raises(BadInput, match="input x of item 3 holds NaN; leave the item out"):
        evaluate(Fake(np.nan_to_num, 50), data={"x": broken(LOGITS), "labels": LABELS})
    with pytest.raises(ParityError, match="of item 3 holds NaN on fake engine"):
        evaluate(Fake(broken, 50))
    with pytest.raises(BadInput, match=r"shape \[4\] for 50 items"):
        evaluate(Fake(lambda x: x.sum(axis=0), 50))


def test_labels_that_do_not_fit_are_refused_with_their_place() -> None:
    labels = np.where(np.arange(50) == 45, 4, LABELS)
    with pytest.raises(BadInput, match="arrays, item 40 to item 49: labels: class 4 is none of"):
        evaluate(Fake(batch=20), data={"x": LOGITS, "labels": labels})


def test_masks_without_any_class_are_refused() -> None:
    engine = Fake(batch=12)
    engine.package.manifest.inputs = (TensorEntry("x", "float32", (12, 2, 6, 6)),)
    data = {"x": np.ones((12, 2, 6, 6), np.float32), "labels": np.full((12, 6, 6), 255)}
    with pytest.raises(BadInput, match="miou of fake engine is nan: no label counts"):
        evaluate(engine, data=data, metric="miou")


@pytest.mark.parametrize(("folders", "listed", "refused"), [(4, False, False), (3, False, True), (3, True, False)])
def test_folders_are_numbered_only_if_each_class_has_one(
    tmp_path: Path, folders: int, listed: bool, refused: bool
) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in "abcd"[:folders]:
        (tmp_path / name).mkdir()
        image.fromarray(np.zeros((1, 4), np.uint8)).save(tmp_path / name / "0.png")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    engine = Fake(lambda x: x[:, 0, 0])
    engine.package.manifest.inputs = (TensorEntry("x", "float32", ("n", 1, 1, 4)),)
    labels = tmp_path / "names.txt" if listed else None
    if refused:
        with pytest.raises(BadInput, match=r"3 folders of images, and the output has 4 classes; list .* for labels"):
            evaluate(engine, data=tmp_path, labels=labels)
    else:
        assert evaluate(engine, data=tmp_path, labels=labels).items == folders


def test_packages_on_an_engine_and_against_each_other(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    first, second = dynamic_package(tmp_path / "a"), dynamic_package(tmp_path / "b")
    x = np.random.default_rng(2).normal(size=(9, 1, 8, 8)).astype(np.float32)
    found = rectexport.evaluate(first.path, {"x": x}, against=second.path, backend="onnxruntime,onnxruntime")
    (entry,) = found.engines  # named twice, run once
    assert found.reference is not None and str(second.path) in found.reference.description
    assert entry.against is not None and set(entry.against.regions) == {"corner", "edge", "interior"}
    assert all(worst.difference.relative_l2 == 0 for worst in entry.against.regions.values())
