"""The table of public networks with borders."""

from __future__ import annotations

from benchmarks.borders.__main__ import row
from benchmarks.borders.networks import NETWORKS


def test_a_row_says_what_became_of_a_network() -> None:
    head = "| cyclegan | eriklindernoren/PyTorch-GAN | reflect |"
    assert row("cyclegan", {"borders": 6, "worst": 3e-6}) == f"{head} 6 | 3.0e-06 | unharmed |"
    assert row("cyclegan", {"borders": 0, "worst": 3e-6}).endswith("no border found |")
    assert row("cyclegan", {"error": "BadInput: no"}) == f"{head} | | BadInput: no |"


def test_clones_are_named_after_their_repositories() -> None:
    assert NETWORKS["cyclegan"].clone == "PyTorch-GAN"
    assert len(NETWORKS) >= 12
