"""`rectexport report PKG`: one page that says what a package is, and how far it can be trusted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rectexport.cli.command import AsJson, Command
from rectexport.cli.failure import reported, show_verdict

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def report(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(metavar="PKG", help="The folder of a package.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where it is written.")] = Path(
        "report.html"
    ),
    latency: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Latency as `rectexport bench` wrote it, instead of the package's."),
    ] = None,
    parity: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Parity as `rectexport parity` wrote it, instead of the package's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about a package: model, passes, parity by layer and region, latency, versions.

    The page loads nothing from elsewhere. It is made from the package's files, which are checked first; neither
    PyTorch nor ONNX is needed.

    **Exit codes**: 0 good · 1 bad input or package · 2 usage · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    again = ["rectexport", "report", *(context.obj or ())]
    with reported(again, as_json):
        from rectexport.runtime.package.folder import Package
        from rectexport.runtime.report import write_report

        opened = Package.open(package)
        opened.verify_files()
        write_report(opened, out, latency=latency, parity=parity)
    seconds = time.perf_counter() - begin
    console.print(f"{out} {out.stat().st_size / 1024:.1f} KiB", markup=False)
    show_verdict(console, True, seconds, again)
    if as_json:
        document = {"passed": True, "seconds": round(seconds, 3), "package": str(package), "report": str(out)}
        typer.echo(json.dumps(document, indent=2))
