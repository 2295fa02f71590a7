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
            help="Document from `rectexport profile -o`: the time of each module and node.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="FILE",
            help="Document from `rectexport eval --json`: accuracy, and a real input with its answer.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="PACKAGE",
            help="Compare with this package instead: figures, facts, modules and operators side by side.",
            show_default=False,
            rich_help_panel=options.REFERENCE,
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write one HTML page about a package: speed, size, accuracy, the network by module, borders, proofs, rewrites.

    The page loads nothing from the network. It is made from the package's files, which are checked first; neither
    PyTorch nor ONNX is needed.

    **Examples**

    - `rectexport report out/net --latency latency.json --layer-times profile.json --eval eval.json`
    - `rectexport report out/net-int8 --against out/net -o comparison.html`
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        from rectexport.runtime.package.folder import Package
        from rectexport.runtime.report import Documents, write_comparison, write_report

        opened = Package.open(package)
        opened.verify_files()
        documents = Documents(latency, parity, profile, evaluation)
        if against is None:
            write_report(opened, out, documents=documents)
        else:
            other = Package.open(against)
            other.verify_files()
            write_comparison(opened, other, out, documents)
    run.say(f"{out} {out.stat().st_size / 1024:.1f} KiB")
    run.end({"passed": True, "seconds": round(run.seconds, 3), "package": str(package), "report": str(out)})
