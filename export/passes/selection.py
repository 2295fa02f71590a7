"""Which passes one run has, and what they are given."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby

from onnx import ModelProto

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.results import Pass, PassResult
from rectexport.exporter.passes.inline import plugin_operators
from rectexport.exporter.passes.lowering.choice import Costs, Decision, Without
from rectexport.exporter.passes.lowering.machinery.costs import DEFAULT_TARGET, INEXACT_IN_INT8, INT8, load_costs
from rectexport.exporter.passes.order import LOWER, PASSES, RAISE
from rectexport.exporter.passes.raising.together import as_one
from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import ParityError, UsageError

#: Forms that gain nothing where the model is rounded to 16 bits after lowering.
FLOAT32_FORMS = frozenset({"blocked", "grouped"})


@dataclass(frozen=True)
class PassContext:
    """What the passes of one run may depend on.

    measured    costs measured on this machine; None takes the target's committed table
    feeds       example inputs, by input name
    without     forms that are not taken
    decisions   filled by lowering: the form taken at each site
    """

    target: str = DEFAULT_TARGET
    rectify: str = "auto"
    precision: str = "fp32"
    measured: Costs | None = None
    feeds: Sequence[Mapping[str, Array]] = ()
    without: frozenset[str] = frozenset()
    decisions: list[Decision] = field(default_factory=list)

    @cached_property
    def costs(self) -> Costs:
        """What lowering chooses by. Raises UsageError for an unknown target."""
        costs = self.measured or load_costs(self.target, self.precision)
        unfit = {"fp32": frozenset[str](), INT8: INEXACT_IN_INT8}.get(self.precision, FLOAT32_FORMS)
        return Without(costs, self.without | unfit) if self.without | unfit else costs

    def has(self, entry: Pass) -> bool:
        """Whether a pass applies to this run."""
        conditions = (
            (entry.targets, self.target),
            (entry.rectify, self.rectify),
            (entry.precision, self.precision),
        )
        return all(wanted is None or value in wanted for wanted, value in conditions)


def select_passes(
    context: PassContext, passes: Sequence[Pass] = PASSES, stages: Collection[str] | None = None
) -> tuple[Pass, ...]:
    """The passes of one run, in order, each with its arguments bound.

    Raise passes that follow each other become one pass named "raise". `stages` limits the result to some stages.
    """
    bound = [
        replace(entry, run=partial(entry.run, **{name: getattr(context, name) for name in entry.takes}), takes=())
        for entry in passes
        if (stages is None or entry.stage in stages) and context.has(entry)
    ]
    return tuple(_joined(bound))


def _joined(passes: Sequence[Pass]) -> Iterator[Pass]:
    for is_raise, group in groupby(passes, lambda entry: entry.stage == RAISE):
        if is_raise:
            parts = tuple(group)
            yield Pass(RAISE, partial(as_one, parts), RAISE, parts=parts)
        else:
            yield from group


def lower(
    model: ModelProto, costs: Costs, names: Collection[str] | None = None
) -> tuple[ModelProto, list[PassResult], list[Decision]]:
    """The lowering passes alone, or those of these names. Returns the model, a result for each pass, all decisions.

    What is left as written keeps its dialect node, for the passes that fold, build or inline it.
    """
    context, results = PassContext(measured=costs), []
    for entry in select_passes(context, stages=(LOWER,)):
        if names is None or entry.name in names:
            model, result = entry.run(model)
            results.append(result)
    return model, results, context.decisions


def check_finished(model: ModelProto, context: PassContext, results: Sequence[PassResult] = ()) -> None:
    """Raise UsageError when dialect nodes are left that no engine runs; ParityError when the guard skipped a pass."""
    skipped = [entry.name for entry in results if entry.skipped]
    spared = plugin_operators(context.rectify)
    for node in dialect.dialect_nodes(model.graph):
        if node.op_type not in spared and skipped:
            raise ParityError(
                f"{node.op_type} {node.name or node.output[0]} cannot be written in standard operators: "
                f"the passes {', '.join(skipped)} change the outputs and were skipped; the log says how"
            )
        if node.op_type not in spared:
            raise UsageError(
                f"passes: {node.op_type} {node.name or node.output[0]} is still a node of the domain "
                f"{dialect.DOMAIN}, which no engine runs; keep the pass inline, after every pass that adds such nodes"
            )
