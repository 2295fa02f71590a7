"""Random graphs like those of convolutional networks: several operators each, one seed one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tests.differential.case import Array
from tests.differential.drawn import integers, maps, moves, windows
from tests.differential.drawn.draft import Draft, Value

Step = Callable[[Draft, Value], Sequence[str]]
OPSETS = (17, 18, 19, 20, 21)
#: What may follow a float tensor [N, C, H, W]; a step that stands twice is drawn twice as often.
MAP_STEPS: tuple[Step, ...] = (
    *(windows.convolution,) * 9,
    *(windows.pool,) * 3,
    *(windows.transposed, windows.pad, windows.resize) * 2,
    windows.global_pool,
    windows.resize_to_other,
    windows.depth_to_space,
    windows.sample,
    *(maps.activation, maps.normalization, maps.with_other, moves.join) * 2,
    maps.prelu,
    maps.product,
    maps.gram,
    maps.look_up,
    maps.to_integers,
    maps.with_constant,
    moves.split,
    moves.swap_and_back,
    moves.gather_elements,
    moves.regroup,
    moves.crop_by_shape,
    moves.scatter,
)
#: What may follow a float tensor of any rank from 2 on.
FLOAT_STEPS: tuple[Step, ...] = (
    maps.activation,
    maps.gelu,
    maps.clip,
    maps.softmax,
    maps.with_other,
    maps.power,
    maps.where,
    maps.reduction,
    maps.extreme,
    maps.top,
    maps.cumulative,
    maps.quantized,
    maps.narrow_float,
    moves.cut,
    moves.reorder,
    moves.gather,
    moves.flatten,
    moves.widen,
    moves.triangle,
)
INTEGER_STEPS: tuple[Step, ...] = (
    *(integers.arithmetic, integers.cast, integers.scaled) * 2,
    integers.with_other,
    integers.bits,
    integers.unary,
    integers.chain,
    integers.compare,
    integers.bounded,
    integers.reduction,
    windows.pad,
    moves.join,
    moves.cut,
    moves.reorder,
    moves.gather,
    moves.widen,
)
#: Attempts for one step of a graph: what is drawn may not fit.
ATTEMPTS = 12


@dataclass(frozen=True)
class Drawn:
    """A graph and its example inputs; sizes are (height, width) of other inputs that it takes, smallest first."""

    seed: int
    model: ModelProto
    feeds: dict[str, Array]
    sizes: tuple[tuple[int, int], ...]


def draw(seed: int) -> Drawn:
    """The graph of a seed."""
    rng = np.random.default_rng(seed)
    draft = Draft(rng, OPSETS[int(rng.integers(len(OPSETS)))], bool(rng.random() < 0.25))
    height, width = draft.between(5, 9), draft.between(5, 9)
    shape = (draft.between(1, 2), draft.between(1, 4), height, width)
    _inputs(draft, shape)
    wanted = draft.between(3, 8)
    for _ in range(wanted):
        _grow(draft)
    model = draft.model()
    used = {value.name for value in model.graph.input}
    feeds = {value.name: value.example for value in draft.inputs if value.name in used}
    sizes = ((height, width), (height + 3, width + 2), (height + 4, width + 7)) if draft.open_sizes else ()
    return Drawn(seed, model, feeds, sizes)


def _inputs(draft: Draft, shape: tuple[int, ...]) -> None:
    kind = draft.pick([*["float"] * 5, "image", "both", "integers"])
    if kind != "image" and kind != "integers":
        draft.input(draft.normal(*shape))
    if kind != "float":
        dtype = "uint8" if kind == "image" else draft.pick(integers.DTYPES)
        draft.input(draft.rng.integers(0, 100, shape).astype(dtype))


def _grow(draft: Draft) -> None:
    for _ in range(ATTEMPTS):
        recent = draft.values[-3:] if draft.chance(0.8) else draft.values
        value = draft.pick(recent)
        if draft.step(draft.pick(_fitting(draft, value)), value):
            return


def _fitting(draft: Draft, value: Value) -> Sequence[Step]:
    if value.example.dtype.kind in "iu":
        return INTEGER_STEPS
    if value.is_map:
        return MAP_STEPS if draft.chance(0.8) else FLOAT_STEPS
    return FLOAT_STEPS
