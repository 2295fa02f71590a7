"""Tell tensors [N, C, L] from tokens [N, T, C], which have the same rank."""

from __future__ import annotations

from onnx import ModelProto

from rectexport.exporter.graph.dialect import DOMAIN, STANDARD_DOMAINS

#: Operators whose output has a place for each place of their input along the last axis, or samples of them.
_FOLLOWS = frozenset(
    (
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Elu", "Erf", "Gelu", "Identity"),
        *("InstanceNormalization", "LeakyRelu", "MaxPool", "Mul", "Neg", "Pad", "PRelu", "Relu", "Resize", "Sigmoid"),
        *("Slice", "Softplus", "Sub", "Tanh"),
    )
)


def along_one_axis(model: ModelProto) -> set[str]:
    """Names of tensors that a convolution writes, or that follow from one place by place; of any rank."""
    found: set[str] = set()
    for node in model.graph.node:
        ours = node.domain == DOMAIN
        follows = ours or (node.domain in STANDARD_DOMAINS and node.op_type in _FOLLOWS)
        if node.op_type in ("Conv", "ConvTranspose") or (follows and not found.isdisjoint(node.input)):
            found.update(node.output)
    return found
