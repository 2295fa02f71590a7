"""`rectexport keygen KEY`: a key to sign packages with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rectexport.cli.command import Command
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.texts import printable
from rectexport.runtime.package.signing import generate_key

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def keygen(
    context: typer.Context,
    key: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes to KEY.pub.")],
) -> None:
    """Make an Ed25519 key. Keep KEY to yourself; give KEY.pub to those who load your packages.

    **Exit codes**: 0 good · 1 a file is there already · 2 usage · 5 cryptography is missing here
    """
    begin = time.perf_counter()
    console = Console(highlight=False)
    again = ["rectexport", "keygen", *(context.obj or ())]
    with reported(again, as_json=False):
        public = generate_key(key)
    for path, half in ((key, "private"), (public, "public")):
        console.print(f"{printable(str(path))} ({half})", markup=False, soft_wrap=True)
    show_verdict(console, True, time.perf_counter() - begin, again)
