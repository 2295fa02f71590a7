"""`rectexport triton PKG REPO`: a package as a model of a Triton repository, and `--check REPO`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rectexport.cli.command import AsJson, Command
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=Command)
def triton(
    context: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(metavar="PKG REPO", help="NAME/VERSION=PKG, NAME=PKG or PKG; where to.", show_default=False),
    ],
    check: Annotated[bool, typer.Option("--check", help="Only check the repository REPO.")] = False,
    backend: Annotated[str, typer.Option(help="Triton's backend: onnxruntime or tensorrt.")] = "onnxruntime",
    instances: Annotated[int, typer.Option(help="Instances of the model.", min=1)] = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="Instances on GPUs; always so with tensorrt.")] = False,
    max_batch: Annotated[
        int | None, typer.Option(help="Most rows of one run. [default: the package's, at most 64]", min=1)
    ] = None,
    max_delay_us: Annotated[int, typer.Option(help="Longest wait for company.", min=0)] = 500,
    as_json: AsJson = False,
) -> None:
    """Write a package into a Triton model repository, then check the whole repository.

    Each config.pbtxt is parsed with Triton's own message and compared with the model beside it: names, types, sizes,
    batch, files, warm-up. `rectexport serve REPO` serves the same folder.

    **Exit codes**: 0 good · 1 a bad package or a wrong configuration · 2 usage · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    again = ["rectexport", "triton", *(context.obj or ())]
    with reported(again, as_json):
        if len(places) != (1 if check else 2):
            raise UsageError("expected REPO behind --check" if check else "expected PKG REPO")
        from rectexport.runtime.serving.served_packages import find_packages
        from rectexport.runtime.serving.triton.check import check_repository
        from rectexport.runtime.serving.triton.config import Deployment
        from rectexport.runtime.serving.triton.repository import write_model

        repository = Path(places[-1])
        plugins: list[Path] = []
        if not check:
            deployment = Deployment(backend, instances, gpu or backend == "tensorrt", max_delay_us)
            for source in find_packages(places[:1]):
                plugins += write_model(source, repository, deployment, max_batch)
        models, findings = check_repository(repository)
    for path in plugins:
        console.print(f"start tritonserver with --backend-config=tensorrt,plugins={path}", markup=False)
    for finding in findings:
        console.print(f"{finding.model}: {finding.text}", markup=False)
    console.print(f"{repository}: {', '.join(models)}", markup=False)
    show_verdict(console, not findings, time.perf_counter() - begin, again)
    if as_json:
        listed = [{"model": finding.model, "text": finding.text} for finding in findings]
        typer.echo(json.dumps({"passed": not findings, "models": models, "findings": listed}, indent=2))
    if findings:
        raise typer.Exit(1)
