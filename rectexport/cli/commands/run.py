"""`rectexport run PACKAGE INPUT… -o OUT`: answer files with a package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.cli.display import Progress
from rectexport.runtime.arrays.input_files import SUFFIXES, ImageScaling, read_image, read_inputs
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.runner import Array, BackendOptions
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import check_outside
from rectexport.runtime.session import Session

app = command_app()
#: Suffixes of OUT that are a file; anything else is a folder.
FILES = (".npz", ".npy", ".tif")


@app.command(cls=Command, name="run")
def run_package(
    context: typer.Context,
    package: options.PackageFolder,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Images, .npy or .npz files with the inputs by name, or folders of images.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        options.out("OUT", "A folder for one .npz for each input; for a single input also a file: .npz, .npy, .tif."),
    ],
    tile: Annotated[
        str | None,
        typer.Option(
            "--tile",
            metavar="ROWS[,COLUMNS]",
            help="Compute in tiles of this size, so that images of any size fit in memory; the answer is the same.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option("--tile-batch", metavar="N", min=1, help="Tiles in one run.", rich_help_panel=options.INPUTS),
    ] = 1,
    labels: Annotated[
        Path | None,
        options.labels("Names of the classes, one a line, shown for outputs [N, classes]."),
    ] = None,
    mean: options.Mean = "0",
    std: options.Std = "1",
    backend: options.Backend = options.DEFAULT_BACKEND,
    allow_unproven: options.AllowUnproven = BackendOptions.allow_unproven,
    threads: options.Threads = BackendOptions.threads,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Answer files with a package, and keep the answers.

    **Examples**

    - `rectexport run out/digits five.png -o answers`
    - `rectexport run out/upscale photos -o large --mean 0.5 --std 0.5`
    - `rectexport run out/segment scan.tif -o mask.tif --tile 512 --tile-batch 4` — a scan of any size
    """
    run = Run(context, as_json=as_json, quiet=quiet, verbose=verbose)
    with run.reported(), Progress(run.console, verbose) as progress:
        scaling = options.image_scaling(mean, std)
        names = None if labels is None else _lines(labels)
        sides = None if tile is None else _sides(tile)
        _check_out(out, inputs, sides is not None)
        from rectexport.runtime.api import load

        with load(package, backend, threads=threads, allow_unproven=allow_unproven, progress=progress.said) as session:
            answered = []
            for path in inputs:
                found: Iterable[Answer]
                if sides is not None:
                    found = [_tiled(session, path, scaling, sides, batch, progress, _target(out, path.name))]
                else:
                    found = _written(_answers(session, path, scaling), out)
                for label, target, results in found:
                    entry = _entry(label, target, results, names)
                    run.say(_line(entry))
                    answered.append(entry)
    run.end({"passed": True, "package": str(package), "answers": answered, "seconds": round(run.seconds, 3)})


Answer = tuple[str, Path, dict[str, Array]]


def _tiled(
    session: Session, path: Path, scaling: ImageScaling, tile: list[int], batch: int, progress: Progress, target: Path
) -> Answer:
    """One image in tiles; with an .npy as target the output is mapped, so that it need not fit in memory."""
    from rectexport.runtime.tiling.sources import open_image
    from rectexport.runtime.tiling.tiled import run_tiled

    image, sides = open_image(path, session.inputs[0], scaling), tile if len(tile) > 1 else tile[0]

    def run(allocate: Any = None) -> dict[str, Any]:
        return run_tiled(session.run, session.package, image, sides, batch, None, progress.said, allocate)

    if target.suffix != ".npy":
        results = run()
        _write(target, results)
        return path.name, target, results
    _check_single(target, [entry.name for entry in session.outputs])
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(target) as work:
        run(lambda name, shape, dtype: np.lib.format.open_memmap(work, "w+", dtype, shape))
    return path.name, target, {session.outputs[0].name: np.load(target, mmap_mode="r")}


