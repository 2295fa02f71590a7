"""Nearly correct values and arbitrary values, shared by all targets."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(count: int) -> settings:
    """Settings of a short run: `examples` examples, always the same ones."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())
documents = st.recursive(
    st.one_of(numbers, st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with some of its parts replaced, removed or duplicated."""
    if draw(st.integers(0, 9)) == 0:
        return draw(documents)
    if isinstance(value, dict):
        kept = {key: draw(changed(inner)) for key, inner in value.items() if draw(st.integers(0, 19))}
        return kept | (draw(st.dictionaries(st.text(), documents, max_size=1)) if draw(st.integers(0, 9)) == 0 else {})
    if isinstance(value, list):
        return [draw(changed(inner)) for inner in value for _ in range(draw(st.sampled_from((1, 1, 1, 1, 0, 2))))]
    return value
