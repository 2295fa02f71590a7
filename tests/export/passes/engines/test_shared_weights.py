"""A weight that a convolution and a transposed one read is written twice, which OpenVINO needs."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper

from rectexport.exporter.passes import PASSES, cleanup
from rectexport.exporter.passes.engines import shared_weights
from tests.export.helper import build, check_pass, constants, normal
from tests.export.passes.engines.helper import exact, needed, refused

FEED = {"x": normal(2, 3, 6, 6)}
SIGNATURE = "(float[2,3,6,6] x) => (float[2,3,6,6] y)"
TIED = "a = Conv<pads=[1,1,1,1]>(x, w)\n b = Relu(a)\n y = ConvTranspose<pads=[1,1,1,1]>(b, w)"


def tied(body: str = TIED) -> ModelProto:
    return build(SIGNATURE, body, w=normal(3, 3, 3, 3, seed=1))


def test_tied_weights() -> None:
    rewritten = needed(shared_weights.run, tied(), FEED)
    first, second = constants(rewritten).values()
    np.testing.assert_array_equal(first, second)


def test_tied_through_identity() -> None:
    body = "v = Identity(w)\n a = Conv<pads=[1,1,1,1]>(x, w)\n y = ConvTranspose<pads=[1,1,1,1]>(a, v)"
    needed(shared_weights.run, tied(body), FEED)


def test_it_comes_after_cleanup() -> None:
    """Cleanup joins equal constants, so this pass comes after it."""
    runs = [entry.run for entry in PASSES]
    assert runs.index(shared_weights.run) > runs.index(cleanup.run)
    joined, _ = cleanup.run(needed(shared_weights.run, tied(), FEED))
    assert len(constants(joined)) == 1
    needed(shared_weights.run, joined, FEED)


def test_readers_of_one_kind_share_a_copy() -> None:
    body = f"{TIED.replace(' y = ', ' c = ')}\n d = ConvTranspose<pads=[1,1,1,1]>(c, w)\n"
    rewritten = needed(shared_weights.run, tied(f"{body} y = Conv<pads=[1,1,1,1]>(d, w)"), FEED)
    assert len(constants(rewritten)) == 2


def test_one_kind_of_reader_stays() -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w)\n y = Conv<pads=[1,1,1,1]>(a, w)"
    _, result = check_pass(shared_weights.run, tied(body), FEED)
    assert not result.fired and not result.refused


def test_a_weight_that_may_be_overridden_stays() -> None:
    model = tied()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3, 3, 3]))
    assert "not a stored constant" in refused(shared_weights.run, model).refused[0].reason


def test_depthwise_pairs_stay_right() -> None:
    body = "a = Conv<pads=[1,1,1,1], group=3>(x, w)\n y = ConvTranspose<pads=[1,1,1,1], group=3>(a, w)"
    exact(shared_weights.run, build(SIGNATURE, body, w=normal(3, 1, 3, 3)), FEED)
