"""The kind of processor: architecture and the instruction sets that engines choose kernels by."""

from pathlib import Path

import pytest

from rectexport.runtime.base.processor import processor


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx2 fma avx512_vnni sse4_2\nflags\t\t: avx2\n",
            ("avx2", "avx512_vnni", "fma"),
        ),
        ("Features\t: fp asimd asimddp crc32\n", ("asimd", "asimddp")),
        ("nothing of the kind", ()),
    ],
)
def test_only_features_that_decide_kernels_are_kept(tmp_path: Path, text: str, features: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo").features == features


def test_a_system_without_cpuinfo_has_no_known_feature(tmp_path: Path) -> None:
    assert processor(tmp_path / "none").features == ()
    assert processor().as_dict()["architecture"]
