"""The one protocol between a session and an inference engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class TensorSpec:
    """Name, numpy dtype name and shape of an input or output; a str or None in shape is a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Runner(Protocol):
    """An engine that holds one loaded model."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What run() takes, in the model's order."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What run() gives, in the model's order."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Infer once; feeds holds one array per input."""

    def close(self) -> None:
        """Free the engine; run() must not be called afterwards."""
