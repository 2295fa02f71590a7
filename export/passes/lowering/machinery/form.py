"""The parts of lowering: operators, the sites of a graph where they occur, and the forms that each can take.

A form is an exact rewrite of one site. It either refuses a site with a reason or may be applied to it. Leaving the
graph as it is written is always possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import onnx_graphsurgeon as gs

AS_WRITTEN = "as_written"


@dataclass(frozen=True)
class Shape:
    """The sizes that the cost of a site depends on.

    channels and outputs are those of the convolution that does most of the work, height and width those of its input.
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
        """The node by whose name the site is reported."""

    def shape(self) -> Shape | None:
        """What its cost depends on; None when that is unknown."""

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        """Every node whose cost a form may change."""


@dataclass(frozen=True)
class Form:
    """One way to compute an operator.

    refusal     the reason why the form does not fit a site, or None where it is exact
    apply       rewrites the site in place; its docstring gives the algebra: Given, Result, Not when
    estimate    cost relative to as written, where it is counted; None where it is measured
    targets     the only targets for which it is measured and taken; None for all
    refused_by  engines that cannot read a file with it
    """

    name: str
    refusal: Callable[[gs.Graph, Any], str | None]
    apply: Callable[[gs.Graph, Any], None]
    estimate: Callable[[Any], float] | None = None
    targets: tuple[str, ...] | None = None
    refused_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operator:
    """An operator that can be lowered: how to find its sites, and its forms besides as written."""

    name: str
    find: Callable[[gs.Graph], Iterator[Any]]
    forms: tuple[Form, ...]
