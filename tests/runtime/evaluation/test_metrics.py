"""The metrics: against scikit-learn where it has them, by hand elsewhere, and what each refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput, RectexportError, UsageError
from rectexport.runtime.evaluation.metrics import find_metric


def measured(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    metric = find_metric(name)
    return float(metric.value(metric.of_items(outputs, targets).mean(axis=0)))


@pytest.mark.parametrize(("name", "k"), [("top1", 1), ("top5", 5)])
def test_top_k_is_scikit_learns(name: str, k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(size=(300, 9)).astype(np.float32), generator.integers(0, 9, 300)
    expected = metrics.top_k_accuracy_score(targets, logits, k=k, labels=range(9))
    assert measured(name, logits, targets) == pytest.approx(100 * expected)


def test_of_equal_logits_the_first_is_the_largest() -> None:
    logits = np.zeros((2, 3), np.float32)
    assert measured("top1", logits, np.array([0, 1])) == 50


def test_miou_is_scikit_learns_without_unlabelled_pixels() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    logits, targets = generator.normal(size=(4, 3, 6, 5)), generator.integers(0, 3, (4, 6, 5))
    masked = targets.copy()
    masked[:, 0], masked[:, 1] = 255, -1
    seen = masked[:, 2:].ravel(), logits.argmax(axis=1)[:, 2:].ravel()
    assert measured("miou", logits, masked) == pytest.approx(100 * metrics.jaccard_score(*seen, average="macro"))


def test_miou_leaves_out_classes_that_do_not_occur() -> None:
    logits = np.zeros((1, 5, 2, 2))
    logits[:, 1] = 1
    assert measured("miou", logits, np.ones((1, 2, 2), np.int64)) == 100


def test_psnr_by_hand_and_capped_where_equal() -> None:
    pytest.importorskip("skimage")
    targets = np.full((2, 3, 12, 12), 0.5, np.float32)
    outputs = targets.copy()
    outputs[0] += 0.1
    metric = find_metric("psnr")
    assert metric.of_items(outputs, targets)[:, 0] == pytest.approx([20.0, 150.0], abs=1e-4)


def test_ssim_takes_bytes_and_planes_without_channels() -> None:
    pytest.importorskip("skimage")
    targets = np.random.default_rng(2).integers(0, 256, (2, 16, 16), np.uint8)
    outputs = (targets / 255).astype(np.float32)[:, None]
    assert measured("ssim", outputs, targets) == pytest.approx(1)
    assert measured("ssim", outputs[:, :, ::-1], targets) < 0.5


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "said"),
    [
        ("top1", np.zeros((1, 4)), np.array([4]), "class 4 is none of the output's 4 classes, 0..3"),
        ("top1", np.zeros((1, 4)), np.array([0.0]), "expected integers [N], got float64 [1]; cast them by .astype"),
        ("top1", np.zeros((3, 4)), np.eye(4)[:3], "got float64 [3, 4]; one number for each class becomes its index by"),
        ("top1", np.zeros((3, 4)), np.zeros((3, 1), int), "got int64 [3, 1]; take [:, 0] of them"),
        ("top1", np.zeros((1, 4, 2, 2)), np.array([0]), "needs [N, classes]"),
        ("top5", np.zeros((1, 5)), np.array([0]), "needs more than 5 classes"),
        ("miou", np.zeros((1, 4, 2, 3)), np.zeros((1, 3, 2), int), "labels are [3, 2], and the output's plane [2, 3]"),
        ("psnr", np.zeros((1, 3, 8, 8)), np.zeros((1, 1, 8, 8)), "expected pictures of the output's shape"),
        ("ssim", np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 8, 8)), "at least 11 by 11"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, outputs: np.ndarray, targets: np.ndarray, said: str) -> None:
    if name in ("psnr", "ssim"):
        pytest.importorskip("skimage")
    with pytest.raises(BadInput) as caught:
        measured(name, outputs, targets)
    assert said in str(caught.value)


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metric.py").write_text(
        "def good(outputs, targets):\n    return -abs(outputs[:, 0] - targets)\n"
        "def whole(outputs, targets):\n    return 1.0\n"
        "def broken(outputs, targets):\n    return outputs[:, 99]\n"
        "def empty(outputs, targets):\n    return [0.5, float('nan')]\n"
        "def leaves(outputs, targets):\n    raise SystemExit(0)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    outputs, targets = np.array([[1.0], [2.0]]), np.array([1.0, 4.0])
    assert measured("own_metric:good", outputs, targets) == -1
    for name, said in (
        ("own_metric:whole", "return one number for each item"),
        ("own_metric:broken", "failed with outputs [2, 1] and targets [2]: IndexError"),
        ("own_metric:empty", "returned nan for item 1 of 2; return finite numbers"),
        ("own_metric:leaves", "failed with outputs [2, 1] and targets [2]: SystemExit"),
        ("own_metric:number", "is a int, expected a function"),
        ("own_metric:absent", "has no attribute 'absent'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
    ):
        with pytest.raises(BadInput) as caught:
            measured(name, outputs, targets)
        assert said in str(caught.value), name


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one of top1, top5, miou, psnr, ssim, or module:function"):
        find_metric("f1")
    assert issubclass(UsageError, RectexportError)
