"""What Triton itself refuses in a model's configuration, whatever the model: its rules as of release 2.51.

They are those of ValidateModelConfig, ValidateIOShape and ValidateInstanceGroup in
https://github.com/triton-inference-server/core/blob/main/src/model_config_utils.cc. Fields that no rule here knows are
named too, so that a repository is never called good because of something that was not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FREE = -1
#: Fields that are checked here or in check.py, or that Triton takes as they are.
KNOWN = frozenset(
    (
        *("name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "dynamic_batching"),
        *("instance_group", "default_model_filename", "cc_model_filenames", "metric_tags", "parameters"),
        *("model_warmup", "optimization", "response_cache", "model_transaction_policy", "runtime"),
    )
)
ACCELERATORS = {"onnxruntime": {"tensorrt", "cuda", "openvino"}}


def refusals(config: Any, pb: Any, versions: Sequence[str], folder: Path) -> Iterator[str]:
    """Every reason for which Triton would not load the model, as text; `versions` are the folders beside it."""
    for item, _ in config.ListFields():
        if item.name not in KNOWN:
            yield f"{item.name}: this check does not know it; try it with tritonserver"
    yield from version_refusals(config, versions)
    for side in ("input", "output"):
        for tensor in getattr(config, side):
            where = f"{side} {tensor.name}"
            yield from (f"{where}: {text}" for text in tensor_refusals(config, tensor))
        for tensor in config.input if side == "input" else ():
            linear = (pb.ModelInput.FORMAT_NCHW, pb.ModelInput.FORMAT_NHWC)
            if tensor.format in linear and len(tensor.dims) != 3:
                yield f"input {tensor.name}: format NCHW or NHWC with {len(tensor.dims)} dims, expected 3"
    for tensor in config.output:
        if tensor.label_filename and not (folder / tensor.label_filename).is_file():
            yield f"output {tensor.name}: label_filename {tensor.label_filename!r} is missing"
    if config.HasField("dynamic_batching"):
        yield from (f"dynamic_batching: {text}" for text in _batching(config, pb))
    for group in config.instance_group:
        yield from (f"instance_group: {text}" for text in _group(config, group, pb))
    if config.model_transaction_policy.decoupled:
        yield "model_transaction_policy: a model of this kind gives one answer to each request, so not decoupled"
    accelerators = config.optimization.execution_accelerators
    known = ACCELERATORS.get(config.backend, set())
    for entry in (*accelerators.gpu_execution_accelerator, *accelerators.cpu_execution_accelerator):
        if entry.name not in known:
            yield f"optimization: accelerator {entry.name!r}: backend {config.backend!r} takes {sorted(known)}"


def version_refusals(config: Any, versions: Sequence[str]) -> Iterator[str]:
    """What Triton refuses in the policy of versions, with these version folders."""
    policy = config.version_policy
    if policy.HasField("specific"):
        missing = [str(number) for number in policy.specific.versions if str(number) not in versions]
        if missing or not policy.specific.versions:
            yield f"version_policy: no version {', '.join(missing) or 'is named'}"
    if policy.HasField("latest") and policy.latest.num_versions < 1:
        yield "version_policy: latest 0 versions: none is served"


def tensor_refusals(config: Any, tensor: Any) -> Iterator[str]:
    """What Triton refuses in an input or output."""
    dims, reshaped = list(tensor.dims), list(tensor.reshape.shape)
    if not tensor.name:
        yield "no name"
    if not dims:
        yield "no dims"
    if any(size != FREE and size < 1 for size in dims):
        yield f"dims {dims}: expected -1 or sizes from 1"
    if tensor.is_shape_tensor and config.platform != "tensorrt_plan":
        yield "is_shape_tensor: only backend tensorrt has shape tensors"
    if tensor.is_non_linear_format_io:
        yield "is_non_linear_format_io: models of this kind have linear tensors"
    if not tensor.HasField("reshape"):
        return
    if not reshaped and config.max_batch_size == 0:
        yield "an empty reshape with max_batch_size 0: Triton has no scalars; leave the reshape out"
    if any(size != FREE and size < 1 for size in reshaped):
        yield f"reshape {reshaped}: expected -1 or sizes from 1"
    elif _runs(dims) != _runs(reshaped):
        yield f"reshape {reshaped}: another number of elements than dims {dims}"


def _runs(sizes: Sequence[int]) -> list[int]:
    """Numbers of elements between the free sizes, which a reshape must keep."""
    counts = [1]
    for size in sizes:
        if size == FREE:
            counts.append(1)
        else:
            counts[-1] *= size
    return counts


def _batching(config: Any, pb: Any) -> Iterator[str]:
    chosen, levels = config.dynamic_batching, config.dynamic_batching.priority_levels
    for size in chosen.preferred_batch_size:
        if not 1 <= size <= config.max_batch_size:
            yield f"preferred_batch_size {size}: expected 1 to max_batch_size {config.max_batch_size}"
    if levels and not 1 <= chosen.default_priority_level <= levels:
        yield f"default_priority_level {chosen.default_priority_level}: expected 1 to {levels}"
    if levels and any(not 1 <= level <= levels for level in chosen.priority_queue_policy):
        yield f"priority_queue_policy: expected levels from 1 to {levels}"
    if not chosen.preserve_ordering:
        return
    if levels > 1:
        yield "preserve_ordering with more than one priority level"
    for policy in (chosen.default_queue_policy, *chosen.priority_queue_policy.values()):
        if policy.default_timeout_microseconds and policy.timeout_action == pb.ModelQueuePolicy.DELAY:
            yield "preserve_ordering with the timeout action DELAY"


def _group(config: Any, group: Any, pb: Any) -> Iterator[str]:
    if group.count < 0:
        yield f"count {group.count}"
    if group.gpus and group.kind in (pb.ModelInstanceGroup.KIND_CPU, pb.ModelInstanceGroup.KIND_MODEL):
        yield f"{pb.ModelInstanceGroup.Kind.Name(group.kind)} with gpus {list(group.gpus)}"
    if group.profile and config.platform != "tensorrt_plan":
        yield "profile: only backend tensorrt has optimization profiles"
    for profile in group.profile:
        if not profile.isdecimal():
            yield f"profile {profile!r}: expected a number from 0"
    if config.backend == "tensorrt" and group.kind == pb.ModelInstanceGroup.KIND_CPU:
        yield "KIND_CPU with backend tensorrt, which runs on GPUs"
