"""Where in a model an error is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rectexport.exporter.tracing.places import is_model_code, line_of_frame, module_of_error, module_of_frame


def test_the_innermost_module_is_named() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    with pytest.raises(RuntimeError) as raised:
        net(torch.zeros(1, 5))
    assert module_of_error(net, raised.value) == "1.1"
    outer = ValueError("outer")
    outer.__cause__ = raised.value
    assert module_of_error(net, outer) == "1.1"
    assert module_of_error(net, ValueError("elsewhere")) == ""


def test_the_line_is_the_models_own() -> None:
    found: list[str] = []

    class Stops(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            frame = sys._getframe()
            found.extend([module_of_frame(net, frame), line_of_frame(frame)])
            return x

    net = nn.Sequential(Stops())
    net(torch.zeros(1))
    assert found[0] == "0" and found[1].startswith("test_places.py:")
    assert not is_model_code(str(Path(torch.__file__).parent / "nn/modules/conv.py")) and is_model_code(__file__)
    assert (module_of_frame(net, None), line_of_frame(None)) == ("", "")
