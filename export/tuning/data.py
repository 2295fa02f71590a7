"""Splits labelled data: one part calibrates int8, the other judges accuracy; no item does both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.evaluation.examples import LABELS, open_examples
from rectexport.runtime.package.manifest import TensorEntry

CALIBRATE, JUDGE = "calibrate.npz", "judge.npz"
#: Share of the items that calibrate, and the most of them: an export takes 256, and holds out a quarter.
SHARE, MOST = 0.25, 342
ROWS = 64


def split_data(
    data: Any, labels: Any, scaling: ImageScaling, entries: Sequence[TensorEntry], folder: Path, seed: int
) -> tuple[Path, Path]:
    """Write the two parts as .npz files into the folder, drawn by the seed; files that are there are kept.

    Raises BadInput for data that the model does not take.
    """
    paths = folder / CALIBRATE, folder / JUDGE
    if all(path.is_file() for path in paths):
        return paths
    examples = open_examples(data, entries, labels, scaling)
    order = np.random.default_rng(seed).permutation(len(examples))
    count = min(int(SHARE * len(examples)), MOST)
    calibrating = np.zeros(len(examples), bool)
    calibrating[order[:count]] = True
    parts: list[list[dict[str, Any]]] = [[], []]
    place = 0
    for batch in examples.batches(ROWS):
        rows = calibrating[place : place + len(batch.names)]
        place += len(batch.names)
        arrays = {**batch.feeds, **({LABELS: batch.targets} if batch.targets is not None else {})}
        for part, chosen in zip(parts, (rows, ~rows), strict=True):
            part.append({name: array[chosen] for name, array in arrays.items()})
    for path, part in zip(paths, parts, strict=True):
        joined = {name: np.concatenate([entry[name] for entry in part]) for name in part[0]}
        with replaced_file(path) as work, work.open("wb") as stream:
            np.savez(stream, **joined)  # type: ignore[arg-type]
    return paths
