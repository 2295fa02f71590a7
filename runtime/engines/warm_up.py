"""Warm-up at load: engines tune and allocate in the first runs, and no caller should wait for that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from rectexport.runtime.base.runner import Array, Runner
from rectexport.runtime.base.shapes import Shape, format_shape
from rectexport.runtime.package.manifest import Manifest, TensorEntry

#: The largest shape is run only if its inputs have at most this many elements (27 images of 3x224x224).
CHEAP_ELEMENTS = 2**22
#: Runs per shape: engines measure their buffers in the first and allocate them in the second.
RUNS = 2


def warm_up(runner: Runner, manifest: Manifest, progress: Callable[[str], None]) -> None:
    """Run on zeros of the usual shape, the smallest and, if cheap, the largest.

    A model with a dynamic size but no range is not run: the sizes it takes are unknown. Raises as the runner does.
    """
    cases = list(warm_up_shapes(manifest))
    for number, shapes in enumerate(cases, 1):
        text = ", ".join(f"{name} {format_shape(shape)}" for name, shape in shapes.items())
        progress(f"warming up at {text} ({number} of {len(cases)})")
        feeds = zeros(manifest, shapes)
        for _ in range(RUNS):
            runner.run(feeds)


def warm_up_shapes(manifest: Manifest) -> Iterator[dict[str, Shape]]:
    """The shapes to run, by input name: opt, then min and max if they differ from the ones before."""
    seen: list[dict[str, Shape]] = []
    for side in ("opt", "min", "max"):
        shapes = {entry.name: _shape(entry, side) for entry in manifest.inputs}
        known = {name: shape for name, shape in shapes.items() if shape is not None}
        elements = sum(math.prod(shape) for shape in known.values())
        if len(known) < len(shapes) or known in seen or (side == "max" and elements > CHEAP_ELEMENTS):
            continue
        seen.append(known)
        yield known


def zeros(manifest: Manifest, shapes: dict[str, Shape]) -> dict[str, Array]:
    """Zeros for every input, in the manifest's dtypes."""
    return {entry.name: np.zeros(shapes[entry.name], entry.dtype) for entry in manifest.inputs}


def _shape(entry: TensorEntry, side: str) -> Shape | None:
    if entry.range is not None:
        shape: Shape = getattr(entry.range, side)
        return shape
    sizes = [size for size in entry.shape if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(entry.shape) else None
