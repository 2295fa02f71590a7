"""What lowering is made of: operators that occur at sites of a graph, and the forms each can take.

A form is an exact rewrite of one site. The first form of an operator leaves the graph as it is written; every
other either refuses a site with a reason or may be applied to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import onnx_graphsurgeon as gs

AS_WRITTEN = "as_written"


@dataclass(frozen=True)
class Shape:
    """What the cost of a site depends on.

    channels and outputs are those of the convolution whose work dominates; height and width those of its input.
    Sizes that the graph leaves open are 0.
    """

    batch: int
    channels: int
    outputs: int
    height: int
    width: int
    kernel: int
    stride: int
    groups: int
    dtype: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Site(Protocol):
    """One occurrence of an operator; the graph around it may change until a form is applied."""

    @property
    def node(self) -> gs.Node:
        """The node that the operator is known by."""

    def shape(self) -> Shape | None:
        """What its cost depends on; None when it cannot be told."""

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        """Every node whose cost a form may change."""


@dataclass(frozen=True)
class Form:
    """One way to compute an operator.

    refusal   why the form does not fit a site, or None where it is exact
    apply     rewrites the site in place
    estimate  cost relative to as written, where counting decides it; None leaves it to measurements
    """

    name: str
    refusal: Callable[[gs.Graph, Any], str | None]
    apply: Callable[[gs.Graph, Any], None]
    estimate: Callable[[Any], float] | None = None


@dataclass(frozen=True)
class Operator:
    """An operator that can be lowered: where it occurs, and its forms besides as written."""

    name: str
    find: Callable[[gs.Graph], Iterator[Any]]
    forms: tuple[Form, ...]
