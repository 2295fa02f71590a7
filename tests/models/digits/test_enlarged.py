"""The enlarged digits: fixed by a seed, in range, labelled as what they are made of."""

from __future__ import annotations

import numpy as np

from rectexport.models.digits.data import digits_split
from rectexport.models.digits.enlarged import enlarged


def test_copies_differ_and_are_the_same_for_a_seed() -> None:
    data = digits_split()
    images, labels = data.held_out_images[:6], data.held_out_labels[:6]
    found, named = enlarged(images, labels, 3, seed=1)
    assert found.shape == (18, 3, 16, 16) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    assert np.array_equal(named, np.concatenate([labels] * 3))
    assert np.array_equal(found, enlarged(images, labels, 3, seed=1)[0])
    assert len(np.unique(found.reshape(18, -1), axis=0)) == 18
    assert not np.array_equal(found, enlarged(images, labels, 3, seed=2)[0])


def test_a_digit_can_still_be_recognized() -> None:
    data = digits_split()
    found, labels = enlarged(data.held_out_images, data.held_out_labels, 4, seed=3)
    means = np.stack([found[labels == digit].mean(axis=0) for digit in range(10)])
    nearest = np.square(found[:300, None] - means).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert (nearest == labels[:300]).mean() > 0.5
