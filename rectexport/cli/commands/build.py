"""`rectexport build PACKAGE --trt`: an engine for this machine, from a package made on any."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rectexport.cli import engine
from rectexport.cli.command import RUN, AsJson, Command
from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def _shapes(side: str, what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{side}-shapes", f"--{side}Shapes", metavar="NAME:SHAPE", help=what, rich_help_panel=engine.PANEL
    )
    return option


@app.command(cls=Command)
def build(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="The folder of a package.", show_default=False)],
    trt: Annotated[bool, typer.Option("--trt", help="Build a TensorRT engine (the only kind there is).")] = False,
    profile: engine.Profiles = None,
    min_shapes: Annotated[list[str] | None, _shapes("min", "Smallest shape, within the package's range.")] = None,
    opt_shapes: Annotated[list[str] | None, _shapes("opt", "Most common shape: what kernels are chosen for.")] = None,
    max_shapes: Annotated[list[str] | None, _shapes("max", "Largest shape, within the package's range.")] = None,
    tf32: engine.Tf32 = False,
    workspace: engine.Workspace = None,
    timing_cache: engine.TimingCache = None,
    version_compatible: engine.VersionCompatible = False,
    hardware_compatibility: engine.Hardware = "none",
    strip_plan: engine.StripPlan = False,
    plugins: engine.Plugins = None,
    layers: engine.Layers = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build even if a plan that fits is there.", rich_help_panel=RUN)
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build an inference engine for this machine and keep it in the package.

    Precision is that of the package: export it with --fp16 or --bf16. A plan for another GPU or another TensorRT
    stays in the package beside this one. Of several processes that build the same, one does and the others wait.

    **Examples**

    - `rectexport build out/net --trt`
    - `rectexport build out/net --trt --profile x:1x3x224x224 --profile x:8x3x224x224..16x3x224x224..32x3x224x224`

    **Exit codes**: 0 good · 1 bad input or model, or the GPU does not suffice · 2 usage · 3 the engine disagrees with
    PyTorch · 5 something is missing here
    """
    begin = time.perf_counter()
    console = Console(stderr=as_json, highlight=False)
    again = ["rectexport", "build", *(context.obj or ())]
    with reported(again, as_json):
        if not trt:
            raise UsageError(f"say what to build: rectexport build {package} --trt")
        flags = engine.EngineFlags(
            profiles=tuple(profile or ()),
            shapes=(tuple(min_shapes or ()), tuple(opt_shapes or ()), tuple(max_shapes or ())),
            tf32=tf32,
            workspace=workspace,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatibility=hardware_compatibility,
            strip_plan=strip_plan,
            plugins=tuple(plugins or ()),
            layers=layers,
        )
        built = engine.build(console, package, flags, rebuild)
    engine.show_built(console, built)
    seconds = time.perf_counter() - begin
    show_verdict(console, True, seconds, again)
    if as_json:
        typer.echo(json.dumps({"passed": True, "seconds": round(seconds, 3), "plan": engine.document(built)}, indent=2))
