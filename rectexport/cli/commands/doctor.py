"""`rectexport doctor MODEL.onnx`: is this file what it should be?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rectexport.cli.command import AsJson, Command
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.texts import printable

if TYPE_CHECKING:
    from rectexport.exporter.tools.doctor import Diagnosis

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def doctor(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="An ONNX file, from rectexport or not.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Examine an ONNX file without running it.

    Says which of our operators it holds, however they are spelled, and what only looks like them; whether a
    simplifier has folded a rectification factor into channels, which breaks the model without a trace in its
    structure; opset, dynamic dimensions, validity.

    **Exit codes**: 0 healthy · 1 broken or suspicious, or not an ONNX file · 2 usage · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    again = ["rectexport", "doctor", *(context.obj or ())]
    with reported(again, as_json):
        from rectexport.exporter.frontend.model_file import check_model_file

        check_model_file(model)
        for library in ("onnx", "onnx_graphsurgeon"):
            require(library)
        from rectexport.exporter.tools.doctor import diagnose, load_model

        found = diagnose(load_model(model))
    _show(console, model, found)
    show_verdict(console, found.healthy, time.perf_counter() - begin, again)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    if not found.healthy:
        raise typer.Exit(1)


def _show(console: Console, path: Path, found: Diagnosis) -> None:
    lines = [f"{path}: opset {found.opset}, IR version {found.ir_version}, {found.nodes} nodes"]
    lines += [f"input {name} {'x'.join(map(str, shape))}" for name, shape in found.inputs.items()]
    lines += [f"dynamic: {', '.join(found.dynamic) or 'nothing'}"]
    ours = ", ".join(f"{name} {count}" for name, count in found.operators.items())
    lines += [f"operators of ours: {ours or 'none'}"]
    lines += [f"left alone: {entry.node}: {entry.reason}" for entry in found.refusals]
    lines += [f"invalid: {fault}" for fault in found.faults]
    for entry in found.suspicions:
        lines += [f"suspicious: {entry.node}: {reason}" for reason in entry.evidence]
    for line in lines:
        console.print(printable(line), markup=False)
    if found.suspicions:
        console.print(
            "A simplifier may have taken a rectification factor for a scale per channel (OnnxSlim 0.1.98 does where "
            "the plane is as wide or as high as it has channels): export again and do not simplify, or compare with "
            "the original.",
            markup=False,
        )
