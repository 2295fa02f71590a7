"""What an engine reports about one launch: its layers in the order in which they run, with their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Where a conversion of layouts belongs: to the layer after it, or to the layer before it.
NEXT, PREVIOUS = "next", "previous"


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    name      as the engine calls it
    kind      operator or implementation, as the engine calls it
    anchors   names of ONNX nodes or tensors that the engine gives for it, most telling first
    seconds   mean time of one run
    dispatch  the part of it that the engine needs to get to the layer; 0 where it does not say
    reorder   NEXT or PREVIOUS for a conversion between layouts, which computes nothing; "" for any other layer
    inputs, outputs  elements of its tensors, constants included; None where the engine does not say
    traffic   bytes that it reads and writes; None where the engine does not say
    stored    bytes of its outputs; None where the engine does not say
    """

    name: str
    kind: str
    anchors: tuple[str, ...]
    seconds: float
    reorder: str = ""
    dispatch: float = 0.0
    inputs: tuple[int, ...] | None = None
    outputs: tuple[int, ...] | None = None
    traffic: int | None = None
    stored: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> EngineLayer:
        """The inverse of as_dict."""
        pairs: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
        }
        return cls(**pairs)


@dataclass(frozen=True)
class Sampled:
    """One launch of an engine.

    description  the engine, its version and where it runs
    runs         how many runs the times are the mean of
    wall         seconds of one run, as the caller sees it, with the engine's own profiling on
    outside      seconds of one run that are known to be no layer's, by what they are: "transfers"
    arena        bytes that the engine's allocator holds at most; None where the engine does not say
    """

    description: str
    runs: int
    wall: float
    layers: Sequence[EngineLayer]
    outside: Mapping[str, float] = field(default_factory=dict)
    arena: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "layers": [layer.as_dict() for layer in self.layers], "outside": dict(self.outside)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Sampled:
        """The inverse of as_dict."""
        return cls(**{**entry, "layers": [EngineLayer.from_dict(layer) for layer in entry["layers"]]})
