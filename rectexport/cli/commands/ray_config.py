"""`rectexport ray-config PKG…`: a serve.yaml for Ray Serve."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rectexport.cli.command import Command
from rectexport.cli.commands.serve import parse_replicas
from rectexport.cli.failure import reported, show_verdict

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def ray_config(
    context: typer.Context,
    packages: Annotated[
        list[str],
        typer.Argument(metavar="PKG…", help="Packages, at paths that hold on every node.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where it is written.")] = Path("serve.yaml"),
    replicas: Annotated[str, typer.Option(help="Smallest and largest number of replicas.")] = "2..8",
    num_cpus: Annotated[float, typer.Option(help="Cores a replica reserves.", min=0)] = 1.0,
    num_gpus: Annotated[float, typer.Option(help="GPUs a replica reserves.", min=0)] = 0.0,
    backend: Annotated[str, typer.Option(metavar="NAME", help="Engine to run on.")] = "auto",
    max_batch: Annotated[
        int | None, typer.Option(help="Most rows of one run. [default: the package's, at most 64]", min=1)
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File on every node with the token that clients must send.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address of the proxies.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port.", min=1, max=65535)] = 8000,
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve beyond loopback without a token.")] = False,
) -> None:
    """Write a serve.yaml for `serve deploy`: the server of `rectexport serve`, in as many replicas as the load needs.

    **Exit codes**: 0 good · 1 a package cannot be read · 2 usage · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True)
    again = ["rectexport", "ray-config", *(context.obj or ())]
    with reported(again, False):
        from rectexport.runtime.base.files import replaced_file
        from rectexport.runtime.serving.ray.app import RaySettings
        from rectexport.runtime.serving.ray.host import check_reach, serve_yaml
        from rectexport.runtime.serving.served_packages import find_packages

        sources = find_packages(packages)
        settings = RaySettings(
            packages=tuple(f"{source.name}/{source.version}={source.path.resolve()}" for source in sources),
            replicas=parse_replicas(replicas),
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            backend=backend,
            max_batch=max_batch,
            token_file=None if token_file is None else str(token_file.resolve()),
        )
        settings.check()
        check_reach(host, token=token_file is not None, insecure=insecure)
        text = serve_yaml(settings, host, port)
        with replaced_file(out) as work:
            work.write_text(text, encoding="utf-8")
    console.print(f"{out}: deploy it with: serve deploy {out}", markup=False)
    show_verdict(console, True, time.perf_counter() - begin, again)
