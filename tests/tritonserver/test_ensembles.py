"""Ensembles run in a real tritonserver: images in, answers out, as one graph with the same parts gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rectexport
from benchmarks.tritonserver.server import Triton, absent, stand_in, tritonserver
from rectexport.cli.ensemble import write_with_ensemble
from rectexport.exporter.base.processing import parse_answer, parse_image_input
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.triton.check import check_repository
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.repository import CONFIG
from tests.runtime.serving.triton.test_ensemble_rules import GOOD, REFUSED, write

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent() or "-")
IMAGE = "photo:uint8,nhwc,bgr,resize=10,crop=8,mean=0.5,0.4,0.3,std=0.25"
BATCH = torch.export.Dim("batch", min=1, max=16)


class Net(nn.Module):
    """[N, 3, 8, 8] -> 5 logits for each row; by the maximum of the batch if asked to; with a map if asked to."""

    def __init__(self, by_maximum: bool = False, maps: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.by_maximum, self.maps = by_maximum, maps

    def forward(self, x: Tensor) -> Any:
        planes = self.conv(x / x.abs().max() if self.by_maximum else x).relu()
        logits = self.linear(planes.mean((2, 3)))
        return {"logits": logits, "map": planes} if self.maps else logits


#: Name -> network, whether its batch is free, whether images are inside its graph, the answer.
KINDS: dict[str, tuple[Net, bool, bool, str]] = {
    "plain": (Net(), True, False, "topk=2"),
    "fixed": (Net(), False, False, "softmax"),
    "dependent": (Net(by_maximum=True), True, False, "argmax"),
    "maps": (Net(maps=True), True, False, "logits:topk=3"),
    "inside": (Net(), True, True, "topk=2"),
}


def photos(rows: int = 2) -> Any:
    return np.random.default_rng(1).integers(0, 256, (rows, 12, 15, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensembles")
    for name, (net, free, inside, answer) in KINDS.items():
        example = torch.from_numpy(photos()) if inside else torch.randn(2, 3, 8, 8)
        image = IMAGE if inside else None
        rectexport.export(
            net.eval(), (example,), folder / name, ({0: BATCH},) if free else None, image_input=image, guard=False
        )
        write_with_ensemble(
            ServedPackage(name, "1", folder / name),
            folder / "repository",
            Deployment(),
            None if inside else parse_image_input(IMAGE),
            parse_answer(answer),
            None,
            (),
        )
    return folder / "repository"


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    scratch = tmp_path_factory.mktemp("server")
    with tritonserver(stand_in(repository, scratch / "repository"), scratch) as running:
        yield running


def test_every_ensemble_is_loaded(repository: Path, triton: Triton) -> None:
    names, findings = check_repository(repository)
    assert findings == []
    assert triton.states() == {f"{name}/1": "READY" for name in names}, triton.log.read_text()[-2000:]


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_those_of_one_graph(triton: Triton, name: str, tmp_path: Path) -> None:
    library = pytest.importorskip("tritonclient.http")
    net, _, _, answer = KINDS[name]
    example = (torch.from_numpy(photos()),)
    whole = rectexport.export(net.eval(), example, tmp_path / "p", image_input=IMAGE, output=answer, guard=False)
    with rectexport.load(whole.path, "onnxruntime") as session:
        wanted = session.run({"photo": photos()})
    with library.InferenceServerClient(triton.http) as client:
        tensor = library.InferInput("photo", [2, 12, 15, 3], "UINT8")
        tensor.set_data_from_numpy(photos())
        result = client.infer(f"{name}_ensemble", [tensor])
    assert {one["name"] for one in result.get_response()["outputs"]} == set(wanted)
    for output, array in wanted.items():
        np.testing.assert_allclose(result.as_numpy(output), array, rtol=1e-4, atol=1e-5)


#: Faults that Triton takes without a word and we name all the same.
TAKEN: set[str] = set()


def test_triton_refuses_what_our_rules_refuse(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    texts = {"good": GOOD}
    texts |= {name.replace(" ", "_"): GOOD.replace(old, new) for name, (old, new, _) in REFUSED.items()}
    for name, text in texts.items():
        write(folder, text, name)
    for step in ("one", "two"):
        (folder / step / "1/model.py").write_text("class TritonPythonModel:\n    pass\n")
    with tritonserver(folder, tmp_path) as running:
        states = {name.split("/")[0]: state for name, state in running.states().items()}
    assert {name for name in texts if states.get(name) == "READY"} == {"good", *TAKEN}, states
    assert (folder / "good" / CONFIG).is_file()
