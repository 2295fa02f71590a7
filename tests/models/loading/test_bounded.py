"""A network that grows beyond its file is stopped while it is built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rectexport.models.loading.bounded import BESIDES, at_most
from rectexport.runtime.errors import BadInput


def test_bounds() -> None:
    with torch.device("meta"), at_most(0):
        nn.Sequential(*(nn.ReLU() for _ in range(BESIDES)))
    with pytest.raises(BadInput, match="more parts than 0 tensors"), torch.device("meta"), at_most(0):
        nn.Sequential(*(nn.ReLU() for _ in range(BESIDES + 1)))
    nn.Sequential(*(nn.ReLU() for _ in range(BESIDES + 1)))  # the hooks are gone
