"""The template engine of the pages: it escapes every value that a template prints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectexport.runtime.report import text

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def rendered(template: str, view: Mapping[str, Any]) -> str:
    """A template of this package, filled with the values of `view`. Needs jinja2."""
    return environment().get_template(template).render(view)


@cache
def environment() -> Environment:
    """The engine with this package's templates and filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": text.number,
        "bound": text.bound,
        "ms": text.milliseconds,
        "decibels": text.decibels,
        "short": text.short,
        "sizes": text.sizes,
    }
    return environment


def _shown(value: Any) -> Any:
    """Applied to every expression of the template: escapes control characters in names."""
    return text.visible(value) if type(value) is str else value
