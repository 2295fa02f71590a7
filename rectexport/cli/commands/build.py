"""`rectexport build PACKAGE --trt` or `--rtx`: build a TensorRT engine for this machine, or for kinds of RTX GPUs."""

from __future__ import annotations

from typing import Annotated

import typer

from rectexport.cli import engine, options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.errors import UsageError

app = command_app()


@app.command(cls=Command)
def build(
    context: typer.Context,
    package: options.PackageFolder,
    trt: engine.Trt = False,
    rtx: engine.Rtx = False,
    compute_capability: engine.Capabilities = None,
    min_shapes: options.MinShapes = None,
    opt_shapes: options.OptShapes = None,
    max_shapes: options.MaxShapes = None,
    profile: engine.Profiles = None,
    tf32: engine.Tf32 = engine.EngineFlags.tf32,
    workspace: engine.Workspace = engine.EngineFlags.workspace,
    timing_cache: engine.TimingCache = engine.EngineFlags.timing_cache,
    version_compatible: engine.VersionCompatible = engine.EngineFlags.version_compatible,
    hardware_compatibility: engine.Hardware = engine.EngineFlags.hardware_compatibility,
    strip_plan: engine.StripPlan = engine.EngineFlags.strip_plan,
    dla_core: engine.DlaCore = engine.EngineFlags.dla_core,
    allow_gpu_fallback: engine.GpuFallback = engine.EngineFlags.allow_gpu_fallback,
    plugins: engine.Plugins = None,
    layers: engine.Layers = engine.EngineFlags.layers,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Build even if a plan that fits is there.", rich_help_panel=options.RUN),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Build an inference engine for this machine, or for kinds of RTX GPUs, and keep it in the package.

    The precision is the package's: export it with --fp16 or --bf16. Plans for other GPUs or other TensorRT versions
    stay in the package. If several processes build the same plan, one builds and the others wait for it.

    **Examples**

    - `rectexport build out/net --trt`
    - `rectexport build out/net --trt --profile x:1x3x224x224 --profile x:8x3x224x224..16x3x224x224..32x3x224x224`
    - `rectexport build out/net --rtx --compute-capability 8.9`
    - `rectexport build out/net --trt --dla-core 0 --allow-gpu-fallback --profile x:1x3x224x224` — on a Jetson
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        if trt == rtx:
            raise UsageError(f"say what to build: rectexport build {package} --trt, or --rtx")
        flags = engine.EngineFlags(
            profiles=tuple(profile or ()),
            shapes=(tuple(min_shapes or ()), tuple(opt_shapes or ()), tuple(max_shapes or ())),
            tf32=tf32,
            workspace=workspace,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatibility=hardware_compatibility,
            strip_plan=strip_plan,
            dla_core=dla_core,
            allow_gpu_fallback=allow_gpu_fallback,
            plugins=tuple(plugins or ()),
            layers=layers,
            compute_capability=tuple(compute_capability or ()),
        )
        flags.check_kind(rtx)
        build_kind = engine.build_rtx if rtx else engine.build
        built = build_kind(run.console, package, flags, rebuild)
    engine.show_built(run.console, built)
    run.end({"passed": True, "seconds": round(run.seconds, 3), "plan": engine.document(built)})
