"""`rectexport ray-config PACKAGE...`: a serve.yaml for Ray Serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.commands.serve import parse_replicas

app = command_app()


@app.command(cls=Command)
def ray_config(
    context: typer.Context,
    packages: options.Packages,
    out: Annotated[Path, options.out("FILE", "The file to write.", show_default=True)] = Path("serve.yaml"),
    backend: options.Backend = options.DEFAULT_BACKEND,
    allow_unproven: options.AllowUnproven = False,
    host: options.Host = "127.0.0.1",
    port: Annotated[int, options.port("HTTP port of the proxies.", least=1)] = 8000,
    token_file: options.TokenFile = None,
    insecure: options.Insecure = False,
    max_batch: options.MaxBatch = None,
    replicas: options.Replicas = options.DEFAULT_REPLICAS,
    num_cpus: options.NumCpus = 1.0,
    num_gpus: options.NumGpus = 0.0,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a serve.yaml for `serve deploy`: the server of `rectexport serve`, with as many replicas as the load needs.

    The packages' paths, and the token file's, must be the same on every node.
    """
    run = Run(context, quiet=quiet, as_json=as_json)
    with run.reported():
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
            allow_unproven=allow_unproven,
            max_batch=max_batch,
            token_file=None if token_file is None else str(token_file.resolve()),
        )
        settings.check()
        check_reach(host, token=token_file is not None, insecure=insecure)
        text = serve_yaml(settings, host, port)
        with replaced_file(out) as work:
            work.write_text(text, encoding="utf-8")
    run.say(f"{out}: deploy it with: serve deploy {out}")
    run.end({"passed": True, "file": str(out), "packages": list(settings.packages)})
