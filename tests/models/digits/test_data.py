"""The two fixed parts of the digits images."""

from __future__ import annotations

import numpy as np

from rectexport.models.digits.data import digits_split


def test_the_split_is_fixed_and_stratified() -> None:
    first, second = digits_split(), digits_split()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first.train_images.shape == (1198, 1, 8, 8) and first.held_out_images.shape == (599, 1, 8, 8)
    assert first.train_images.dtype == np.float32 and first.train_labels.dtype == np.int64
    assert first.train_images.min() == 0 and first.train_images.max() == 1
    assert np.ptp(np.bincount(first.held_out_labels)) <= 4
    together = np.concatenate([first.train_images, first.held_out_images]).reshape(1797, -1)
    assert len(np.unique(together, axis=0)) == 1797
