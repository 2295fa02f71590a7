"""Training checkpoints that hold more than tensors, read without running code from them."""

from __future__ import annotations

import argparse
import collections
import enum
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rectexport.models.loading.inert import Inert, load_inert, module_state


class Stage(enum.Enum):
    """As trainers keep it."""

    FIT = "fit"


class Settings(dict):
    """A dict of its own class, as Lightning's AttributeDict is."""


class Places(list):
    """A list of its own class."""


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Net(nn.Module):
    """Nested modules, a buffer that is kept and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("passing", torch.ones(2), persistent=False)


def read(value: Any, path: Path) -> tuple[Any, list[str]]:
    torch.save(value, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    return load_inert(path)


def test_objects_beside_the_weights_are_not_made(tmp_path: Path) -> None:
    weight = torch.randn(3)
    value, unknown = read(
        {
            "state_dict": {"weight": weight},
            "hyper_parameters": Settings(width=8),
            "args": argparse.Namespace(lr=0.1),
            "callbacks": {Stage.FIT: {"path": Path("/best"), "score": np.float64(3)}, "places": Places([1, 2])},
            "history": collections.defaultdict(list, loss=[1.0]),
            "table": np.arange(3),
            "plain": [1, 2.5, "text", None, True, {4, 5}, (6,), {"nested": {}}],
        },
        tmp_path / "run.ckpt",
    )
    assert torch.equal(value["state_dict"]["weight"], weight)
    assert value["plain"] == [1, 2.5, "text", None, True, {4, 5}, (6,), {"nested": {}}]
    assert isinstance(value["hyper_parameters"], Inert) and dict(value["hyper_parameters"]) == {"width": 8}
    assert value["args"].state == {"lr": 0.1} and value["callbacks"]["places"].listed == [1, 2]
    assert {"argparse.Namespace", "pathlib.PosixPath", f"{__name__}.Settings"} <= set(unknown)


@pytest.mark.parametrize(
    "call",
    [
        Calls(eval, "1"),
        Calls(exec, "1"),
        Calls(subprocess.check_call, ["true"]),
        Calls(torch._utils._rebuild_tensor_v2, torch.UntypedStorage(4), 0, (1,), (1,), False, Calls(eval, "1")),
    ],
)
def test_functions_that_only_an_attack_names_are_refused(call: Calls, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "b": call}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        load_inert(tmp_path / "evil.pt")


def test_an_unknown_function_is_not_called(tmp_path: Path) -> None:
    value, unknown = read({"a": torch.ones(1), "b": Calls(Path.touch, tmp_path / "canary")}, tmp_path / "c.pt")
    assert "pathlib.PosixPath" in unknown and isinstance(value["b"], Inert)
    assert not (tmp_path / "canary").exists()


def raw(body: bytes, path: Path) -> None:
    """An archive as torch.save writes it, with another pickle inside."""
    torch.save({"PLACE": 1}, path)
    reader = torch._C.PyTorchFileReader(str(path))
    names = [name for name in reader.get_all_records() if name != "data.pkl"]
    kept = {name: reader.get_record(name) for name in names}
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.write_record("data.pkl", body, len(body))
    for name, content in kept.items():
        if not name.startswith(".data") and name != "version":
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x80\x02ctorch\nTensor\nN}X\x01\x00\x00\x00xX\x01\x00\x00\x00ys\x86b.", "set the state of"),
        (b"\x80\x02ctorch\ndevice\n(X\x03\x00\x00\x00cputR}b.", "set the state of"),
        (b"\x80\x02(X\x01\x00\x00\x00ai__main__\nX\n.", "instruction"),
        (b"\x80\x02K\x01)R.", "call"),
        (b"\x80\x02K\x01)\x81.", "make an object"),
        (b"\x80\x02ctorch\nTensor\n(K\x01K\x02u.", "set items"),
        (b"\x80\x02ctorch\nTensor\nK\x01a.", "extend"),
    ],
)
def test_only_data_can_be_changed(body: bytes, message: str, tmp_path: Path) -> None:
    """No instruction of the file sets attributes of PyTorch's classes, or calls what is not on the list."""
    raw(body, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError, match=message):
        load_inert(tmp_path / "evil.pt")
    assert not hasattr(torch.Tensor, "x")


def test_a_module_that_contains_itself(tmp_path: Path) -> None:
    net = Net()
    net.body.loop = nn.ModuleDict()
    net.body.loop._modules.update(a=net.body.loop, b=net.body.loop)
    value, _ = read({"model": net}, tmp_path / "loop.pt")
    state = module_state(value["model"])
    assert state is not None and "body.0.weight" in state


def test_the_weights_of_a_pickled_module(tmp_path: Path) -> None:
    net = Net()
    value, _ = read({"model": net, "other": Path("/x")}, tmp_path / "whole.pt")
    state = module_state(value["model"])
    assert state is not None and set(state) == set(net.state_dict())
    assert all(torch.equal(state[key], entry) for key, entry in net.state_dict().items())
    assert module_state(value["other"]) is None
