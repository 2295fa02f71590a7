"""The two fixed parts of the digits images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rectexport.models.digits.data import digits_split, main


def test_the_split_is_fixed_and_stratified() -> None:
    first, second = digits_split(), digits_split()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first.train_images.shape == (1198, 1, 8, 8) and first.held_out_images.shape == (599, 1, 8, 8)
    assert first.train_images.dtype == np.float32 and first.train_labels.dtype == np.int64
    assert first.train_images.min() == 0 and first.train_images.max() == 1
    assert np.ptp(np.bincount(first.held_out_labels)) <= 4
    together = np.concatenate([first.train_images, first.held_out_images]).reshape(1797, -1)
    assert len(np.unique(together, axis=0)) == 1797


def test_both_parts_are_written(tmp_path: Path) -> None:
    main([str(tmp_path / "new/data")])
    split = digits_split()
    with np.load(tmp_path / "new/data/held-out.npz") as arrays:
        assert np.array_equal(arrays["x"], split.held_out_images)
        assert np.array_equal(arrays["labels"], split.held_out_labels)
    with np.load(tmp_path / "new/data/train.npz") as arrays:
        assert np.array_equal(arrays["x"], split.train_images)
