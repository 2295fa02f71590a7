"""What an export for TensorRT logs about its versions, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from rectexport.exporter.tools.lint import lint
from rectexport.runtime.errors import BadInput
from tests.export.helper import build
from tests.export.nets import exported, image, source

IMAGE = "(float[1,2,4,4] x) => (float[1,2,4,4] y)"


def described(model: Any) -> list[str]:
    return [finding.describe() for finding in lint(model, "tensorrt").findings]


def test_versions_and_nodes_are_joined() -> None:
    body = "a = MaxPool<kernel_shape=[1,1], dilations=[2,2]>(x)\n y = MaxPool<kernel_shape=[1,1], dilations=[2,2]>(a)"
    (line,) = [line for line in described(build(IMAGE, body)) if "dilations" in line]
    assert line.startswith("TensorRT 8.6, TensorRT 10, TensorRT 11: refused: MaxPool: dilations (")
    assert line.endswith("; use no dilation") and line.count("→") == 2


def test_one_version_alone_is_not_certain() -> None:
    model = build(IMAGE, "y = Relu(x)")
    assert lint(model, "tensorrt").certain is None
    assert described(model) == [
        "TensorRT 8.6: unknown: opset 18; it is documented for opsets up to 17; it takes operators that have not "
        "changed since: rectexport build tries it there"
    ]


def test_attention_is_named_and_a_softmax_alone_is_not() -> None:
    body = "a = MatMul(x, x)\n b = Mul(a, scale)\n c = Softmax<axis=-1>(b)\n y = MatMul(c, x)"
    assert any("attention: wrong answers" in line for line in described(build(IMAGE, body, scale=np.float32([0.5]))))
    alone = build(IMAGE, "c = Softmax<axis=-1>(x)\n y = MatMul(c, x)")
    assert not any("attention" in line for line in described(alone))


@pytest.mark.parametrize(
    ("dtype", "said"), [("bfloat16", "TensorRT 8.6: refused: Relu: bfloat16"), ("double", "float64")]
)
def test_dtypes(dtype: str, said: str) -> None:
    model = build(IMAGE.replace("float", dtype), "y = Relu(x)", 22)
    assert any(said in line for line in described(model))


class Dilated(nn.Module):
    """A pool that no TensorRT takes."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2, 1, dilation=2).relu()


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().mean(1)


def test_an_export_that_no_version_takes_is_refused(tmp_path: Path) -> None:
    net = source(Dilated().eval(), image(1, 2, 6, 6))
    with pytest.raises(BadInput) as error:
        exported(net, tmp_path / "net", target="tensorrt")
    text = str(error.value)
    assert "TensorRT 8.6, TensorRT 10, TensorRT 11: refused: MaxPool: dilations (node_max_pool2d)" in text
    assert not (tmp_path / "net").exists()
    assert exported(net, tmp_path / "net", target="onnxruntime").package.path.is_dir()


def test_the_log_has_warnings(tmp_path: Path) -> None:
    package = exported(source(Mean().eval(), image(1, 2, 6, 6)), tmp_path / "net", target="tensorrt").package
    log = (package.path / "export.log").read_text()
    assert "TensorRT 8.6: wrong: ReduceMean: axes that are an input (opset 18) are ignored" in log
