"""The inputs of a comparison: the goldens and a sweep over sizes, or requested shapes, or files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rectexport.runtime.arrays.input_files import ImageScaling, read_inputs
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape, parse_shape_flags, resolve_names
from rectexport.runtime.errors import Option
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.parity.sweep import batch_dimension, feeds_of, sweep

#: What asks for sizes: `--input` on the command line.
SIZES = Option("shapes")


@dataclass(frozen=True)
class Case:
    """Inputs with a label; stored holds the reference's outputs if the package contains them."""

    label: str
    feeds: Mapping[str, Array]
    stored: Mapping[str, Array] | None = None

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes by input name."""
        return {name: array.shape for name, array in self.feeds.items()}

    def cut(self, entries: Sequence[TensorEntry], rows: int) -> dict[str, Array]:
        """The feeds with at most `rows` rows, if the batch is dynamic."""
        batch = batch_dimension(entries)
        if batch is None:
            return dict(self.feeds)
        return {name: array[: max(rows, batch.low)] for name, array in self.feeds.items()}


def make_cases(package: Package, inputs: Path | None, shapes: Sequence[str], scaling: ImageScaling) -> Iterator[Case]:
    """The cases of the files in `inputs`; without them, the goldens, then the given shapes or a sweep.

    The goldens occur twice: with the stored outputs, and without, so that the reference computes them.
    Raises UsageError for shapes that do not parse, BadInput for files and goldens that cannot be read.
    """
    entries = package.manifest.inputs
    if inputs is not None:
        yield from (Case(label, feeds) for label, feeds in read_inputs(inputs, entries, scaling))
        return
    feeds, answers = package.goldens()
    asked = asked_sizes(entries, shapes, {name: array.shape for name, array in feeds.items()})
    yield Case("goldens", feeds, answers)
    example = Case("example", feeds)
    yield example
    for label, sizes in (asked or sweep(entries)).items():
        if asked or sizes != example.shapes:
            yield Case(label, feeds_of(sizes, feeds, label))


def asked_sizes(
    entries: Sequence[TensorEntry], texts: Sequence[str], examples: Mapping[str, Shape]
) -> dict[str, dict[str, Shape]]:
    """Sizes by label. Texts that name different inputs belong to one size; a name given again begins the next."""
    names = [entry.name for entry in entries]
    sizes: list[tuple[list[str], dict[str, Shape]]] = []
    for text in texts:
        flags = resolve_names(parse_shape_flags([text], SIZES), names, SIZES)
        if not sizes or not sizes[-1][1].keys().isdisjoint(flags):
            sizes.append(([], {}))
        sizes[-1][0].append(text)
        sizes[-1][1].update({name: flag.shape for name, flag in flags.items()})
    return {",".join(label): {name: size.get(name, examples[name]) for name in names} for label, size in sizes}
