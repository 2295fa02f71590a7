"""Graph passes. `order.py` lists them all in order; `PassPipeline` lets users change the list.

Each pass opens with Given, Result and Not when: what it matches, what it puts there, and when it must leave a match
alone. A pass takes a model and returns it with a PassResult that says where it fired and where it refused.

Passes rewrite the main graph only. Branches and loop bodies (If, Loop, Scan) and the functions of a model are left
as they are, except by `inline`, which replaces dialect nodes in branches and bodies too. A tensor of the main graph
that a subgraph reads counts as an output: no pass changes its value (surgeon.is_output). The precision passes keep it,
and the node that holds the subgraph, in float32.
"""

from __future__ import annotations

from rectexport.exporter.graph.results import Code, Pass, PassResult, Refusal
from rectexport.exporter.passes.order import PASSES, RECTIFY_FORMS, STAGES
from rectexport.exporter.passes.pass_pipeline import PassPipeline
from rectexport.exporter.passes.selection import PassContext, check_finished, lower, select_passes

__all__ = [
    "PASSES",
    "RECTIFY_FORMS",
    "STAGES",
    "Code",
    "Pass",
    "PassContext",
    "PassPipeline",
    "PassResult",
    "Refusal",
    "check_finished",
    "lower",
    "select_passes",
]
