"""A PyTorch module behind the Runner protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.engines.torch_runner import TorchRunner
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from tests.places import DIGITS


@pytest.fixture
def package(exported: Path) -> Package:
    return Package.open(exported)


@pytest.fixture
def net() -> Any:
    pytest.importorskip("torch")
    from rectexport.models.checkpoint import build, read_checkpoint

    return build(read_checkpoint(DIGITS), DIGITS)


def test_torch_runs_the_module_itself(package: Package, net: Any) -> None:
    inputs, expected = package.goldens()
    with load(package.path, "torch", model=net.eval()) as session:
        assert session.backend.description.startswith("PyTorch ") and session.backend.description.endswith(", cpu")
        for name, array in session.run(inputs).items():
            assert array.flags.writeable
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)
        runner = session._runner
    assert runner is not None
    with pytest.raises(BadInput, match="the model was closed"):
        runner.run(inputs)
    with pytest.raises(BadInput, match="training mode"):
        TorchRunner(net.train(), package.manifest)


def test_nested_outputs_are_taken_in_order(package: Package) -> None:
    torch = pytest.importorskip("torch")

    class Nested(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return {"b": [x + 1, (x + 2,)], "a": x + 3, "note": "text"}

    outputs = tuple(replace(package.manifest.outputs[0], name=f"out{index}") for index in range(3))
    manifest = replace(package.manifest, outputs=outputs)
    runner = TorchRunner(Nested().eval(), manifest)
    x = np.zeros((4, 1, 8, 8), np.float32)
    assert [array.flat[0] for array in runner.run({"x": x}).values()] == [1, 2, 3]
    assert [spec.name for spec in runner.outputs] == ["out0", "out1", "out2"]
    with pytest.raises(BadInput, match="the module returns 3 tensors, but the package has 1"):
        TorchRunner(Nested().eval(), package.manifest).run({"x": x})
    with pytest.raises(BadInput, match=r"^PyTorch could not run with x float32\[2\]: "):
        TorchRunner(torch.nn.Conv2d(1, 1, 1).eval(), package.manifest).run({"x": np.zeros(2, np.float32)})
