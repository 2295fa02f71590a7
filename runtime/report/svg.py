"""Inline SVG, written by the standard library, which escapes what it is given."""

from __future__ import annotations

from xml.etree import ElementTree

from rectexport.runtime.report.text import short

Element = ElementTree.Element


def element(tag: str, /, *children: Element | str, **attributes: object) -> Element:
    """An element; class_ is its class, x_y is spelled x-y, numbers are rounded to a hundredth."""
    named = {name.rstrip("_").replace("_", "-"): _value(value) for name, value in attributes.items()}
    made = ElementTree.Element(tag, named)
    for child in children:
        if isinstance(child, str):
            made.text = short(child)
        else:
            made.append(child)
    return made


def rendered(drawing: Element) -> str:
    """The markup."""
    return ElementTree.tostring(drawing, encoding="unicode")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
