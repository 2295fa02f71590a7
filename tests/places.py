"""Where the repository's own files are."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "models/checkpoints/digits.pt"
