"""All passes, in the order in which they run. The reason for each place stands beside it.

A pass runs where its targets, rectify forms and precisions say so, and always where they say nothing; it is left out
for a model without any of its `operators`. `takes` names what it is given of the run's PassContext. To add a pass,
write its file and add its line here.
"""

from __future__ import annotations

from functools import partial

from rectexport.exporter.graph.dialect import RECTIFICATION_MAPS, RECTIFIES
from rectexport.exporter.graph.results import Pass
from rectexport.exporter.passes import (
    batch_norm,
    boundary_pad,
    cleanup,
    inline,
    rectify_border,
    rectify_fold,
    rectify_graph,
    rectify_ones,
    rectify_unbiased,
)
from rectexport.exporter.passes.engines import (
    ceil_pool,
    dft_matrix,
    early_cast,
    global_mean,
    lrn_bias,
    narrow_arithmetic,
    resize_matrix,
    shared_weights,
    softplus_tail,
    whole_shape,
    wrap_pad,
)
from rectexport.exporter.passes.lowering import boundary as boundary_forms
from rectexport.exporter.passes.lowering import crelu as crelu_forms
from rectexport.exporter.passes.lowering import linear, norm, rectify
from rectexport.exporter.passes.lowering import symmetric as symmetric_forms
from rectexport.exporter.passes.lowering.choice import lower_operator
from rectexport.exporter.passes.lowering.machinery.form import Operator
from rectexport.exporter.passes.masks import counts, narrow, ones
from rectexport.exporter.passes.precision import bfloat16, half
from rectexport.exporter.passes.raising import (
    avr,
    boundary,
    conv_sum,
    crelu,
    embedded,
    masked,
    rectification,
    shift,
    symmetric,
    tidy,
)

#: The stages, in order. Passes of the stage "raise" that follow each other run as one pass of that name.
RAISE, PREPARE, LOWER, RECTIFY, FINISH, PRECISION = STAGES = (
    "raise",  # find our operators in plain ONNX: a model's own spelling is worth as much as our layers
    "prepare",  # what must be settled before forms are chosen
    "lower",  # give each dialect node the form that is fastest on the target
    "rectify",  # turn the Rectify nodes that are left into standard operators
    "finish",  # leave standard operators only, and nothing unused
    "precision",  # float16 or bfloat16; the only stage that changes values
)
#: How rectification is exported: what is static folded and the rest computed; constants; computed; or plugin nodes.
RECTIFY_FORMS = ("auto", "fold", "graph", "plugin")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


_RECTIFIES = tuple(RECTIFIES.values())
_MASKED = ("MaskedCount", "MaskedRectify")


def _lower(
    operator: Operator,
    operators: tuple[str, ...],
    rectify: tuple[str, ...] | None = None,
    precision: tuple[str, ...] | None = None,
) -> Pass:
    run = partial(lower_operator, operator)
    takes = ("costs", "decisions")
    return Pass(
        f"lower_{operator.name}", run, LOWER, takes=takes, rectify=rectify, precision=precision, operators=operators
    )


