"""Triton's model configuration for a package, as the protobuf message that Triton reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.serving.signature import Signature, Tensor

#: Backend -> (platform, file in the version's folder).
BACKENDS = {"onnxruntime": ("onnxruntime_onnx", "model.onnx"), "tensorrt": ("tensorrt_plan", "model.plan")}
WARM_UP_FOLDER = "warmup"


@dataclass(frozen=True)
class Deployment:
    """What the signature does not say: the backend, its instances, how batches form, files for the warm-up.

    warm_up maps each input to a file in the model's warmup/ folder and the sample's shape; its rows are `rows`.
    """

    backend: str = "onnxruntime"
    instances: int = 1
    gpu: bool = False
    max_delay_us: int = 500
    warm_up: Mapping[str, tuple[str, Sequence[int]]] | None = None
    rows: int = 1


def model_config(name: str, signature: Signature, deployment: Deployment | None = None) -> Any:
    """A tritonclient.grpc.model_config_pb2.ModelConfig.

    With a batch dimension, dims leave it out, as Triton wants them; a fixed batch gives max_batch_size 0 and whole
    dims. Raises MissingDependency when tritonclient is not installed.
    """
    pb = require("tritonclient.grpc.model_config_pb2")
    chosen = deployment or Deployment()
    platform, file = BACKENDS[chosen.backend]
    config = pb.ModelConfig(
        name=name,
        platform=platform,
        backend=chosen.backend,
        max_batch_size=signature.max_batch,
        default_model_filename=file,
    )
    for tensor in signature.inputs.values():
        config.input.add(name=tensor.name, data_type=data_type(pb, tensor), dims=dims(tensor, signature))
    for tensor in signature.outputs.values():
        config.output.add(name=tensor.name, data_type=data_type(pb, tensor), dims=dims(tensor, signature))
    kind = pb.ModelInstanceGroup.KIND_GPU if chosen.gpu else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind, count=chosen.instances)
    if signature.max_batch:
        config.dynamic_batching.max_queue_delay_microseconds = chosen.max_delay_us
    if chosen.warm_up:
        _add_warm_up(pb, config, signature, chosen)
    return config


def data_type(pb: Any, tensor: Tensor) -> int:
    """Triton's number for the tensor's type."""
    return int(pb.DataType.Value(f"TYPE_{tensor.datatype}"))


def dims(tensor: Tensor, signature: Signature) -> list[int]:
    """The tensor's sizes as the configuration lists them."""
    return list(tensor.shape[1:] if signature.max_batch else tensor.shape)


def as_dict(config: Any) -> dict[str, Any]:
    """As the protocol's model configuration extension writes it in JSON."""
    json_format = require("google.protobuf.json_format")
    found = json_format.MessageToDict(config, preserving_proto_field_name=True)
    for side in ("input", "output"):
        for tensor in found.get(side, ()):
            tensor["dims"] = [int(size) for size in tensor["dims"]]
    return dict(found)


def as_text(config: Any) -> str:
    """As config.pbtxt holds it."""
    return str(require("google.protobuf.text_format").MessageToString(config))


def _add_warm_up(pb: Any, config: Any, signature: Signature, chosen: Deployment) -> None:
    assert chosen.warm_up is not None
    sample = config.model_warmup.add(name="golden", batch_size=chosen.rows if signature.max_batch else 1)
    for name, (file, shape) in chosen.warm_up.items():
        entry = sample.inputs[name]
        entry.data_type = data_type(pb, signature.inputs[name])
        entry.dims.extend(shape[1:] if signature.max_batch else shape)
        entry.input_data_file = file
