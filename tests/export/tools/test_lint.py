"""What an export for TensorRT logs about its versions, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from rectexport.exporter.tools.lint import lint
from rectexport.runtime.errors import BadInput, UsageError
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


def test_one_version_alone_is_judged() -> None:
    """A refusal of the documentation is certain where one version was asked for."""
    sizes = {"sizes": np.int64([1, 2, 8, 8])}
    model = build("(float[1,2,4,4] x) => (float[1,2,8,8] y)", 'y = Resize<mode="cubic">(x, , , sizes)', **sizes)
    assert lint(model, "tensorrt").certain is None
    old, new = lint(model, "tensorrt", "8.6"), lint(model, "tensorrt", "10.3")
    assert old.certain is not None and old.certain.describe().startswith("TensorRT 8.6: refused: Resize: mode cubic")
    assert [finding.versions for finding in old.findings] == [("TensorRT 8.6",)] * len(old.findings)
    assert new.certain is None and not new.findings


@pytest.mark.parametrize(
    ("version", "verdict"), [("8.5", "refused"), ("8.6.2", "refused"), ("9.0", None), ("10", None), ("12.0", None)]
)
def test_versions(version: str, verdict: str | None) -> None:
    model = build(IMAGE.replace("float", "bfloat16"), "y = Relu(x)", 22)
    if verdict is None:
        with pytest.raises(UsageError, match=r"tensorrt_version='.*': expected 8\.5, 8\.6, or one of 10 and 11"):
            lint(model, "tensorrt", version)
    else:
        assert lint(model, "tensorrt", version).findings[0].verdict == verdict


def test_what_jetpack_5_lacks() -> None:
    model = build(IMAGE, "y = HardSwish(x)")
    assert lint(model, "tensorrt", "8.5").findings[0].reason == "HardSwish: it has no such operator"
    assert lint(model, "tensorrt", "8.6").certain is None


class Dilated(nn.Module):
    """A pool that no TensorRT takes."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2, 1, dilation=2).relu()


def test_an_export_for_one_version(tmp_path: Path) -> None:
    net = source(Dilated().eval(), image(1, 2, 6, 6))
    with pytest.raises(BadInput, match=r"^TensorRT 10\.3: refused: MaxPool: dilations .* without tensorrt_version$"):
        exported(net, tmp_path / "net", target="tensorrt", tensorrt_version="10.3")
    with pytest.raises(UsageError, match="tensorrt_version: is for target='tensorrt'"):
        exported(net, tmp_path / "net", target="onnxruntime", tensorrt_version="10.3")


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
    net = source(Mean().eval(), image(1, 2, 6, 6))
    package = exported(net, tmp_path / "new", target="tensorrt", tensorrt_version="10.3").package
    assert "ReduceMean: axes that are an input" not in (package.path / "export.log").read_text()
