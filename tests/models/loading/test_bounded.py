"""A network that grows beyond its file is stopped while it is built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rectexport.models.loading.bounded import MORE, at_most
from rectexport.runtime.errors import BadInput


def test_bounds() -> None:
    with torch.device("meta"), at_most(0):
        nn.Sequential(*(nn.ReLU() for _ in range(MORE)))
    with pytest.raises(BadInput, match="too many for a file of 0 tensors"), torch.device("meta"), at_most(0):
        nn.Sequential(*(nn.ReLU() for _ in range(MORE + 1)))
    nn.Sequential(*(nn.ReLU() for _ in range(MORE + 1)))  # the hooks were removed
