"""`rectexport serve PACKAGE...`: serve packages with the Open Inference Protocol v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.errors import UsageError

if TYPE_CHECKING:
    from rectexport.runtime.serving.log import Log

app = command_app()

LIMITS, RAY = "Limits", "Ray Serve"


def _limit(help: str, **settings: Any) -> Any:
    return typer.Option(help=help, metavar="N", rich_help_panel=LIMITS, **settings)


@app.command(cls=Command)
def serve(
    context: typer.Context,
    packages: options.Packages,
    host: options.Host = "127.0.0.1",
    port: Annotated[int, options.port("HTTP port; 0 takes a free one.", least=0)] = 8000,
    grpc_port: Annotated[
        int,
        typer.Option(metavar="N", help="gRPC port; -1 for none.", min=-1, max=65535, rich_help_panel=options.SERVER),
    ] = 8001,
    token_file: options.TokenFile = None,
    insecure: options.Insecure = False,
    instances: options.Instances = 1,
    max_batch: options.MaxBatch = None,
    max_delay_us: options.MaxDelay = options.DEFAULT_DELAY_US,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process",
            help="Run models in threads of the server, not in worker processes: an engine crash ends the server.",
            rich_help_panel=options.SERVER,
        ),
    ] = False,
    repository_api: Annotated[
        bool,
        typer.Option(
            "--repository-api",
            help="Let clients load and unload the models named here.",
            rich_help_panel=options.SERVER,
        ),
    ] = False,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page",
            help="Show the models at http://HOST:PORT/, with a form to try them.",
            rich_help_panel=options.SERVER,
        ),
    ] = True,
    shadow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="Send the same requests to this package too, after they are answered, and report how far its answers "
            "are off; as NAME=PACKAGE beside several models; repeatable.",
            show_default=False,
            rich_help_panel=options.SERVER,
        ),
    ] = None,
    shadow_share: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=1.0,
            help="The largest part of one processor's time that a shadow takes; with 1 it compares all it can.",
            rich_help_panel=options.SERVER,
        ),
    ] = 0.05,
    backend: options.Backend = options.DEFAULT_BACKEND,
    allow_unproven: options.AllowUnproven = False,
    threads: options.Threads = 0,
    max_body_mb: Annotated[int, _limit("Largest request body, in MiB.", min=1)] = 64,
    max_requests: Annotated[int, _limit("Most requests at a time.", min=1)] = 2048,
    max_queue: Annotated[int, _limit("Most requests waiting, for each model.", min=1)] = 1024,
    deadline_s: Annotated[float, _limit("Longest time to an answer, in seconds.", min=0.001)] = 30.0,
    run_s: Annotated[float, _limit("Longest run, in seconds; then the worker is replaced.", min=0.01)] = 60.0,
    receive_s: Annotated[float, _limit("Longest time for a request to arrive, in seconds.", min=0.1)] = 30.0,
    drain_s: Annotated[float, _limit("Longest time to finish after SIGTERM, in seconds.", min=1)] = 30.0,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help="Send traces and metrics by OpenTelemetry, as its own environment variables say.",
            rich_help_panel=options.SERVER,
        ),
    ] = False,
    ray: Annotated[bool, typer.Option("--ray", help="Run as a Ray Serve application.", rich_help_panel=RAY)] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Ray cluster to join, or auto. [default: a new one on this machine]",
            rich_help_panel=RAY,
        ),
    ] = None,
    replicas: options.Replicas = options.DEFAULT_REPLICAS,
    num_cpus: options.NumCpus = 1.0,
    num_gpus: options.NumGpus = 0.0,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Log a line for every request.", rich_help_panel=options.RUN)
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Serve packages over HTTP and gRPC with the Open Inference Protocol v2, which Triton and KServe use.

    A model is ready when its worker has reproduced the package's stored example. After SIGTERM, requests that were
    accepted are finished. Logs are lines on stderr: JSON, and on a terminal for people.
    """
    run = Run(context, as_json=as_json, on_stderr=True)
    with run.reported():
        from rectexport.runtime.serving.served_packages import find_packages

        for words in (packages, *([word] for word in shadow or ())):
            find_packages(words)  # a wrong path is refused before the server's libraries are imported
        from rectexport.runtime.serving.limits import Limits
        from rectexport.runtime.serving.log import Log
        from rectexport.runtime.serving.server import Settings, read_token
        from rectexport.runtime.serving.server import run as run_server

        log = Log(requests=log_requests)
        if ray and otel:
            raise UsageError("--otel with --ray: a replica sends no traces; leave one of the two out")
        if ray and shadow:
            raise UsageError("--shadow with --ray: a replica has no shadow; serve one machine with --shadow instead")
        if ray:
            on_ray = {
                "packages": tuple(packages),
                "replicas": parse_replicas(replicas),
                "num_cpus": num_cpus,
                "num_gpus": num_gpus,
                "backend": backend,
                "allow_unproven": allow_unproven,
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
            allow_unproven=allow_unproven,
            max_batch=max_batch,
            instances=instances,
            threads=threads,
            in_process=in_process,
            repository_api=repository_api,
            token=None if token_file is None else read_token(token_file),
            insecure=insecure,
            page=page,
            shadows=shadow or (),
            shadow_share=shadow_share,
            otel=otel,
            limits=limits,
        )
        answered = run_server(packages, settings, log)
    document = {"passed": True, "answered": answered, "seconds": round(run.seconds, 3)}
    run.end(document, said=f"{answered} requests answered ")


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
