"""`rectexport doctor MODEL.onnx`: examine an ONNX file without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.base.environment import require

if TYPE_CHECKING:
    from rectexport.exporter.tools.doctor import Diagnosis

app = command_app()


@app.command(cls=Command)
def doctor(
    context: typer.Context,
    model: options.OnnxFile,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Examine an ONNX file without running it.

    Lists the rectified convolutions, even kernels and CReLUs in it, however they are written, and nodes that only look
    like them; says whether a simplifier has folded a rectification factor into channels, which changes the outputs
    and leaves the structure intact; and shows opset, dynamic dimensions and validity.

    It fails on a model that is broken or suspicious.
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        from rectexport.exporter.frontend.model_file import check_model_file

        check_model_file(model)
        for library in ("onnx", "onnx_graphsurgeon"):
            require(library)
        from rectexport.exporter.tools.doctor import diagnose, load_model

        found = diagnose(load_model(model))
    _show(run, model, found)
    run.end(found.as_dict(), code=0 if found.healthy else 1)


def _show(run: Run, path: Path, found: Diagnosis) -> None:
    run.say(f"{path}: opset {found.opset}, IR version {found.ir_version}, {found.nodes} nodes")
    for name, shape in found.inputs.items():
        run.say(f"input {name} {'x'.join(map(str, shape))}")
    run.say(f"dynamic: {', '.join(found.dynamic) or 'nothing'}")
    ours = ", ".join(f"{name} {count}" for name, count in found.operators.items())
    run.say(f"rectexport's operators: {ours or 'none'}")
    for entry in found.refusals:
        run.say(f"left alone: {entry.node}: {entry.reason}")
    for fault in found.faults:
        run.fault(fault, "invalid")
    for suspicion in found.suspicions:
        for reason in suspicion.evidence:
            run.fault(f"{suspicion.node}: {reason}", "suspicious")
    if found.suspicions:
        run.say(
            "A simplifier may have mistaken a rectification factor for a scale per channel (OnnxSlim 0.1.98 does where "
            "height or width equals the number of channels): export again and do not simplify, or compare with the "
            "original."
        )
