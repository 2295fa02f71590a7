"""`int` of a size stays symbolic in the model's code, and is int in every other way."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rectexport.exporter.tracing.sizes.whole_numbers import symbolic_int


class Net(nn.Module):
    def forward(self, x: Tensor) -> Any:
        assert isinstance(3, int) and not isinstance(3.5, int) and isinstance(True, int)
        assert type(3) == int and issubclass(bool, int)  # noqa: E721, UP003
        assert int("7") == 7 and int("ff", base=16) == 255 and int(3.9) == 3 and int() == 0  # noqa: UP018
        assert {int: "key"}[builtins.int] == "key"
        return x.narrow(2, 0, int(x.shape[2] / 2))


def test_every_use_of_int_goes_on_working() -> None:
    with symbolic_int(Net()):
        assert Net()(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 4, 8)


def test_a_size_stays_symbolic() -> None:
    dims = ({2: torch.export.Dim("height", min=4, max=32)},)
    with symbolic_int(Net()):
        program = torch.export.export(
            Net(), (torch.zeros(1, 1, 8, 8),), dynamic_shapes=dims, strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )  # fmt: skip
    assert program.module()(torch.zeros(1, 1, 14, 8)).shape == (1, 1, 7, 8)


def test_the_name_is_there_only_within_the_block() -> None:
    here = sys.modules[__name__]
    with symbolic_int(Net()):
        assert "int" in vars(here)
    with pytest.raises(ZeroDivisionError), symbolic_int(Net()):
        raise ZeroDivisionError
    assert "int" not in vars(here) and "int" not in vars(torch.nn.modules.conv)
