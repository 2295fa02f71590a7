"""The classification extension, as Triton answers it."""

from __future__ import annotations

import numpy as np

from rectexport.runtime.serving.classes import as_bytes, top_classes


def test_each_row_has_its_largest_values_first() -> None:
    logits = np.array([[0.5, 2.25, -1], [3, 1, 3]], np.float32)
    assert top_classes(logits, 2, True).tolist() == [["2.250000:1", "0.500000:0"], ["3.000000:0", "3.000000:2"]]
    assert top_classes(logits, 9, True).shape == (2, 3)


def test_without_a_batch_all_values_are_one_row() -> None:
    counts = np.array([[4, 9], [200, 1]], np.uint8)
    assert top_classes(counts, 2, False).tolist() == ["200:2", "9:1"]
    assert top_classes(np.float32(0.5), 3, False).tolist() == ["0.500000:0"]


def test_texts_follow_their_lengths() -> None:
    assert as_bytes(np.array([["1:0", "10:1"]], object)) == b"\3\0\0\x001:0\4\0\0\x0010:1"
