"""`rectexport triton PACKAGE REPOSITORY`: a package as a model of a Triton repository; --check REPOSITORY."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.errors import UsageError

app = command_app()
#: Options that replace what an edited config.pbtxt says, where they are on the command line.
EDITED = ("max_batch", "instances", "max_delay_us", "gpu")


@app.command(cls=Command)
def triton(
    context: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PACKAGE REPOSITORY",
            help="A package, as PACKAGE, NAME=PACKAGE or NAME/VERSION=PACKAGE, and the folder of the model repository.",
            show_default=False,
        ),
    ],
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check REPOSITORY; no package is given.", rich_help_panel=options.CHECKS),
    ] = False,
    backend: Annotated[str, options.backend("Triton's backend: onnxruntime, openvino or tensorrt.")] = "onnxruntime",
    gpu: Annotated[
        bool,
        typer.Option("--gpu", help="Place instances on GPUs; tensorrt always does.", rich_help_panel=options.ENGINE),
    ] = False,
    instances: options.Instances = 1,
    max_batch: options.MaxBatch = None,
    max_delay_us: options.MaxDelay = options.DEFAULT_DELAY_US,
    image_input: options.ImageInput = None,
    output: options.Answer = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a package into a Triton model repository, then check the whole repository.

    Other versions of the model, other files and your edits of config.pbtxt stay; what contradicts the package is
    refused. Options given here replace what config.pbtxt says.

    With --image-input or --output, an ensemble NAME_ensemble is written too, which runs preprocessing, the model and
    what stands behind it as one model. Its steps are packages of their own.

    Each config.pbtxt is parsed with Triton's own message definition and compared with the model beside it: names,
    types, sizes, batch, files, warm-up. `rectexport serve REPOSITORY` serves the same folder.
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        if len(places) != (1 if check else 2):
            raise UsageError("expected REPOSITORY behind --check" if check else "expected PACKAGE REPOSITORY")
        around = image_input is not None or output is not None
        if check and around:
            raise UsageError("--check writes nothing; leave --image-input and --output out")
        from rectexport.exporter.base.processing import parse_answer, parse_image_input
        from rectexport.runtime.serving.served_packages import find_packages
        from rectexport.runtime.serving.triton.check import check_repository
        from rectexport.runtime.serving.triton.config import Deployment
        from rectexport.runtime.serving.triton.repository import write_model

        repository = Path(places[-1])
        given = {name for name in EDITED if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
        plugins: list[Path] = []
        remarks: list[str] = []
        if not check:
            deployment = Deployment(backend, instances, gpu or backend == "tensorrt", max_delay_us)
            sources = find_packages(places[:1])
            if around:
                from rectexport.cli.ensemble import write_with_ensemble

                if len(sources) > 1:
                    raise UsageError(f"{places[0]}: holds several packages; name the one that the ensemble is for")
                image = None if image_input is None else parse_image_input(image_input)
                answer = None if output is None else parse_answer(output)
                written = [write_with_ensemble(sources[0], repository, deployment, image, answer, max_batch, given)]
            else:
                written = [write_model(source, repository, deployment, max_batch, given) for source in sources]
            plugins = [path for one in written for path in one.plugins]
            remarks = [text for one in written for text in one.remarks]
        models, findings = check_repository(repository)
    for path in plugins:
        run.say(f"start tritonserver with --backend-config=tensorrt,plugins={path}")
    for remark in remarks:
        run.say(remark, "yellow")
    for finding in findings:
        run.fault(f"{finding.model}: {finding.text}")
    run.say(f"{repository}: {', '.join(models)}")
    listed = [{"model": finding.model, "text": finding.text} for finding in findings]
    document = {"passed": not findings, "models": models, "remarks": remarks, "findings": listed}
    run.end(document, code=1 if findings else 0)
