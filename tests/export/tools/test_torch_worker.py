"""PyTorch timed beside the engines: on the real CPU, and on a made-up GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rectexport.exporter.frontend.source import Source
from rectexport.exporter.tools import torch_worker
from rectexport.exporter.tools.torch_worker import TorchModel, open_model
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.timing.process import Contestant, started
from rectexport.runtime.timing.timers import EventTimer, HostTimer
from tests.places import DIGITS

X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
DEFAULTS = {"arch": None, "trust_pickle": False, "rectify_model": False}


@pytest.fixture
def threads():
    """Torch's own number of threads comes back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def source(module=None):
    return Source("module", module or torch.nn.Linear(4, 3), "linear")


def model(device="cpu", transfers=True, compile=False, module=None):
    return TorchModel(source(module), compile=compile, device=device, threads=1, transfers=transfers)


def test_it_runs_without_gradients_in_eval_mode(threads):
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.9)).train()
    opened = model(module=module)
    call = opened.prepare({"x": X})
    result = call()
    assert not module.training and not result.requires_grad and torch.get_num_threads() == 1
    assert torch.equal(result, module(torch.from_numpy(X)))
    assert opened.description == f"PyTorch {torch.__version__}, eager, CPU"
    assert isinstance(opened.timer, HostTimer) and opened.transfers == "none, all is on the host"


class Placed:
    """A tensor that says where it is."""

    def __init__(self, place, log):
        self.place, self.log = place, log

    def to(self, device):
        self.log.append(f"to {device}")
        return Placed(device, self.log)

    def cpu(self):
        self.log.append("to cpu")
        return Placed("cpu", self.log)


@pytest.mark.parametrize(
    ("transfers", "prepared", "each_call", "timer"),
    [
        (True, [], ["to cuda", "run on cuda", "to cpu"], HostTimer),
        (False, ["to cuda"], ["run on cuda"], EventTimer),
    ],
)
def test_transfers_are_counted_or_made_before(monkeypatch, threads, transfers, prepared, each_call, timer):
    log = []

    class Module:
        def eval(self):
            return self

        def to(self, device):
            assert device == "cuda"
            return self

        def __call__(self, tensor):
            log.append(f"run on {tensor.place}")
            return (tensor,)

    monkeypatch.setattr(torch, "from_numpy", lambda array: Placed("cpu", log))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: object())
    opened = model("cuda", transfers, module=Module())
    call = opened.prepare({"x": X})
    assert log == prepared
    call()
    assert log == prepared + each_call
    assert isinstance(opened.timer, timer)
    assert opened.transfers == ("included" if transfers else "excluded")
    assert "CUDA" in opened.description


def test_a_missing_compiler_is_reported(monkeypatch, threads):
    class InvalidCxxCompiler(RuntimeError):
        pass

    def compiled(module):
        def fail(*tensors):
            raise RuntimeError("backend='inductor' raised") from InvalidCxxCompiler("No working C++ compiler found")

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    opened = model(compile=True)
    assert "torch.compile" in opened.description
    with pytest.raises(MissingDependency, match="found no working"):
        opened.prepare({"x": X})()


def test_other_errors_are_raised_unchanged(threads):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(module=torch.nn.Linear(5, 3)).prepare({"x": X})()


def test_an_onnx_file_is_no_pytorch_model(monkeypatch):
    monkeypatch.setattr(torch_worker, "load_source", lambda path, options: Source("onnx", None, "ONNX file", path))
    spec = {**DEFAULTS, "source": "net.onnx", "compile": False, "device": "cpu", "threads": 1, "transfers": True}
    with pytest.raises(BadInput, match=r"net\.onnx is an ONNX file, which PyTorch does not run"):
        open_model(spec)


def test_a_checkpoint_in_a_process_of_its_own():
    path = DIGITS
    spec = {**DEFAULTS, "source": str(path), "compile": False, "device": "cpu", "threads": 1, "transfers": True}
    inputs = [["x", "float32", [2, 1, 8, 8]]]
    with started(Contestant("torch", {**spec, "inputs": inputs}, "rectexport.exporter.tools.torch_worker")) as worker:
        worker.wait_ready()
        assert worker.said["description"].endswith("eager, CPU")
        assert all(0 < value < 10 for value in worker.burst(0.002))
