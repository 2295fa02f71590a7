"""`rectexport sign PACKAGE --key KEY`: put your name to a package."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rectexport.cli.command import AsJson, Command
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.texts import printable
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.signing import sign_package

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def sign(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(help="The folder of a package.", show_default=False)],
    key: Annotated[Path, typer.Option(metavar="FILE", help="A private Ed25519 key, from `rectexport keygen`.")],
    as_json: AsJson = False,
) -> None:
    """Sign a package, so that `rectexport.load(..., require_signature=KEY.pub)` knows that it is yours.

    Every file is compared with its hash first. The signature covers the manifest, which has all hashes; a package
    that is changed later must be signed again.

    **Exit codes**: 0 signed · 1 not a whole package, or not a key · 2 usage · 5 cryptography is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False)
    again = ["rectexport", "sign", *(context.obj or ())]
    with reported(again, as_json):
        written = sign_package(Package.open(package), key)
    console.print(printable(str(written)), markup=False, soft_wrap=True)
    show_verdict(console, True, time.perf_counter() - begin, again)
    if as_json:
        typer.echo(json.dumps({"passed": True, "package": str(package), "signature": str(written)}, indent=2))