PASSES: tuple[Pass, ...] = (
    # First: identities and explicit padding stand between the parts of every pattern.
    Pass(tidy.NAME, tidy.run, RAISE),
    # After tidy, which never reaches into a Concat of padded groups.
    Pass(symmetric.NAME, symmetric.run, RAISE),
    # After tidy, which puts zero padding into convolutions, so that only other borders are left to find.
    Pass(boundary.NAME, boundary.run, RAISE),
    # These three before rectification, which follows every convolution that is left and reads additions after it.
    Pass(shift.NAME, shift.run, RAISE),
    Pass(embedded.NAME, embedded.run, RAISE),
    Pass(conv_sum.NAME, conv_sum.run, RAISE),
    # Before crelu: both match Neg, and the sum is the smaller pattern.
    Pass(avr.NAME, avr.run, RAISE),
    Pass(crelu.NAME, crelu.run, RAISE),
    # Before rectification, which renames the outputs of the convolutions that it reads, too.
    Pass(masked.NAME, masked.run, RAISE),
    # Last of its stage: it renames the outputs of convolutions.
    Pass(rectification.NAME, rectification.run, RAISE),
    # Before every pass that reads Rectify nodes and follows.
    Pass(rectify_unbiased.NAME, rectify_unbiased.run, PREPARE, operators=_RECTIFIES),
    # Before batch_norm, which reads the rectified convolutions that it makes.
    Pass(ones.NAME, ones.run, PREPARE, operators=("MaskedRectify",)),
    # After masked_ones, which reads the masks as they are written.
    Pass(narrow.NAME, narrow.run, PREPARE, operators=("MaskedCount",)),
    # Before lowering: a shift must join the bias before the bias becomes a plain Add, and a convolution's weights
    # must be final before forms are made of them.
    Pass(batch_norm.NAME, batch_norm.run, PREPARE, operators=("BatchNormalization",)),
    # Before lowering, which then sees the pools that it makes. TensorRT 8.6 misreads ReduceMean.
    Pass(global_mean.NAME, global_mean.run, PREPARE, targets=("tensorrt",), operators=("ReduceMean",)),
    # Faults of engines, avoided before lowering sees the convolutions and pools that these make.
    Pass(wrap_pad.NAME, wrap_pad.run, PREPARE, targets=("openvino", "tensorrt", "portable")),
    Pass(resize_matrix.NAME, resize_matrix.run, PREPARE, targets=("openvino", "tensorrt")),
    Pass(ceil_pool.NAME, ceil_pool.run, PREPARE, targets=("openvino",)),
    Pass(narrow_arithmetic.NAME, narrow_arithmetic.run, PREPARE, targets=("openvino", "tensorrt")),
    # After narrow_arithmetic, which writes casts between uint8 and int32.
    Pass(early_cast.NAME, early_cast.run, PREPARE, targets=("tensorrt",)),
    Pass(lrn_bias.NAME, lrn_bias.run, PREPARE, targets=("openvino",)),
    Pass(dft_matrix.NAME, dft_matrix.run, PREPARE, targets=("openvino", "tensorrt")),
    Pass(softplus_tail.NAME, softplus_tail.run, PREPARE, targets=("openvino", "portable")),
    # First of its stage: it puts convolutions next to each other.
    _lower(norm.OPERATOR, ("BatchNormalization",)),
    # Before the others: merging leaves fewer convolutions for them to match.
    _lower(linear.OPERATOR, ("Conv",)),
    # Before crelu: an embedded kernel is a linear reader of a CReLU, a SymmetricPad is not.
    _lower(symmetric_forms.OPERATOR, ("SymmetricPad",)),
    # Both before rectify: doubling a convolution reaches across its Rectify node.
    _lower(crelu_forms.OPERATOR, ("CRelu", "NegConcat")),
    _lower(crelu_forms.NEG_CONCAT, ("NegConcat",)),
    # Both after norm and linear, which change the convolutions that they read.
    _lower(boundary_forms.OPERATOR, ("BoundaryPad",)),
    _lower(boundary_forms.CIRCULAR_OPERATOR, ("BoundaryPad",)),
    # Only for "auto": a form of rectification that was asked for by name is kept. Quantization has forms of its own,
    # which begin with the plain multiply.
    _lower(rectify.OPERATOR, ("Rectify",), rectify=("auto",), precision=("fp32", "fp16", "bf16")),
    # Before rectify_graph: a constant is cheaper wherever sizes are known. Both leave planes to the plugin.
    Pass(
        rectify_fold.NAME,
        rectify_fold.run,
        RECTIFY,
        takes=("rectify",),
        rectify=("auto", "fold", "plugin"),
        operators=_RECTIFIES,
    ),
    # Takes what rectify_fold refused, so that no Rectify is left.
    Pass(
        rectify_graph.NAME,
        rectify_graph.run,
        RECTIFY,
        takes=("rectify",),
        rectify=("auto", "graph", "plugin"),
        operators=_RECTIFIES,
    ),
    # After rectify_graph, whose maps it writes with fewer nodes.
    Pass(
        rectify_ones.NAME,
        rectify_ones.run,
        RECTIFY,
        targets=("tensorrt",),
        rectify=("auto", "graph", "plugin"),
        precision=("fp32", "fp16", "bf16"),
        operators=tuple(RECTIFICATION_MAPS.values()),
    ),
    # Last to change a Rectify node: it makes nodes that the others do not know.
    Pass(rectify_border.NAME, rectify_border.run, RECTIFY, rectify=("plugin",), operators=("Rectify",)),
    # After every pass that reads MaskedCount and MaskedRectify. Before inline, whose bodies share nothing.
    Pass(counts.NAME, counts.run, RECTIFY, operators=_MASKED),
    # Takes what lowering left, and what its forms make. Before inline, whose bodies are slower.
    Pass(boundary_pad.NAME, boundary_pad.run, RECTIFY, operators=("BoundaryPad",)),
    # After every pass that matches dialect nodes.
    Pass(inline.NAME, inline.run, FINISH, takes=("rectify",)),
    # After inline: tidies what the others leave.
    Pass(cleanup.NAME, cleanup.run, FINISH),
    # After cleanup, which joins equal constants.
    Pass(shared_weights.NAME, shared_weights.run, FINISH, targets=("openvino",)),
    # After the passes that add Shape nodes. TensorRT 8.6 ignores their attributes.
    Pass(whole_shape.NAME, whole_shape.run, FINISH, targets=("tensorrt",)),
    # Last: all others keep values, and are compared in float32.
    Pass(half.NAME, half.run, PRECISION, takes=("feeds",), precision=("fp16",)),
    Pass(bfloat16.NAME, bfloat16.run, PRECISION, precision=("bf16",)),
)
