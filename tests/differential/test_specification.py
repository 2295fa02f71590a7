"""The operators that replace onnx.reference's, against ONNX Runtime and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator

pytest.importorskip("openvino")

from tests.differential.case import single
from tests.differential.engines import difference, onnxruntime_plain
from tests.differential.operators import normal
from tests.differential.specification import answer, exact_answer

X = normal(2, 4, 7, 8)
PADS = {"pads": [0, 1, 2, 1]}
POOLS: list[dict[str, Any]] = [
    {},
    PADS,
    {"strides": [3, 2], "ceil_mode": 1},
    {**PADS, "strides": [3, 3], "ceil_mode": 1},
    {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID", "strides": [2, 1]},
]


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("options", POOLS)
def test_pools(operator: str, options: dict[str, Any]) -> None:
    case = single("", operator, [X], kernel_shape=[3, 3], **options)
    _agrees(case)


def test_means_with_padding_and_dilations() -> None:
    for more in ({}, {"ceil_mode": 1, "strides": [2, 3]}, {"dilations": [2, 1]}):
        _agrees(single("", "AveragePool", [X], kernel_shape=[3, 3], count_include_pad=1, **PADS, **more))
    _agrees(single("", "MaxPool", [X], kernel_shape=[3, 2], dilations=[2, 3], **PADS))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_normalization(size: int) -> None:
    case = single("", "LRN", [X], size=size, alpha=0.3, beta=0.6, bias=1.5)
    _agrees(case)
    expected = torch.nn.functional.local_response_norm(torch.from_numpy(X), size, 0.3, 0.6, 1.5).numpy()
    exact = exact_answer(case.model, case.feeds)
    assert exact is not None and exact[0].dtype == np.float64
    assert not difference([expected], [exact[0].astype(np.float32)])


@pytest.mark.parametrize(("groups", "more"), [(1, {}), (2, {"output_padding": [1, 0]}), (4, {"dilations": [2, 1]})])
def test_transposed_convolutions(groups: int, more: dict[str, Any]) -> None:
    stored = {1: normal(4, 6 // groups if groups < 4 else 1, 2, 3, seed=1)}
    stored[2] = normal(stored[1].shape[1] * groups, seed=2)
    _agrees(single("", "ConvTranspose", [X], stored, group=groups, strides=[2, 2], pads=[0, 1, 1, 0], **more))


def test_they_are_still_needed() -> None:
    """Where the reference has been mended, its operator goes from the list."""
    weight = {1: normal(4, 1, 2, 2), 2: normal(4)}
    for case in (
        single("", "LRN", [normal(1, 4, 3, 3)], size=3, alpha=0.5),
        single("", "LpPool", [X], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        single("", "MaxPool", [X], kernel_shape=[3, 3], pads=[0, 1, 2, 1]),
        single("", "ConvTranspose", [X], weight, group=4),
        single("", "AveragePool", [X], kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1),
    ):
        expected = onnxruntime_plain(case.model, case.feeds)
        plain = [np.asarray(value) for value in ReferenceEvaluator(case.model).run(None, dict(case.feeds))]
        assert difference(expected, plain), case.name


def _agrees(case: Any) -> None:
    expected = answer(case.model, case.feeds)
    assert expected is not None, case.name
    said = difference(expected, onnxruntime_plain(case.model, case.feeds))
    assert not said, f"{case.name}: {said}"
