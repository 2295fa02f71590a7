"""The README's commands and programs run unchanged, from top to bottom, in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
#: Commands that install or test are not run inside a test; only their make targets are checked.
NOT_RUN = ("make ", "pip ")
#: What a reader brings for the example of a network of one's own.
OWN_NETWORK = """
import torch
from torch import nn

class UNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.out = nn.Conv2d(width + 3, 1, 3, padding=1)

    def forward(self, x):
        return self.out(torch.cat([self.up(self.down(x).relu()), x], 1))
"""


def _commands(block: str) -> list[str]:
    return [line.partition("   #")[0].strip() for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("readme")
    (folder / "models").symlink_to(ROOT / "models")
    (folder / "mynets.py").write_text(OWN_NETWORK, encoding="utf-8")
    saved = "import torch, mynets; torch.save({'state_dict': mynets.UNet(8).state_dict()}, 'weights.ckpt')"
    subprocess.run([sys.executable, "-c", saved], cwd=folder, check=True)
    return folder


def test_readme_runs(workplace: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = 0
    for language, block in BLOCKS:
        programs = [[sys.executable, "-P", "-c", block]] if language == "python" else []
        if language == "sh":
            programs = [["sh", "-ec", line] for line in _commands(block) if not line.startswith(NOT_RUN)]
        for program in programs:
            done = subprocess.run(program, cwd=workplace, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{program[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            ran += 1
    assert ran >= 4


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = re.findall(r"^make (\w+)", "\n".join(block for _, block in BLOCKS), re.MULTILINE)
    assert {"demo", "test"} <= set(wanted)
    for target in wanted:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_have_targets(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
