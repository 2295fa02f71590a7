"""`rectexport models`: list the networks of the zoo, show one, save one as a checkpoint with random weights."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rectexport.cli import options
from rectexport.cli.command import EXIT_CODES, Command, Run, command_app, without_metavars
from rectexport.runtime.base.environment import require
from rectexport.runtime.errors import RectexportError, UsageError


class _Group(TyperGroup):
    """The command without a subcommand lists the zoo; its help ends as every command's does."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.epilog = EXIT_CODES

    def get_params(self, ctx: Any) -> Any:
        return without_metavars(super().get_params(ctx))


app = command_app()

NetworkOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="Option of the network, as in conv=plain; repeatable."),
]
Classes = Annotated[int | None, typer.Option(metavar="N", min=1, help="Number of classes.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A network of the zoo.", show_default=False)]


@app.callback(cls=_Group, invoke_without_command=True)
def overview(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the networks of the zoo: parameters, input shape, ideas used, by paper.

    **Examples**

    - `rectexport models` — list all networks
    - `rectexport models show resnet50 --option conv=plain`
    - `rectexport models save resnet50 rf50.pt --seed 0` — write a checkpoint that `rectexport` can export
    """
    if context.invoked_subcommand is None:
        run = Run(context, as_json=as_json)
        run.write(_reported(run, _list))


@app.command(cls=Command)
def show(
    context: typer.Context,
    name: Name,
    option: NetworkOptions = None,
    num_classes: Classes = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one network: paper, size, options and modules."""
    run = _run(context, as_json=as_json)
    run.write(_reported(run, lambda run: _show(run, name, num_classes, _parse(option))))


@app.command(cls=Command)
def save(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The checkpoint to write.", show_default=False)],
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the random weights.")] = 0,
    option: NetworkOptions = None,
    num_classes: Classes = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a checkpoint with random weights from a seed, for trials and measurements."""
    run = _run(context, as_json=as_json, quiet=quiet)
    run.end(_reported(run, lambda run: _save(run, name, file, seed, num_classes, _parse(option))))


def _run(context: typer.Context, **settings: bool) -> Run:
    run = Run(context, **settings)
    run.again = ["rectexport", "models", *(context.obj or ())]
    return run


def _reported(run: Run, action: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
    """The action's document. ValueErrors of the zoo and TypeErrors of torch concern options: usage errors."""
    with run.reported():
        try:
            return action(run)
        except RectexportError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise UsageError(str(error).splitlines()[0]) from None
    raise AssertionError("reported() ends the command")


def _parse(texts: list[str] | None) -> dict[str, Any]:
    """Parse NAME=VALUE pairs. A value that is no Python literal is taken as a string."""
    options: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--option {text!r}: expected NAME=VALUE")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            options[name] = value
    return options


def _list(run: Run) -> dict[str, Any]:
    from rectexport.models.registry import model_entry, model_names

    entries = [model_entry(name) for name in model_names()]
    paper = ""
    for entry in entries:
        if entry.paper != paper:
            paper = entry.paper
            run.say("")
            run.say(paper, style="bold")
        millions, shape = f"{entry.parameters / 1e6:.2f} M", "x".join(map(str, entry.input_shape))
        run.say(f"  {entry.name:<28}{millions:>9}  {shape:<10}  {', '.join(entry.uses)}".rstrip())
    return {"models": [_facts(entry) for entry in entries]}


def _facts(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "paper": entry.paper,
        "uses": list(entry.uses),
        "input_shape": list(entry.input_shape),
        "classes": entry.num_classes,
        "parameters": entry.parameters,
    }


def _show(run: Run, name: str, num_classes: int | None, options: dict[str, Any]) -> dict[str, Any]:
    from rectexport.models.registry import model_entry

    entry = model_entry(name)
    require("torch")
    from rectexport.models.tools.count import macs, parameters, rectified_layers

    model = _meta(name, num_classes, options)
    counted = {
        "classes": num_classes or entry.num_classes,
        "parameters": parameters(model),
        "multiply_adds": macs(model, entry.input_shape),
        "rectified_layers": rectified_layers(model),
    }
    rows = {
        "paper": entry.paper,
        "uses": ", ".join(entry.uses) or "none",
        "input": "x".join(map(str, ("N", *entry.input_shape))),
        "classes": str(counted["classes"]),
        "parameters": f"{counted['parameters']:,}",
        "multiply-adds": f"{counted['multiply_adds']:,} for one input",
        "rectified layers": str(counted["rectified_layers"]),
        "defaults": ", ".join(f"{key}={value}" for key, value in entry.defaults.items()) or "none",
        "options": ", ".join(entry.options()),
    }
    for key, value in rows.items():
        run.say(f"{key:<17} {value}")
    for line in str(model).splitlines():
        run.say(line)
    return {**_facts(entry), **counted, "defaults": dict(entry.defaults), "options": list(entry.options())}


def _save(
    run: Run, name: str, file: Path, seed: int, num_classes: int | None, options: dict[str, Any]
) -> dict[str, Any]:
    from rectexport.models.registry import model_entry
    from rectexport.runtime.base.files import check_replaceable

    model_entry(name)  # an unknown name or a wrong place is refused before PyTorch is imported
    check_replaceable(file)
    require("torch")
    from rectexport.models.tools.seeded import save_seeded

    save_seeded(file, name, seed, num_classes, **options)
    run.say(f"{file}: {name}, seed {seed}, {file.stat().st_size / 1e6:.1f} MB")
    return {"passed": True, "file": str(file), "name": name, "seed": seed, "bytes": file.stat().st_size}


def _meta(name: str, num_classes: int | None, options: dict[str, Any]) -> Any:
    """Build a network on the meta device: its weights take no memory."""
    import torch

    from rectexport.models.registry import create_model

    with torch.device("meta"):
        return create_model(name, num_classes, **options)
