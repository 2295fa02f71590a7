"""Triton's model configuration for a package, as the protobuf message that Triton reads."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    file is the model's name in the version's folder, "" for the backend's usual one. files maps a GPU's compute
    capability to the plan for it, and profiles is how many optimization profiles each plan has; both are TensorRT's.
    warm_up maps each input to a file in the model's warmup/ folder and the sample's shape; rows is its batch size.
    """

    backend: str = "onnxruntime"
    instances: int = 1
    gpu: bool = False
    max_delay_us: int = 500
    warm_up: Mapping[str, tuple[str, Sequence[int]]] | None = None
    rows: int = 1
    file: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    profiles: int = 1


#: Prefix of the parameter that gives an input's whole shape; dims have no place for steps.
SHAPE_OF = "rectexport.shape."


def model_config(name: str, signature: Signature, deployment: Deployment | None = None) -> Any:
    """A tritonclient.grpc.model_config_pb2.ModelConfig.

    Where requests are batched, dims leave the batch axis out, as Triton requires; elsewhere max_batch_size is 0 and
    dims hold all axes. Triton has no empty dims: a number for each row is dims [1] with an empty reshape, and a single
    number dims [1]. Where an input takes only some sizes, such as multiples of 32, a parameter says which; a client may
    read it, and Triton itself does not check it. Raises MissingDependency when tritonclient is not installed.
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
    for side, tensors in ((config.input, signature.inputs), (config.output, signature.outputs)):
        for tensor in tensors.values():
            entry = side.add(name=tensor.name, data_type=data_type(pb, tensor), dims=dims(tensor, signature) or [1])
            if signature.max_batch and len(tensor.shape) == 1:
                entry.reshape.SetInParent()
    for tensor in signature.inputs.values():
        if any(step > 1 for step in tensor.steps):
            config.parameters[f"{SHAPE_OF}{tensor.name}"].string_value = tensor.expected
    config.cc_model_filenames.update(chosen.files)
    kind = pb.ModelInstanceGroup.KIND_GPU if chosen.gpu else pb.ModelInstanceGroup.KIND_CPU
    group = config.instance_group.add(kind=kind, count=chosen.instances)
    if chosen.profiles > 1:
        group.profile.extend(map(str, range(chosen.profiles)))
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
    """The configuration as JSON values, as Triton gives it: with fields at their defaults, and numbers as numbers.

    Messages that are not set are left out.
    """
    found: dict[str, Any] = {}
    for item in config.DESCRIPTOR.fields:
        if item.message_type is not None and not _repeated(item) and not config.HasField(item.name):
            continue
        if item.containing_oneof is not None and config.WhichOneof(item.containing_oneof.name) != item.name:
            continue
        found[item.name] = _as_value(item, getattr(config, item.name))
    return found


def _as_value(item: Any, value: Any) -> Any:
    if item.message_type is not None and item.message_type.GetOptions().map_entry:
        entry = item.message_type.fields_by_name["value"]
        return {str(key): _single(entry, value[key]) for key in value}
    if _repeated(item):
        return [_single(item, one) for one in value]
    return _single(item, value)


def _repeated(item: Any) -> bool:
    """Whether a field holds a list or a map; older protobuf libraries have only the label."""
    found = getattr(item, "is_repeated", None)
    return bool(item.label == item.LABEL_REPEATED if found is None else found)


def _single(item: Any, value: Any) -> Any:
    if item.message_type is not None:
        return as_dict(value)
    if item.enum_type is not None:
        return item.enum_type.values_by_number[value].name
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def as_text(config: Any) -> str:
    """The configuration as text for config.pbtxt."""
    return str(require("google.protobuf.text_format").MessageToString(config))


def _add_warm_up(pb: Any, config: Any, signature: Signature, chosen: Deployment) -> None:
    assert chosen.warm_up is not None
    sample = config.model_warmup.add(name="golden", batch_size=chosen.rows if signature.max_batch else 1)
    for name, (file, shape) in chosen.warm_up.items():
        entry = sample.inputs[name]
        entry.data_type = data_type(pb, signature.inputs[name])
        entry.dims.extend((shape[1:] if signature.max_batch else shape) or (1,))
        entry.input_data_file = file
