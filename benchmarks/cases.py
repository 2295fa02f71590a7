"""The measured cases: every form of every operator on a grid of shapes, with a lower bound (the floor)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from onnx import ModelProto

from benchmarks import chains
from benchmarks.chains import Chain
from rectexport.exporter.passes import lower
from rectexport.exporter.passes.lowering.choice import Costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.exporter.passes.lowering.machinery.tuning import MEASURED, ForcedForm, finished

FLOOR = "floor"
#: Multiplications of one chain, about equal for all shapes so that large ones do not take all the time.
CHAIN_MULTIPLICATIONS, MOST_LAYERS, LEAST_LAYERS = 2.5e9, 8, 2
#: Multiplications of one plain 3×3 layer beyond which a shape is left out.
LARGEST = 4.0e9
#: Kernels of which all kinds are reduced.
REDUCED = (1, 4)


@dataclass(frozen=True)
class Kind:
    """An operator as it is measured.

    floor builds a model whose time, multiplied by floor_factor, is a lower bound for the operator's time. widening is
    the ratio of the convolution's input channels, by which cost tables list a site, to the chain's channels. more are
    shapes besides those of the grid, as batch, size and channels; reduced kinds are measured at batch 1 and up to 128
    channels alone. variant tells kinds of one operator and kernel apart; no form may be in two of them.
    """

    operator: str
    title: str
    kernel: int
    build: Callable[[Chain], ModelProto]
    floor: Callable[[Chain], ModelProto]
    floor_factor: float
    floor_text: str
    forms: tuple[str, ...]
    widening: int = 1
    more: tuple[tuple[int, int, int], ...] = ()
    reduced: bool = False
    variant: str = ""

    def forms_for(self, engine: str) -> tuple[str, ...]:
        """The forms that are meant for an engine."""
        known = [form for operator in MEASURED if operator.name == self.operator for form in operator.forms]
        meant = {form.name for form in known if form.targets is None or engine in form.targets}
        return tuple(form for form in self.forms if form in meant)


KINDS = (
    Kind(
        "symmetric_conv", "C2sp", 2, chains.symmetric, chains.plain, 4 / 9, "4/9 of a plain 3×3 convolution",
        ("shift", "embedded", "four_convs"),
    ),
    Kind(
        "symmetric_conv", "C4sp", 4, partial(chains.symmetric, kernel=4), chains.plain, 16 / 9,
        "16/9 of a plain 3×3 convolution", ("shift", "embedded", "four_convs"),
    ),
    Kind(
        "crelu", "CReLU → 3×3", 3, chains.crelu, chains.crelu_floor, 1.0, "the convolutions alone",
        ("halves", "parted", "doubled", "grouped"), 2,
    ),
    Kind(
        "crelu", "CReLU → 1×1", 1, partial(chains.crelu, kernel=1), partial(chains.crelu_floor, kernel=1), 1.0,
        "the convolutions alone", ("halves", "parted", "doubled", "grouped"), 2,
    ),
    Kind(
        "rectify", "Rectified convolution", 3, chains.rectified, chains.plain, 1.0, "a plain 3×3 convolution",
        ("residual", "tail", "blocked"),
        more=((1, 32, 16), (1, 16, 32), (1, 8, 64), (1, 7, 512), (1, 14, 256), (8, 32, 16)),
    ),
    Kind(
        "circular", "Circular padding", 3, chains.bordered, chains.plain, 1.0, "a plain 3×3 convolution",
        ("pad", "chain", "border"), more=((1, 224, 32), (1, 224, 64)),
    ),
    Kind(
        "boundary", "Replicate padding", 3, partial(chains.bordered, border="replicate"), chains.plain, 1.0,
        "a plain 3×3 convolution", ("strips", "border"),
    ),
    Kind(
        "boundary", "Circular columns, replicate rows", 3, partial(chains.bordered, border=("replicate", "circular")),
        chains.plain, 1.0, "a plain 3×3 convolution", ("pad", "strips"), reduced=True, variant="mixed",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One operator at one shape."""

    kind: Kind
    chain: Chain

    @property
    def key(self) -> dict[str, object]:
        """The fields that identify the case in the results."""
        chain = self.chain
        names = {"operator": self.kind.operator, "kernel": self.kind.kernel}
        return {**names, "channels": chain.channels, "size": chain.size, "batch": chain.batch}

    @property
    def cost_key(self) -> dict[str, object]:
        """The fields that identify the case in a cost table."""
        return {**self.key, "channels": self.chain.channels * self.kind.widening}

    def models(self, engine: str) -> dict[str, ModelProto]:
        """The model as written, in every form that is meant for the engine, and the floor."""
        written = self.kind.build(self.chain)
        models = {AS_WRITTEN: finished(written)}
        for form in self.kind.forms_for(engine):
            models[form] = finished(lower(written, ForcedForm(form))[0])
        return {**models, FLOOR: self.kind.floor(self.chain)}

    def chosen(self, costs: Costs) -> str:
        """The form that these costs choose."""
        _, _, decisions = lower(self.kind.build(self.chain), costs)
        return decisions[0].taken


def grid(quick: bool = False) -> list[Case]:
    """All cases, smallest first; with `quick`, only two shapes."""
    if quick:
        return [Case(kind, Chain(32, size, 1, 2)) for kind in KINDS for size in (28, 56)]
    shapes = [(batch, size, channels) for batch in (1, 8) for size in (28, 56, 112) for channels in (32, 64, 128, 256)]
    cases = []
    for kind in KINDS:
        for batch, size, channels in (*kind.more, *shapes):
            work = 9.0 * channels**2 * size**2 * batch
            few = kind.reduced or kind.kernel in REDUCED
            if work > LARGEST or (few and (batch > 1 or channels > 128)):
                continue
            layers = min(max(int(CHAIN_MULTIPLICATIONS / work), LEAST_LAYERS), MOST_LAYERS)
            cases.append(Case(kind, Chain(channels, size, batch, layers - layers % 2)))
    return cases


def serialized(models: Mapping[str, ModelProto]) -> dict[str, bytes]:
    """The models as bytes of ONNX files."""
    return {name: model.SerializeToString() for name, model in models.items()}
