"""Triton's model configuration for a package, as the protobuf message that Triton reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.serving.signature import ServedTensor, Signature

#: Backend -> (platform, file in the version's folder). OpenVINO's has no name of a platform.
BACKENDS = {
    "onnxruntime": ("onnxruntime_onnx", "model.onnx"),
    "openvino": ("", "model.onnx"),
    "tensorrt": ("tensorrt_plan", "model.plan"),
}
WARM_UP_FOLDER = "warmup"


@dataclass(frozen=True)
class Deployment:
    """Settings that the signature lacks: backend, instances, batching delay in microseconds, warm-up files.

    file is the model's name in the version's folder, "" for the backend's usual one.

    warm_up maps each input to a file in the model's warmup/ folder and the sample's shape; rows is its batch size.
    """

    backend: str = "onnxruntime"
    instances: int = 1
    gpu: bool = False
    max_delay_us: int = 500
    warm_up: Mapping[str, tuple[str, Sequence[int]]] | None = None
    rows: int = 1
    file: str = ""


#: Prefix of the parameter that gives an input's whole shape; dims have no place for steps.
SHAPE_OF = "rectexport.shape."


def model_config(name: str, signature: Signature, deployment: Deployment | None = None) -> Any:
    """A tritonclient.grpc.model_config_pb2.ModelConfig.

    With a dynamic batch dimension, dims leave it out, as Triton requires; with a fixed batch, max_batch_size is 0 and
    dims hold all axes. Where an input takes only some sizes, such as multiples of 32, a parameter says which; a client
    may read it, and Triton itself does not check it. Raises MissingDependency when tritonclient is not installed.
    """
    pb = require("tritonclient.grpc.model_config_pb2")
    chosen = deployment or Deployment()
    platform, file = BACKENDS[chosen.backend]
    config = pb.ModelConfig(
        name=name,
        platform=platform,
        backend=chosen.backend,
        max_batch_size=signature.max_batch,
        default_model_filename=chosen.file or file,
    )
    for tensor in signature.inputs.values():
        config.input.add(name=tensor.name, data_type=data_type(pb, tensor), dims=dims(tensor, signature))
        if any(step > 1 for step in tensor.steps):
            config.parameters[f"{SHAPE_OF}{tensor.name}"].string_value = tensor.expected
    for tensor in signature.outputs.values():
        config.output.add(name=tensor.name, data_type=data_type(pb, tensor), dims=dims(tensor, signature))
    kind = pb.ModelInstanceGroup.KIND_GPU if chosen.gpu else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind, count=chosen.instances)
    if signature.max_batch:
        config.dynamic_batching.max_queue_delay_microseconds = chosen.max_delay_us
    if chosen.warm_up:
        _add_warm_up(pb, config, signature, chosen)
    return config


def data_type(pb: Any, tensor: ServedTensor) -> int:
    """The tensor's type as a value of Triton's DataType enum."""
    return int(pb.DataType.Value(f"TYPE_{tensor.datatype}"))


def dims(tensor: ServedTensor, signature: Signature) -> list[int]:
    """The tensor's sizes as the configuration lists them: without the batch axis when requests are batched."""
    return list(tensor.shape[1:] if signature.max_batch else tensor.shape)


def as_dict(config: Any) -> dict[str, Any]:
    """The configuration as JSON values, as the protocol's model configuration extension defines them."""
    json_format = require("google.protobuf.json_format")
    found = json_format.MessageToDict(config, preserving_proto_field_name=True)
    for side in ("input", "output"):
        for tensor in found.get(side, ()):
            tensor["dims"] = [int(size) for size in tensor["dims"]]
    return dict(found)


def as_text(config: Any) -> str:
    """The configuration as text for config.pbtxt."""
    return str(require("google.protobuf.text_format").MessageToString(config))


def _add_warm_up(pb: Any, config: Any, signature: Signature, chosen: Deployment) -> None:
    assert chosen.warm_up is not None
    sample = config.model_warmup.add(name="golden", batch_size=chosen.rows if signature.max_batch else 1)
    for name, (file, shape) in chosen.warm_up.items():
        entry = sample.inputs[name]
        entry.data_type = data_type(pb, signature.inputs[name])
        entry.dims.extend(shape[1:] if signature.max_batch else shape)
        entry.input_data_file = file
