"""`rectexport serve PKG…`: packages behind the Open Inference Protocol v2."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rectexport.cli.command import AsJson, Command
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.errors import UsageError

if TYPE_CHECKING:
    from rectexport.runtime.serving.log import Log

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

_LIMITS, _RAY = "Limits", "Ray Serve"


@app.command(cls=Command)
def serve(
    context: typer.Context,
    packages: Annotated[
        list[str],
        typer.Argument(
            metavar="PKG…",
            help="Packages, as PKG, NAME=PKG or NAME/VERSION=PKG, or folders of a Triton repository.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="Address; others than loopback need a token or --insecure.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port; 0 takes a free one.", min=0, max=65535)] = 8000,
    grpc_port: Annotated[int, typer.Option(help="gRPC port; -1 for none.", min=-1, max=65535)] = 8001,
    max_batch: Annotated[
        int | None, typer.Option(help="Most rows of one run. [default: the package's, at most 64]", min=1)
    ] = None,
    max_delay_us: Annotated[
        int, typer.Option(help="Longest wait for company while requests come in; 0 for none.", min=0)
    ] = 500,
    instances: Annotated[int, typer.Option(help="Worker processes for each model.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="Engine threads a worker; 0 shares the cores out.", min=0)] = 0,
    backend: Annotated[str, typer.Option(metavar="NAME", help="Engine to run on.")] = "auto",
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run models in threads of the server: nothing outlives a crash.")
    ] = False,
    repository_api: Annotated[
        bool, typer.Option("--repository-api", help="Let clients load and unload the models named here.")
    ] = False,
    token_file: Annotated[Path | None, typer.Option(help="File with the token that clients must send.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve beyond loopback without a token.")] = False,
    max_body_mb: Annotated[int, typer.Option(help="Largest body, in MiB.", min=1, rich_help_panel=_LIMITS)] = 64,
    max_requests: Annotated[int, typer.Option(help="Requests at a time.", min=1, rich_help_panel=_LIMITS)] = 2048,
    max_queue: Annotated[int, typer.Option(help="Requests waiting a model.", min=1, rich_help_panel=_LIMITS)] = 1024,
    deadline_s: Annotated[
        float, typer.Option(help="Longest time to an answer.", min=0.001, rich_help_panel=_LIMITS)
    ] = 30.0,
    run_s: Annotated[
        float, typer.Option(help="Longest run; the worker is then replaced.", min=0.01, rich_help_panel=_LIMITS)
    ] = 60.0,
    receive_s: Annotated[
        float, typer.Option(help="Longest time for a request to arrive.", min=0.1, rich_help_panel=_LIMITS)
    ] = 30.0,
    drain_s: Annotated[
        float, typer.Option(help="Longest time to finish after SIGTERM.", min=1, rich_help_panel=_LIMITS)
    ] = 30.0,
    ray: Annotated[bool, typer.Option("--ray", help="As a Ray Serve application.", rich_help_panel=_RAY)] = False,
    address: Annotated[
        str | None, typer.Option(help="Ray to join, as auto. [default: one of this machine]", rich_help_panel=_RAY)
    ] = None,
    replicas: Annotated[str, typer.Option(help="Smallest and largest number.", rich_help_panel=_RAY)] = "2..8",
    num_cpus: Annotated[float, typer.Option(help="Cores a replica reserves.", min=0, rich_help_panel=_RAY)] = 1.0,
    num_gpus: Annotated[float, typer.Option(help="GPUs a replica reserves.", min=0, rich_help_panel=_RAY)] = 0.0,
    log_requests: Annotated[bool, typer.Option("--log-requests", help="A log line for every request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve packages over HTTP and gRPC: Open Inference Protocol v2, as Triton and KServe speak it.

    A model is ready when its worker has answered the package's goldens as the reference does. SIGTERM finishes what
    was begun. Logs are JSON lines on stderr.

    **Exit codes**: 0 stopped in order · 1 a package or an address cannot be used · 2 usage · 5 something is missing
    """
    begin = time.perf_counter()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    again = ["rectexport", "serve", *(context.obj or ())]
    with reported(again, as_json):
        from rectexport.runtime.serving.sources import find_sources

        find_sources(packages)  # a wrong path is refused before the server's libraries are imported
        from rectexport.runtime.serving.limits import Limits
        from rectexport.runtime.serving.log import Log
        from rectexport.runtime.serving.server import Settings, read_token, run

        log = Log(requests=log_requests)
        if ray:
            on_ray = {
                "packages": tuple(packages),
                "replicas": parse_replicas(replicas),
                "num_cpus": num_cpus,
                "num_gpus": num_gpus,
                "backend": backend,
                "max_batch": max_batch,
                "max_delay_us": max_delay_us,
                "threads": threads or 1,
                "deadline_s": deadline_s,
                "token_file": None if token_file is None else str(token_file.resolve()),
            }
            _run_on_ray(on_ray, host, port, address, insecure, log)
            raise typer.Exit(0)
        limits = Limits(
            body=max_body_mb << 20,
            requests=max_requests,
            queue=max_queue,
            deadline=deadline_s,
            run=run_s,
            receive=receive_s,
            drain=drain_s,
            max_delay=max_delay_us * 1e-6,
        )
        settings = Settings(
            host=host,
            port=port,
            grpc_port=None if grpc_port < 0 else grpc_port,
            backend=backend,
            max_batch=max_batch,
            instances=instances,
            threads=threads,
            in_process=in_process,
            repository_api=repository_api,
            token=None if token_file is None else read_token(token_file),
            insecure=insecure,
            limits=limits,
        )
        answered = run(packages, settings, log)
    seconds = time.perf_counter() - begin
    show_verdict(console, True, seconds, again, f"{answered} requests answered ")
    if as_json:
        typer.echo(json.dumps({"passed": True, "answered": answered, "seconds": round(seconds, 3)}))


def parse_replicas(text: str) -> tuple[int, int]:
    """2..8, or one number for both; raises UsageError."""
    low, dots, high = text.partition("..")
    numbers = (low, high) if dots else (low, low)
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(f"--replicas {text!r}: expected a number, or two as in 2..8")
    return int(numbers[0]), int(numbers[1])


def _run_on_ray(options: dict[str, Any], host: str, port: int, address: str | None, insecure: bool, log: Log) -> None:
    from rectexport.runtime.serving.ray.app import RaySettings
    from rectexport.runtime.serving.ray.host import run_on_ray

    run_on_ray(RaySettings(**options), host, port, address=address, insecure=insecure, log=log)
