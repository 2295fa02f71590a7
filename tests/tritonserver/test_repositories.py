"""What `rectexport triton` writes is loaded by a real tritonserver and answers as the session and `serve` do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rectexport
from benchmarks.tritonserver.server import Triton, absent, stand_in, tritonserver
from rectexport.runtime.package.folder import Package, add_files
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.triton.check import check_repository
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.merge import read_config
from rectexport.runtime.serving.triton.repository import CONFIG, write_model
from tests.runtime.engines.tensorrt.test_plans import H100, entry
from tests.runtime.serving.triton.test_rules import GOOD, REFUSED

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent() or "-")
BATCH = torch.export.Dim("batch", min=1, max=8)


class Net(nn.Module):
    def __init__(self, answer: Callable[..., Any]) -> None:
        super().__init__()
        self.conv, self.answer = nn.Conv2d(2, 3, 3, padding=1), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.conv, x)


class Two(nn.Module):
    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * scale[:, None]


IMAGE = torch.rand(2, 2, 6, 6)
WIDE = {0: BATCH, 3: torch.export.Dim("w", min=4, max=12)}
#: Name -> model, examples, dynamic shapes.
KINDS: dict[str, tuple[nn.Module, tuple[Tensor, ...], Any]] = {
    "plain": (Net(lambda conv, x: conv(x)), (IMAGE,), ({0: BATCH},)),
    "classes": (Net(lambda conv, x: (conv(x).mean((2, 3)).argmax(1), conv(x))), (IMAGE,), ({0: BATCH},)),
    "number": (Net(lambda conv, x: (conv(x), conv(x).mean())), (IMAGE,), ({0: BATCH},)),
    "fixed": (Net(lambda conv, x: conv(x)), (IMAGE,), None),
    "by_maximum": (Net(lambda conv, x: conv(x / x.max())), (IMAGE,), ({0: BATCH},)),
    "wide": (Net(lambda conv, x: conv(x)), (IMAGE,), (WIDE,)),
    "bytes": (
        Net(lambda conv, x: conv(x / 255.0)),
        (torch.randint(0, 255, (2, 2, 6, 6), dtype=torch.uint8),),
        ({0: BATCH},),
    ),
    "int8": (Net(lambda conv, x: conv(x).relu()), (IMAGE,), ({0: BATCH},)),
    "planned": (Net(lambda conv, x: conv(x)), (IMAGE,), ({0: BATCH},)),
    "vector": (Two(), (torch.rand(2, 3), torch.rand(2)), ({0: BATCH}, {0: BATCH})),
}


def add_plan(package: Path) -> None:
    """Add the entry of a plan with two profiles, as a build writes it; the plan itself is only a few bytes."""
    made = entry(package, H100)
    profiles = [{"x": {key: [size, 2, 6, 6] for key in ("min", "opt", "max")}} for size in (1, 8)]
    made |= {"options": {**made["options"], "profiles": profiles}, "sha256": hashlib.sha256(b"a plan").hexdigest()}
    add_files(package, {made["file"]: b"a plan"}, {"plans": [made]})


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("triton")
    for name, (model, examples, shapes) in KINDS.items():
        images = np.random.default_rng(0).random((64, *IMAGE.shape[1:]), dtype=np.float32)
        more: Any = {"int8": rectexport.Int8({"x": images}), "target": "onnxruntime"} if name == "int8" else {}
        rectexport.export(model.eval(), examples, folder / name, shapes, guard=False, **more)
        if name == "planned":
            add_plan(folder / name)
        deployment = Deployment("tensorrt", gpu=True) if name == "planned" else Deployment()
        write_model(ServedPackage(name, "1", folder / name), folder / "repository", deployment)
    write_model(ServedPackage("plain", "3", folder / "plain"), folder / "repository", Deployment())
    return folder / "repository"


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    scratch = tmp_path_factory.mktemp("server")
    with tritonserver(stand_in(repository, scratch / "repository"), scratch) as running:
        yield running


def test_every_version_is_loaded_and_warmed_up(repository: Path, triton: Triton) -> None:
    names, findings = check_repository(repository)
    assert (sorted(names), findings) == (sorted(KINDS), [])
    assert triton.states() == {**{f"{name}/1": "READY" for name in KINDS}, "plain/3": "READY"}


def test_the_plan_and_its_profiles_are_in_the_configuration(repository: Path) -> None:
    config = read_config(repository / "planned" / CONFIG)
    assert (config.backend, config.platform, config.max_batch_size) == ("tensorrt", "tensorrt_plan", 8)
    assert dict(config.cc_model_filenames) == {"9.0": H100.plan_name}
    (group,) = config.instance_group
    assert group.kind == group.KIND_GPU and list(group.profile) == ["0", "1"]


def infer(library: Any, address: str, model: str, feeds: dict[str, Any], batched: bool) -> dict[str, Any]:
    """Ask with a stock client; a number for each row has an axis of one in Triton."""
    datatypes = {"float32": "FP32", "uint8": "UINT8"}
    with library.InferenceServerClient(address) as client:
        inputs = []
        for name, array in feeds.items():
            sent = array[:, None] if batched and array.ndim == 1 else array
            inputs.append(library.InferInput(name, list(sent.shape), datatypes[array.dtype.name]))
            inputs[-1].set_data_from_numpy(sent)
        result = client.infer(model, inputs)
        response = result.get_response()
        listed = response["outputs"] if isinstance(response, dict) else response.outputs
        names = [one["name"] if isinstance(one, dict) else one.name for one in listed]
        return {name: result.as_numpy(name) for name in names}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("name", KINDS)
def test_answers_are_the_session_s(repository: Path, triton: Triton, name: str, protocol: str) -> None:
    library = pytest.importorskip(f"tritonclient.{protocol}")
    package = Package.open(repository / name / "1")
    batched = package.manifest.rows == "independent"
    feeds, _ = package.goldens()
    with rectexport.load(package.path, "onnxruntime") as session:
        wanted = session.run(feeds)
    found = infer(library, getattr(triton, protocol), name, feeds, batched)
    for output, array in wanted.items():
        got = found[output]
        expected = array[:, None] if batched and array.ndim == 1 else array.reshape(1) if array.ndim == 0 else array
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "by_maximum"])
def test_requests_at_the_same_time_get_their_own_answers(repository: Path, triton: Triton, name: str) -> None:
    library = pytest.importorskip("tritonclient.http")
    rows = [np.random.default_rng(k).random((1, 2, 6, 6), dtype=np.float32) * (k + 1) for k in range(8)]
    with rectexport.load(repository / name / "1", "onnxruntime") as session:
        alone = [session.run({"x": row}) for row in rows]

    def ask(k: int) -> bool:
        found = infer(library, triton.http, name, {"x": rows[k % 8]}, True)
        return all(np.allclose(found[key], value, rtol=1e-3, atol=1e-4) for key, value in alone[k % 8].items())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(80)))
    stats = triton.ask("GET", f"/v2/models/{name}/stats")["model_stats"][0 if name == "by_maximum" else -1]
    batches = [entry["batch_size"] for entry in stats["batch_stats"]]
    assert max(batches) > 1 if name == "plain" else max(batches) == 1  # the load did make Triton batch, where it may


def test_the_served_configuration_has_triton_s_fields_and_types(repository: Path, triton: Triton) -> None:
    """A client reads the same values in either; fields that only one of the two has are not compared."""
    from rectexport.runtime.serving.triton.config import as_dict

    for name in KINDS:
        ours = as_dict(read_config(repository / name / CONFIG))
        theirs = triton.ask("GET", f"/v2/models/{name}/config")
        for field in ("name", "max_batch_size", "input", "output", "model_warmup"):
            assert json.loads(json.dumps(ours[field])) == theirs[field], (name, field)


#: Faults that only the backend named in the configuration, or no CPU build, would refuse.
ELSEWHERE = {"accelerator", "unknown", "none"}


def test_triton_refuses_what_our_rules_refuse(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    texts = {"good": GOOD}
    for name, (old, new, _) in REFUSED.items():
        if name not in ELSEWHERE:
            start = GOOD.replace("dims: [3]", "dims: [1] reshape { }") if name == "scalar" else GOOD
            texts[name.replace(" ", "_")] = start.replace(old, new)
    for name, text in texts.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1/model.py").write_text("class TritonPythonModel:\n    pass\n")
        named = text.replace('name: "t"', f'name: "{name}"', 1)
        (folder / name / CONFIG).write_text(
            named.replace('backend: "onnxruntime" platform: "onnxruntime_onnx"', 'backend: "python"')
        )
    with tritonserver(folder, tmp_path) as running:
        states = {name.split("/")[0]: state for name, state in running.states().items()}
    assert [name for name in texts if states.get(name) == "READY"] == ["good"], states
