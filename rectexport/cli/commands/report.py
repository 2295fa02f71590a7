"""`rectexport report PACKAGE`: a one-page report about a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app

app = command_app()


@app.command(cls=Command)
def report(
    context: typer.Context,
    package: options.PackageFolder,
    out: Annotated[Path, options.out("FILE", "The page.", show_default=True)] = Path("report.html"),
    latency: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Latency document from `rectexport bench -o`, instead of the package's.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    parity: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parity document from `rectexport parity --json`, instead of the package's.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--layer-times",
            metavar="FILE",
            help="Document from `rectexport profile -o`, drawn as an icicle plot.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write one HTML page about a package: model, passes, parity by layer and region, latency, profile,
    versions.

    The page loads nothing from the network. It is made from the package's files, which are checked first; neither
    PyTorch nor ONNX is needed.
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        from rectexport.runtime.package.folder import Package
        from rectexport.runtime.report import write_report

        opened = Package.open(package)
        opened.verify_files()
        write_report(opened, out, latency=latency, parity=parity, profile=profile)
    run.say(f"{out} {out.stat().st_size / 1024:.1f} KiB")
    run.end({"passed": True, "seconds": round(run.seconds, 3), "package": str(package), "report": str(out)})