def _written(answers: Iterator[tuple[str, dict[str, Array]]], out: Path) -> Iterator[Answer]:
    for label, results in answers:
        target = _target(out, label)
        _write(target, results)
        yield label, target, results


def _answers(session: Session, path: Path, scaling: ImageScaling) -> Iterator[tuple[str, dict[str, Array]]]:
    """(label, outputs by name) of one INPUT."""
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        if len(session.inputs) != 1:
            raise BadInput(f"{path}: an image, but the package takes {len(session.inputs)} inputs; give an .npz")
        entry = session.inputs[0]
        image = read_image(path, entry, scaling)[None]
        rows = entry.shape[0] if isinstance(entry.shape[0], int) else 1
        results = session.run({entry.name: np.repeat(image, rows, axis=0)})
        yield path.name, {name: array[:1] for name, array in results.items()}
    else:
        for label, feeds in read_inputs(path, session.inputs, scaling):
            yield label, session.run(feeds)


def _check_out(out: Path, inputs: list[Path], tiled: bool) -> None:
    if out.suffix in FILES:
        if len(inputs) > 1 or (inputs[0].is_dir() and not tiled):
            raise UsageError(f"--out {out}: several inputs need a folder")
        check_outside(out)
    elif out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; give a folder, or a name that ends in .npz, .npy or .tif")
    else:
        check_outside(out / "answer.npz")


def _target(out: Path, label: str) -> Path:
    if out.suffix in FILES:
        return out
    return out / f"{label.replace('/', '_')}.npz"


def _check_single(target: Path, names: list[str]) -> None:
    if len(names) != 1:
        raise UsageError(f"--out {target}: holds one array, but the outputs are {', '.join(names)}; use .npz")


def _write(target: Path, results: dict[str, Array]) -> None:
    """Write one answer whole or not at all. Raises UsageError for several outputs in a file of one array."""
    if target.suffix != ".npz":
        _check_single(target, list(results))
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(target) as work, work.open("wb") as stream:
        if target.suffix == ".npz":
            np.savez(stream, **results)  # type: ignore[arg-type]
        elif target.suffix == ".npy":
            np.save(stream, next(iter(results.values())))
        else:
            _write_tiff(stream, next(iter(results.values())))


def _write_tiff(stream: Any, array: Array) -> None:
    from rectexport.runtime.base.environment import require

    tifffile = require("tifffile")
    planes = array[0] if array.ndim == 4 else array
    pixels = planes[0] if len(planes) == 1 else planes
    tifffile.imwrite(stream, pixels, photometric="minisblack")


def _entry(label: str, target: Path, results: dict[str, Array], names: list[str] | None) -> dict[str, Any]:
    """What the document and the screen say about one answer."""
    shapes = {name: list(array.shape) for name, array in results.items()}
    first = next(iter(results.values()))
    top: list[dict[str, Any]] = []
    if first.ndim == 2 and first.dtype.kind == "f" and first.shape[1] > 1:
        for row in first:
            index = int(row.argmax())
            named = names[index] if names is not None and index < len(names) else str(index)
            top.append({"class": index, "label": named, "score": float(row[index])})
    return {"input": label, "out": str(target), "outputs": shapes, "top": top}


def _line(entry: dict[str, Any]) -> str:
    shapes = ", ".join(f"{name} {format_shape(shape)}" for name, shape in entry["outputs"].items())
    tops = ", ".join(f"{item['label']} ({item['score']:.4g})" for item in entry["top"][:8])
    return f"{entry['input']}: {shapes}{f': {tops}' if tops else ''}; {entry['out']}"


def _sides(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 1 << 24 for part in parts):
        raise UsageError(f"--tile {text!r}: expected a size in pixels, or one for each axis separated by commas")
    return [int(part) for part in parts]


def _lines(path: Path) -> list[str]:
    from rectexport.runtime.base.reading import read_bounded

    try:
        return read_bounded(path, 1 << 20).decode().splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{path}: expected text with one label a line (UTF-8)") from None
