"""`rectexport models`: list the networks of the zoo, show one, save one as a checkpoint with random weights."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rectexport.cli.failure import reported, show_verdict
from rectexport.runtime.base.environment import require
from rectexport.runtime.errors import RectexportError, UsageError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="Option of the network, as in conv=plain. May be repeated."),
]
Classes = Annotated[int | None, typer.Option(min=1, help="Number of classes.")]


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """List the networks of the zoo: parameters, input shape, ideas used, by paper.

    **Examples**

    - `rectexport models` — list all networks
    - `rectexport models show resnet50 --option conv=plain`
    - `rectexport models save resnet50 rf50.pt --seed 0` — write a checkpoint that `rectexport` can export
    """
    if context.invoked_subcommand is None:
        _report(context, _list)


@app.command()
def show(context: typer.Context, name: str, option: Options = None, num_classes: Classes = None) -> None:
    """Show one network: paper, size, options and modules."""
    _report(context, lambda console: _show(console, name, num_classes, _parse(option)))


@app.command()
def save(
    context: typer.Context,
    name: str,
    file: Path,
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    option: Options = None,
    num_classes: Classes = None,
) -> None:
    """Write a checkpoint with random weights from a seed, for trials and measurements."""
    begin = time.perf_counter()
    _report(context, lambda console: _save(console, name, file, seed, num_classes, _parse(option)))
    show_verdict(Console(highlight=False), True, time.perf_counter() - begin, _again(context))


def _report(context: typer.Context, action: Callable[[Console], None]) -> None:
    """Run an action on a console. ValueErrors of the zoo and TypeErrors of torch concern options: usage errors."""
    with reported(_again(context), as_json=False):
        try:
            action(Console(highlight=False))
        except RectexportError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise UsageError(str(error).splitlines()[0]) from None


def _again(context: typer.Context) -> list[str]:
    return ["rectexport", "models", *(context.obj or ())]


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


def _list(console: Console) -> None:
    from rectexport.models.registry import model_entry, model_names

    paper = ""
    for name in model_names():
        entry = model_entry(name)
        if entry.paper != paper:
            paper = entry.paper
            console.print(f"\n{paper}", style="bold", markup=False, soft_wrap=True)
        millions, shape = f"{entry.parameters / 1e6:.2f} M", "x".join(map(str, entry.input_shape))
        line = f"  {name:<28}{millions:>9}  {shape:<10}  {', '.join(entry.uses)}"
        console.print(line.rstrip(), markup=False, soft_wrap=True)


def _show(console: Console, name: str, num_classes: int | None, options: dict[str, Any]) -> None:
    from rectexport.models.registry import model_entry

    entry = model_entry(name)
    require("torch")
    from rectexport.models.tools.count import macs, parameters, rectified_layers

    model = _meta(name, num_classes, options)
    rows = {
        "paper": entry.paper,
        "uses": ", ".join(entry.uses) or "none",
        "input": "x".join(map(str, ("N", *entry.input_shape))),
        "classes": str(num_classes or entry.num_classes),
        "parameters": f"{parameters(model):,}",
        "multiply-adds": f"{macs(model, entry.input_shape):,} for one input",
        "rectified layers": str(rectified_layers(model)),
        "defaults": ", ".join(f"{key}={value}" for key, value in entry.defaults.items()) or "none",
        "options": ", ".join(entry.options()),
    }
    for key, value in rows.items():
        console.print(f"{key:<17} {value}", markup=False, soft_wrap=True)
    console.print(str(model), markup=False, soft_wrap=True)


def _save(console: Console, name: str, file: Path, seed: int, num_classes: int | None, options: dict[str, Any]) -> None:
    from rectexport.models.registry import model_entry

    model_entry(name)  # an unknown name is refused before PyTorch is imported
    require("torch")
    from rectexport.models.tools.seeded import save_seeded

    save_seeded(file, name, seed, num_classes, **options)
    console.print(f"{file}: {name}, seed {seed}, {file.stat().st_size / 1e6:.1f} MB", markup=False, soft_wrap=True)


def _meta(name: str, num_classes: int | None, options: dict[str, Any]) -> Any:
    """Build a network on the meta device: its weights take no memory."""
    import torch

    from rectexport.models.registry import create_model

    with torch.device("meta"):
        return create_model(name, num_classes, **options)
