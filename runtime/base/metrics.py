"""Distances between two tensors: over all elements, and by region of the image plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
REGIONS = ("corner", "edge", "interior")
#: How many of a row's largest entries top-k agreement compares.
TOP_K = 5


@dataclass(frozen=True)
class Pixel:
    """One element: its index in the tensor, (n, c, h, w) in an image, and its expected and actual value."""

    index: tuple[int, ...]
    expected: float
    actual: float

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.index))}): expected {self.expected:.9g}, actual {self.actual:.9g}"


@dataclass(frozen=True)
class Difference:
    """Distances between an expected and an actual tensor of one shape.

    max_abs and relative_l2 are infinite if an element is finite in only one of the two. top1 is the share of rows whose
    largest entry has the same index; top5 is the mean share of the five largest entries' indices that both have. Both
    are None unless the tensor is [N, classes] with more classes than entries compared. worst is the element with the
    largest error, None if the tensors are equal; == between differences ignores it.
    """

    max_abs: float
    relative_l2: float
    cosine: float
    top1: float | None = None
    top5: float | None = None
    worst: Pixel | None = field(default=None, compare=False)

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio in decibels: the expected tensor's energy over the error's; inf if equal."""
        if self.relative_l2 == 0:
            return float("inf")
        return float(-20 * np.log10(self.relative_l2))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; some may be infinite."""
        return {**asdict(self), "snr_db": self.snr_db}


def compare(expected: Array, actual: Array) -> Difference:
    """Distances of two tensors of one shape and any dtype, in float64. Raises ValueError when the shapes differ."""
    wanted, got = _as_float64(expected, actual)
    sums = _Sums.of(wanted.reshape(1, -1, 1, 1), got.reshape(1, -1, 1, 1), wanted.shape)
    return sums.difference(top1=_top_agreement(wanted, got, 1), top5=_top_agreement(wanted, got, TOP_K))


def compare_regions(expected: Array, actual: Array, border: int = 1) -> tuple[Difference, dict[str, Difference]]:
    """`compare` for [N, C, H, W]: over the whole plane, and for corner, edge and interior pixels separately.

    [N, C, L] and [N, C, D, H, W] likewise: an edge is near one side along one axis, a corner along more.

    Regions without pixels are left out; border is their width in pixels. A region's relative L2 divides by the larger
    of its own norm and the norm it would have at the tensor's mean energy, so that a corner of zeros does not give an
    infinite error. Raises ValueError when the shapes differ.
    """
    wanted, got = _as_float64(expected, actual)
    sums = _Sums.of(wanted, got, wanted.shape)
    energy = float(sums.wanted.mean()) if sums.wanted.size else 0.0
    regions = {
        name: sums.within(mask).difference(floor=float(np.sqrt(energy * mask.sum())))
        for name, mask in region_masks(expected.shape[2:], border).items()
        if mask.any()
    }
    return sums.difference(), regions


def has_regions(array: Array) -> bool:
    """Whether `compare_regions` takes it: one, two or three axes behind rows and channels."""
    return 3 <= array.ndim <= 5


def region_masks(size: Sequence[int], border: int = 1) -> dict[str, NDArray[np.bool_]]:
    """Boolean masks over axes of `size`: corner (near a side along two axes or more), edge (one), interior (none)."""
    near = np.zeros((), np.int64)
    for length in size:
        near = np.add.outer(near, _near_side(length, border).astype(np.int64))
    return {"corner": near > 1, "edge": near == 1, "interior": near == 0}


def _near_side(size: int, border: int) -> NDArray[np.bool_]:
    index = np.arange(size)
    return (index < border) | (index >= size - border)


def _as_float64(expected: Array, actual: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if expected.shape != actual.shape:
        raise ValueError(f"shapes differ: expected {expected.shape}, actual {actual.shape}")
    return np.asarray(expected, np.float64), np.asarray(actual, np.float64)


@dataclass(frozen=True)
class _Sums:
    """Per-pixel sums over batch and channels, [H, W] each in an image; every distance is computed from them.

    largest is the pixel's largest error, infinite if an element is finite in only one of the two; pixel its index in
    the flattened plane. tensors are the errors, expected and actual values, [batch and channels, pixels] each.
    """

    error: NDArray[np.float64]
    wanted: NDArray[np.float64]
    got: NDArray[np.float64]
    product: NDArray[np.float64]
    largest: NDArray[np.float64]
    pixel: NDArray[np.int64]
    tensors: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, wanted: NDArray[np.float64], got: NDArray[np.float64], shape: tuple[int, ...]) -> _Sums:
        finite_wanted, finite_got = wanted, got
        with np.errstate(invalid="ignore"):  # inf - inf
            error = got - wanted
        size, plane = np.abs(error), wanted.shape[2:]
        depth, pixels = wanted.shape[0] * wanted.shape[1], math.prod(plane)
        largest = size.reshape(depth, pixels).max(axis=0, initial=0.0)
        if not np.isfinite(largest).all():
            finite = np.isfinite(wanted) & np.isfinite(got)
            same = finite | (wanted == got) | (np.isnan(wanted) & np.isnan(got))
            size = np.where(finite, size, np.where(same, 0.0, np.inf))
            finite_wanted, finite_got = np.where(finite, wanted, 0.0), np.where(finite, got, 0.0)
            error = finite_got - finite_wanted
            largest = size.reshape(depth, pixels).max(axis=0, initial=0.0)
        tensors = (size.reshape(depth, pixels), wanted.reshape(depth, pixels), got.reshape(depth, pixels))
        return cls(
            error=_pixel_sums(error, error),
            wanted=_pixel_sums(finite_wanted, finite_wanted),
            got=_pixel_sums(finite_got, finite_got),
            product=_pixel_sums(finite_wanted, finite_got),
            largest=largest.reshape(plane),
            pixel=np.arange(pixels).reshape(plane),
            tensors=tensors,
            shape=shape,
        )

    def within(self, mask: NDArray[np.bool_]) -> _Sums:
        """The sums of some pixels only."""
        names = ("error", "wanted", "got", "product", "largest", "pixel")
        maps = {name: getattr(self, name)[mask] for name in names}
        return replace(self, **maps)

    def difference(self, floor: float = 0.0, top1: float | None = None, top5: float | None = None) -> Difference:
        """Reduce to distances; `floor` is the smallest norm that relative L2 divides by."""
        worst = self._worst()
        max_abs = float(self.largest.max(initial=0.0))
        if np.isinf(max_abs):
            return Difference(float("inf"), float("inf"), 0.0, top1, top5, worst)
        distance, norm, other = (float(np.sqrt(value.sum())) for value in (self.error, self.wanted, self.got))
        scale = max(norm, floor)
        relative = distance / scale if scale else (0.0 if distance == 0 else float("inf"))
        cosine = min(float(self.product.sum()) / (norm * other), 1.0) if norm and other else float(norm == other)
        return Difference(max_abs, relative, cosine, top1, top5, worst)

    def _worst(self) -> Pixel | None:
        if not self.largest.any():
            return None
        pixel = int(self.pixel.flat[self.largest.argmax()])
        size, wanted, got = (array[:, pixel] for array in self.tensors)
        slot = int(size.argmax())
        index = np.unravel_index(slot * self.tensors[0].shape[1] + pixel, self.shape)
        return Pixel(tuple(int(i) for i in index), float(wanted[slot]), float(got[slot]))


def _pixel_sums(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.einsum("nc...,nc...->...", first, second)
    return sums


def _top_agreement(wanted: NDArray[np.float64], got: NDArray[np.float64], count: int) -> float | None:
    """Mean over the rows of the share of the `count` largest entries' indices that both tensors have."""
    if wanted.ndim != 2 or wanted.shape[1] <= count or wanted.shape[0] == 0:
        return None
    if count == 1:
        return float(np.mean(wanted.argmax(1) == got.argmax(1)))
    first, second = (np.argsort(-side, axis=1, kind="stable")[:, :count] for side in (wanted, got))
    return float(np.mean([len(np.intersect1d(*rows)) / count for rows in zip(first, second, strict=True)]))
