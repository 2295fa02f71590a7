"""`rectexport sign PACKAGE --key KEY`: sign a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.signing import sign_package

app = command_app()


@app.command(cls=Command)
def sign(
    context: typer.Context,
    package: options.PackageFolder,
    key: Annotated[Path, options.key("The private key, from `rectexport keygen`.")],
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Sign a package, so that `rectexport.load(..., require_signature=KEY.pub)` can check who made it.

    Every file is compared with its hash first. The signature covers the manifest, which lists all hashes; a package
    that is changed later must be signed again.
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        written = sign_package(Package.open(package), key)
    run.say(str(written))
    run.end({"passed": True, "package": str(package), "signature": str(written)})
