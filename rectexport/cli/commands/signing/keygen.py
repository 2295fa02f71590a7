"""`rectexport keygen KEY`: a key pair to sign packages with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.package.signing import generate_key

app = command_app()


@app.command(cls=Command)
def keygen(
    context: typer.Context,
    key: Annotated[
        Path,
        typer.Argument(
            metavar="KEY", help="File for the private key; KEY.pub gets the public key.", show_default=False
        ),
    ],
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Make an Ed25519 key pair. Keep KEY secret; give KEY.pub to those who load your packages.

    An existing file is never replaced.
    """
    run = Run(context, quiet=quiet, as_json=as_json)
    with run.reported():
        public = generate_key(key)
    for path, half in ((key, "private"), (public, "public")):
        run.say(f"{path} ({half})")
    run.end({"passed": True, "private": str(key), "public": str(public)})
