"""A .pt2 that could run code is refused before torch opens it; an ordinary one is loaded."""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rectexport.exporter.frontend.load import LoadOptions, load_source
from rectexport.exporter.frontend.program_archive import check_program_archive
from rectexport.models import CReLU, RectifiedConv2d
from rectexport.runtime.errors import BadInput

Edit = Callable[[str, bytes], bytes]


class Touch:
    """Unpickling it creates a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    net = torch.nn.Sequential(RectifiedConv2d(3, 4, 3, 2, 1), CReLU(), torch.nn.AdaptiveAvgPool2d(1)).eval()
    sizes = {0: torch.export.Dim("n", max=8), 2: torch.export.Dim("h", min=8, max=64)}
    program = torch.export.export(net, (torch.randn(2, 3, 16, 16),), dynamic_shapes=(sizes,))
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(program, path)
    return path


def rewrite(source: Path, target: Path, edit: Edit, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        top = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, edit(name.partition("/")[2], old.read(name)))
        for name, data in (extra or {}).items():
            new.writestr(f"{top}/{name}", data)
    return target


def keep(name: str, data: bytes) -> bytes:
    return data


def test_honest_program_loads(honest: Path) -> None:
    check_program_archive(honest)
    assert load_source(honest).kind == "program"


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "Symbol('s77').__class__",
        "(lambda: 1)()",
        "open('x')",
        "Integer(1)[0]",
        "sympify('__import__(1)')",
        "[x for x in (1,)]",
        "Symbol('a b; c')",
    ],
)
def test_expression_that_is_more_than_arithmetic(honest: Path, tmp_path: Path, expression: str) -> None:
    def edit(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        symbol = rb"Symbol\('s\d+', positive=True, integer=True\)"
        edited, count = re.subn(symbol, lambda match: json.dumps(expression)[1:-1].encode(), data)
        assert count
        return edited

    with pytest.raises(BadInput, match="not a plain expression"):
        load_source(rewrite(honest, tmp_path / "evil.pt2", edit))


def test_pickled_weight(honest: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Touch(canary))

    def edit(name: str, data: bytes) -> bytes:
        if name == "data/weights/weight_0":
            return payload
        return data.replace(b'"use_pickle": false', b'"use_pickle": true') if name.endswith("config.json") else data

    with pytest.raises(BadInput, match="pickled tensor"):
        load_source(rewrite(honest, tmp_path / "evil.pt2", edit))
    assert not canary.exists()


def test_pickled_sample_inputs(honest: Path, tmp_path: Path) -> None:
    canary, buffer = tmp_path / "canary", io.BytesIO()
    torch.save(Touch(canary), buffer)

    def edit(name: str, data: bytes) -> bytes:
        return buffer.getvalue() if name.startswith("data/sample_inputs/") else data

    with pytest.raises(BadInput, match="more than tensors"):
        load_source(rewrite(honest, tmp_path / "evil.pt2", edit))
    assert not canary.exists()


@pytest.mark.parametrize("prefix", ["custom_obj_0", "opaque_obj_0"])
def test_pickled_constant(honest: Path, tmp_path: Path, prefix: str) -> None:
    config = {"config": {"thing": {"path_name": prefix, "is_param": False, "use_pickle": False, "tensor_meta": None}}}

    def edit(name: str, data: bytes) -> bytes:
        return json.dumps(config).encode() if name == "data/constants/model_constants_config.json" else data

    with pytest.raises(BadInput, match="pickled object"):
        load_source(rewrite(honest, tmp_path / "evil.pt2", edit))


def test_constants_of_the_old_layout_and_libraries(honest: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="as a pickle"):
        check_program_archive(rewrite(honest, tmp_path / "a.pt2", keep, {"data/constants/model.pt": b"x"}))
    with pytest.raises(BadInput, match="compiled library"):
        check_program_archive(rewrite(honest, tmp_path / "b.pt2", keep, {"data/aotinductor/model/x.so": b"x"}))


@pytest.mark.parametrize(
    "target",
    [
        *(
            "torch.os.system",
            "torch.ops.load_library",
            "torch.ops.aten.from_file.default",
            "torch.ops.aten.save.default",
        ),
        *("torch.ops.aten.nothing.default", "torch.ops.aten.__class__"),
        *("_operator.methodcaller", "_operator.call", "math.__loader__", "#aten:conv2d", "os.system"),
    ],
)
def test_call_of_something_else_than_an_operator(honest: Path, tmp_path: Path, target: str) -> None:
    def edit(name: str, data: bytes) -> bytes:
        return data.replace(b"torch.ops.aten.conv2d.default", target.encode()) if "model.json" in name else data

    with pytest.raises(BadInput, match="not a torch operator"):
        load_source(rewrite(honest, tmp_path / "evil.pt2", edit))


def test_an_unusual_file_is_loaded_if_trusted(honest: Path, tmp_path: Path) -> None:
    odd = rewrite(honest, tmp_path / "odd.pt2", keep, {"data/constants/other.pt": b"x"})
    with pytest.raises(BadInput, match="trust_pickle=True"):
        load_source(odd)
    assert load_source(odd, LoadOptions(trust_pickle=True)).kind == "program"


def test_deep_and_huge_documents_end_quickly(honest: Path, tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    nested = rewrite(honest, tmp_path / "deep.pt2", lambda name, data: deep if "model.json" in name else data)
    with pytest.raises(BadInput, match="damaged"):
        check_program_archive(nested)
