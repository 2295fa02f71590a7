"""What is tried for each network: kinds of shapes, forms of rectification, precisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rectexport.exporter.base.options import Int8

#: "dynamic" frees batch, height and width; "batch" stands in for it where the network takes one size of image.
SHAPES = ("static", "dynamic")
#: "auto" folds the map where the size is fixed and computes it elsewhere, so "fold" is what it gives.
FORMS = ("auto", "graph", "plugin")
#: Options of the export. bf16 has an opset of its own, so it comes last: the others share a trace.
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp16": {"fp16": True},
    "int8": {"int8": Int8(None)},
    "int8+fp16": {"int8": Int8(None), "fp16": True},
    "bf16": {"bf16": True},
}
#: Name of the input of every network.
INPUT = "input"


@dataclass(frozen=True)
class Case:
    """One model file of one network."""

    shapes: str
    form: str
    precision: str

    @property
    def key(self) -> str:
        """As in "static auto fp16"."""
        return f"{self.shapes} {self.form} {self.precision}"


def cases(shapes: Sequence[str] = SHAPES, forms: Sequence[str] = FORMS) -> Iterator[Case]:
    """All cases, those that share a trace one after the other."""
    for kind in shapes:
        for precision in PRECISIONS:
            yield from (Case(kind, form, precision) for form in forms)
