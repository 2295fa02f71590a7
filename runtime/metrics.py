"""How far two tensors are apart: over all elements, and by region of the image plane."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
REGIONS = ("corner", "edge", "interior")


@dataclass(frozen=True)
class Difference:
    """Distances between an expected and an actual tensor of one shape.

    max_abs and relative_l2 are infinite where the two disagree about being finite. top1 is the share of
    rows whose largest entry has the same index, None for tensors without a class axis.
    """

    max_abs: float
    relative_l2: float
    cosine: float
    top1: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Plain values, for JSON."""
        return asdict(self)


def compare(expected: Array, actual: Array) -> Difference:
    """Distances in float64. Raises ValueError when the shapes differ."""
    wanted, got = _as_float64(expected, actual)
    sums = _Sums.of(wanted.reshape(1, -1, 1, 1), got.reshape(1, -1, 1, 1))
    return sums.difference(_top1(wanted, got))


def compare_regions(expected: Array, actual: Array, border: int = 1) -> tuple[Difference, dict[str, Difference]]:
    """`compare` for [N, C, H, W], and the same apart for corner, edge and interior pixels; absent regions are left out.

    A region's relative L2 divides by the larger of its own norm and the norm it would have at the
    tensor's mean energy, so that a corner that happens to be all zeros does not read as infinitely wrong.
    Raises ValueError when the shapes differ.
    """
    wanted, got = _as_float64(expected, actual)
    sums = _Sums.of(wanted, got)
    energy = float(sums.wanted.mean()) if sums.wanted.size else 0.0
    regions = {
        name: sums.within(mask).difference(floor=float(np.sqrt(energy * mask.sum())))
        for name, mask in region_masks(expected.shape[2], expected.shape[3], border).items()
        if mask.any()
    }
    return sums.difference(), regions


def region_masks(height: int, width: int, border: int = 1) -> dict[str, NDArray[np.bool_]]:
    """Boolean [H, W] masks: corner (near two sides), edge (near one side), interior (near none)."""
    rows, columns = _near_side(height, border)[:, None], _near_side(width, border)[None, :]
    return {"corner": rows & columns, "edge": rows ^ columns, "interior": ~(rows | columns)}


def _near_side(size: int, border: int) -> NDArray[np.bool_]:
    index = np.arange(size)
    return (index < border) | (index >= size - border)


def _as_float64(expected: Array, actual: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if expected.shape != actual.shape:
        raise ValueError(f"shapes differ: expected {expected.shape}, actual {actual.shape}")
    return np.asarray(expected, np.float64), np.asarray(actual, np.float64)


@dataclass(frozen=True)
class _Sums:
    """Per-pixel sums over batch and channels, [H, W] each, from which every distance follows in one pass."""

    error: NDArray[np.float64]
    wanted: NDArray[np.float64]
    got: NDArray[np.float64]
    product: NDArray[np.float64]
    largest: NDArray[np.float64]
    clash: NDArray[np.bool_]

    @classmethod
    def of(cls, wanted: NDArray[np.float64], got: NDArray[np.float64]) -> _Sums:
        clash = np.zeros(wanted.shape[2:], np.bool_)
        finite = np.isfinite(wanted) & np.isfinite(got)
        if not finite.all():
            same = finite | (wanted == got) | (np.isnan(wanted) & np.isnan(got))
            clash = ~same.all(axis=(0, 1))
            wanted, got = np.where(finite, wanted, 0.0), np.where(finite, got, 0.0)
        error = got - wanted
        return cls(
            error=_pixel_sums(error, error),
            wanted=_pixel_sums(wanted, wanted),
            got=_pixel_sums(got, got),
            product=_pixel_sums(wanted, got),
            largest=np.abs(error).max(axis=(0, 1), initial=0.0),
            clash=clash,
        )

    def within(self, mask: NDArray[np.bool_]) -> _Sums:
        """The sums of some pixels only."""
        return _Sums(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))

    def difference(self, top1: float | None = None, floor: float = 0.0) -> Difference:
        """Reduce to distances; `floor` is the smallest norm that relative L2 divides by."""
        if self.clash.any():
            return Difference(float("inf"), float("inf"), 0.0, top1)
        distance, norm, other = (float(np.sqrt(value.sum())) for value in (self.error, self.wanted, self.got))
        scale = max(norm, floor)
        relative = distance / scale if scale else (0.0 if distance == 0 else float("inf"))
        cosine = min(float(self.product.sum()) / (norm * other), 1.0) if norm and other else float(norm == other)
        return Difference(float(self.largest.max(initial=0.0)), relative, cosine, top1)


def _pixel_sums(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.einsum("nchw,nchw->hw", first, second)
    return sums


def _top1(wanted: NDArray[np.float64], got: NDArray[np.float64]) -> float | None:
    if wanted.ndim != 2 or wanted.shape[1] < 2 or wanted.shape[0] == 0:
        return None
    return float(np.mean(wanted.argmax(1) == got.argmax(1)))
