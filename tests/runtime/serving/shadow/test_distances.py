"""Distances by region: of floats and integers, of tensors without a plane, and of what is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.runtime.serving.shadow.distances import COLUMNS, distances


def of(wanted: np.ndarray, got: np.ndarray) -> dict[str, float]:
    return dict(zip(COLUMNS, distances({"y": wanted}, {"y": got}, ["y"])[0].tolist(), strict=True))


def test_a_fault_at_the_border_is_one_there_alone() -> None:
    wanted = np.random.default_rng(0).standard_normal((2, 3, 8, 9)).astype(np.float32)
    got = wanted.copy()
    got[:, :, 0, 1:-1] *= 1.01
    found = of(wanted, got)
    assert found["corner"] == found["interior"] == 0 and 0.002 < found["edge"] < 0.01 and found["all"] < found["edge"]


def test_integers_are_counted() -> None:
    wanted = np.zeros((1, 4, 5), np.int64)
    got = wanted.copy()
    got[0, 0, 0] = 7
    assert of(wanted, got) == {"all": 0.05, "corner": 0.25, "edge": 0.0, "interior": 0.0}


def test_without_a_plane_there_are_no_regions() -> None:
    found = of(np.ones((2, 5), np.float32), np.full((2, 5), 1.5, np.float32))
    assert found["all"] == pytest.approx(0.5) and np.isnan([found[name] for name in COLUMNS[1:]]).all()


def test_other_shapes_and_infinities_are_infinitely_far() -> None:
    assert of(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32))["all"] == np.inf
    assert of(np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32))["all"] == np.inf
    assert of(np.ones((0, 3), np.float32), np.ones((0, 3), np.float32))["all"] != 0  # nothing was compared
