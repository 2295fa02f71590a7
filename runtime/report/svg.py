"""Inline SVG, written with the standard library's ElementTree, which escapes texts and attributes."""

from __future__ import annotations

from xml.etree import ElementTree

from rectexport.runtime.report.text import short

Element = ElementTree.Element


def element(tag: str, /, *children: Element | str, **attributes: object) -> Element:
    """An SVG element. In attribute names, class_ means class and x_y means x-y; floats are rounded to 0.01."""
    named = {name.rstrip("_").replace("_", "-"): _value(value) for name, value in attributes.items()}
    made = ElementTree.Element(tag, named)
    for child in children:
        if isinstance(child, str):
            made.text = short(child)
        else:
            made.append(child)
    return made


def rendered(drawing: Element) -> str:
    """The element as markup."""
    return ElementTree.tostring(drawing, encoding="unicode")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
