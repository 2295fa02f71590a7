"""The page of an evaluation: each engine's figures, and the worst items with pictures of what the model saw.

As the report of a package it is one file without scripts; its pictures are data within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.pictures import pixels, png_address
from rectexport.runtime.base.runner import Array
from rectexport.runtime.evaluation.evaluate import Answers, Evaluation
from rectexport.runtime.package.folder import check_outside
from rectexport.runtime.report.template import environment


@dataclass(frozen=True)
class Worst:
    """An item on the page: what is wrong with it, and its picture as a data address, empty where there is none."""

    item: str
    told: str
    picture: str


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write the page to `out`, which is replaced atomically.

    Raises UsageError for an `out` inside a package, MissingDependency without jinja2.
    """
    require("jinja2")
    check_outside(out)
    view = {
        "evaluation": evaluation,
        "models": [*([evaluation.reference] if evaluation.reference else []), *evaluation.engines],
        "worst": {entry.description: worst_items(entry, evaluation.pictures) for entry in evaluation.engines},
    }
    page = environment().get_template("evaluation.html.j2").render(view)
    with replaced_file(out) as work:
        work.write_text(page, encoding="utf-8")


def worst_items(answers: Answers, pictures: Mapping[str, Array]) -> list[Worst]:
    """The items of an engine that have pictures, the worst first."""
    told = {} if answers.against is None else answers.against.worst()
    return [Worst(item, text, picture(pictures[item])) for item, text in told.items() if item in pictures]


def picture(array: Array) -> str:
    """An input as the data address of a PNG file, its values stretched to 0..255; empty where it is no image."""
    found = pixels(array)
    return "" if found is None else png_address(found)
