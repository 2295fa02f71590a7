"""Steps that move values and do not compute: joining, cutting, reordering, shapes computed from shapes."""

from __future__ import annotations

import numpy as np

from tests.differential.drawn.draft import Draft, Unfit, Value


def join(draft: Draft, value: Value) -> list[str]:
    """With another tensor along the channels, or with itself along any axis."""
    others = [
        other
        for other in draft.values
        if other.example.dtype == value.example.dtype
        and other.example.ndim == value.example.ndim
        and other.shape[:1] + other.shape[2:] == value.shape[:1] + value.shape[2:]
    ]
    if len(others) > 1 and draft.chance(0.7):
        return draft.add("Concat", [value.name, draft.pick(others).name], axis=1)
    return draft.add("Concat", [value.name, value.name], axis=draft.between(-1, value.example.ndim - 1))


def split(draft: Draft, value: Value) -> list[str]:
    axis = 1 if draft.open_sizes else draft.between(1, value.example.ndim - 1)
    size = value.shape[axis]
    if size < 2:
        raise Unfit
    first = draft.between(1, size - 1)
    if draft.opset >= 18 and draft.chance(0.3):
        return draft.add("Split", [value.name], 2, axis=axis, num_outputs=2)
    return draft.add("Split", [value.name, draft.store([first, size - first], "int64")], 2, axis=axis)


def cut(draft: Draft, value: Value) -> list[str]:
    axis = draft.between(0, value.example.ndim - 1)
    starts, ends, step = draft.pick(
        [(1, 2**31 - 1, 1), (0, -1, 1), (-1, -(2**31), -1), (0, 2**31 - 1, 2), (-2, 2**31 - 1, 1), (-2, 0, -2)]
    )
    numbers = [draft.store([entry], "int64") for entry in (starts, ends, axis, step)]
    return draft.add("Slice", [value.name, *numbers])


def reorder(draft: Draft, value: Value) -> list[str]:
    return draft.add("Transpose", [value.name], perm=draft.rng.permutation(value.example.ndim).tolist())


def swap_and_back(draft: Draft, value: Value) -> list[str]:
    """Channels last, one operation, channels first."""
    last = draft.one("Transpose", value.name, perm=[0, 2, 3, 1])
    scaled = draft.one("Mul", last, draft.store(draft.normal(value.shape[1])))
    return [draft.one("Transpose", scaled, perm=[0, 3, 1, 2])]


def gather(draft: Draft, value: Value) -> list[str]:
    axis = 1 if draft.open_sizes else draft.between(0, value.example.ndim - 1)
    size = value.shape[axis]
    index = draft.pick([np.int64(draft.between(-size, size - 1)), draft.rng.integers(-size, size, 3)])
    return draft.add("Gather", [value.name, draft.store(index, "int64")], axis=axis)


def gather_elements(draft: Draft, value: Value) -> list[str]:
    if draft.open_sizes:
        raise Unfit
    index = draft.rng.integers(0, value.shape[1], value.shape)
    return draft.add("GatherElements", [value.name, draft.store(index, "int64")], axis=1)


def flatten(draft: Draft, value: Value) -> list[str]:
    if draft.chance():
        return draft.add("Flatten", [value.name], axis=draft.between(0, value.example.ndim))
    return draft.add("Reshape", [value.name, draft.store([value.shape[0], -1], "int64")])


def regroup(draft: Draft, value: Value) -> list[str]:
    """A shuffle of channels: to groups, swapped, and back, with sizes that are read from the tensor."""
    if value.shape[1] % 2:
        raise Unfit
    sizes = draft.one("Shape", value.name)
    parts = [draft.one("Gather", sizes, draft.store([axis], "int64"), axis=0) for axis in range(4)]
    half = draft.one("Div", parts[1], draft.store([2], "int64"))
    wide = draft.one("Concat", parts[0], draft.store([2], "int64"), half, parts[2], parts[3], axis=0)
    swapped = draft.one("Transpose", draft.one("Reshape", value.name, wide), perm=[0, 2, 1, 3, 4])
    return [draft.one("Reshape", swapped, sizes)]


def crop_by_shape(draft: Draft, value: Value) -> list[str]:
    """The middle half of the plane: starts and ends computed from the shape."""
    sizes = draft.one("Slice", draft.one("Shape", value.name), *_numbers(draft, [2], [4]))
    quarter = draft.one("Div", sizes, draft.store([4], "int64"))
    end = draft.one("Sub", sizes, quarter)
    return draft.add("Slice", [value.name, quarter, end, draft.store([2, 3], "int64")])


def _numbers(draft: Draft, *lists: list[int]) -> list[str]:
    return [draft.store(entries, "int64") for entries in lists]


def widen(draft: Draft, value: Value) -> list[str]:
    """An axis of one, repeated."""
    if draft.chance():
        repeats = [1] * value.example.ndim
        repeats[draft.between(0, value.example.ndim - 1)] = 2
        return draft.add("Tile", [value.name, draft.store(repeats, "int64")])
    axis = draft.between(0, value.example.ndim)
    longer = draft.one("Unsqueeze", value.name, draft.store([axis], "int64"))
    shape = [1] * (value.example.ndim + 1)
    shape[axis] = 2
    return [draft.one("Expand", longer, draft.store(shape, "int64"))]


def triangle(draft: Draft, value: Value) -> list[str]:
    return draft.add("Trilu", [value.name], upper=draft.between(0, 1))


def scatter(draft: Draft, value: Value) -> list[str]:
    """One row replaced."""
    if draft.open_sizes:
        raise Unfit
    index = draft.store(np.full((value.shape[0], 1, *value.shape[2:]), draft.between(0, value.shape[1] - 1)), "int64")
    updates = draft.store(np.asarray(draft.normal(value.shape[0], 1, *value.shape[2:]) * 50, value.example.dtype))
    return draft.add("ScatterElements", [value.name, index, updates], axis=1)
