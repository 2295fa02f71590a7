"""What makes an engine's int8 unfit to be shipped."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.quantize.judging import faults, judge

RNG = np.random.default_rng(0)
EXPECTED = RNG.normal(size=(200, 4)) * 3
MEANT = EXPECTED + RNG.normal(size=EXPECTED.shape) * 0.03
LABELS = EXPECTED.argmax(axis=1)


def found(actual: np.ndarray, **options: object) -> list[str]:
    result = judge("openvino", [EXPECTED], [MEANT], [actual], LABELS, options.pop("in_float", ()))  # type: ignore[arg-type]
    meant = judge("q/dq", [EXPECTED], [MEANT], [MEANT], None, ()).snr
    return faults(result, meant, options.pop("min_snr", None))  # type: ignore[arg-type]


def test_an_engine_that_follows_the_nodes_has_none() -> None:
    assert found(MEANT) == [] and found(MEANT + 1e-4) == []


def test_an_engine_that_rounds_ties_otherwise_has_none() -> None:
    assert found(EXPECTED + 0.8 * (MEANT - EXPECTED) + RNG.normal(size=EXPECTED.shape) * 0.016) == []


@pytest.mark.parametrize("noise", [0.06, 1.0])
def test_an_engine_that_computes_something_else_is_found(noise: float) -> None:
    text = " ".join(found(MEANT + RNG.normal(size=EXPECTED.shape) * noise))
    assert "something else than the Q/DQ nodes say" in text


def test_layers_in_float_and_a_missed_bound_are_named() -> None:
    assert "2 quantized layers in float: a, b" in found(MEANT, in_float=["a", "b"])[0]
    assert "and 60 dB were asked for" in found(MEANT, min_snr=60)[0]


def test_a_flip_of_a_sure_class_is_named() -> None:
    actual = MEANT.copy()
    margins = np.sort(EXPECTED, axis=1)
    sure = int(np.argmax(margins[:, -1] - margins[:, -2]))
    actual[sure] = np.roll(actual[sure], 1)
    text = " ".join(found(actual))
    assert f"item {sure} of the hold-out" in text and "float is sure of" in text


def test_accuracy_and_agreement_are_described() -> None:
    text = judge("openvino", [EXPECTED], [MEANT], [MEANT], LABELS, ()).describe()
    assert "openvino in int8: " in text and "accuracy 100.00 % in float" in text and "% of the hold-out" in text
    wrong = judge("openvino", [EXPECTED], [MEANT], [MEANT], LABELS + 1, ())
    assert wrong.accuracy is None and "accuracy not measured: labels: class 4 is none of" in wrong.describe()
    unlabelled = judge("openvino", [EXPECTED], [MEANT], [MEANT], None, ())
    assert unlabelled.accuracy is None and "accuracy" not in unlabelled.describe()


def test_masks_are_judged_by_their_mean_iou() -> None:
    expected = RNG.normal(size=(12, 3, 6, 6)) * 3
    actual, masks = expected.copy(), expected.argmax(axis=1)
    actual[:, :, 0] = np.roll(actual[:, :, 0], 1, axis=1)
    result = judge("openvino", [expected], [actual], [actual], masks, ())
    assert result.accuracy is not None and result.interval is not None
    assert result.accuracy[0] == 100 and 60 < result.accuracy[1] < 90
    low, high = result.interval
    assert low <= result.accuracy[1] - 100 <= high < 0 and "mean IoU 100.00 % in float" in result.describe()
    few = judge("openvino", [expected[:4]], [actual[:4]], [actual[:4]], masks[:4], ())
    assert few.accuracy is None and "too few labelled items" in few.describe()


@pytest.mark.parametrize("answer", ["topk", "argmax"])
def test_answers_that_are_classes_are_compared_as_such(answer: str) -> None:
    best = np.argsort(-EXPECTED, axis=1)[:, :2]
    classes = best if answer == "topk" else best[:, 0]
    changed = classes.copy()
    changed[:50] = classes[:50] + 1
    scores = -np.sort(-EXPECTED, axis=1)[:, :2]
    before, after = ([scores, classes], [scores, changed]) if answer == "topk" else ([classes], [changed])
    result = judge("openvino", before, before, after, LABELS, (), answer)
    assert result.differences.agreement == 0.75
    assert result.accuracy is None and "not one number for each class" in result.unmeasured
    assert judge("openvino", before, before, before, LABELS, (), answer).differences.agreement == 1.0
