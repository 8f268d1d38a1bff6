"""Every branch on the hardware, forced on any machine: what a GPU would be given is computed here, or faked.

Whether hardware has bf16 is in test_precision.py. What is left for test_gpu.py are the kernels themselves.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from smoothcse._utils.peak_memory import PeakMemory
from smoothcse.encoders import devices
from smoothcse.encoders import inference as encoding
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.hardware import find_hardware
from smoothcse.encoders.inference import encode
from smoothcse.encoders.templates import with_template
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments import runner
from smoothcse.fastpath import read_token
from smoothcse.fastpath.attention import attend_tokens
from smoothcse.fastpath.dropout import FastDropout
from smoothcse.fastpath.read_token import use_read_token
from smoothcse.methods import GSInfoNCELoss
from smoothcse.runs.folder import RunFolder
from smoothcse.training import launch, make_config, mini_batch
from smoothcse.training.callbacks import StepCost, StopOnSignal
from smoothcse.training.parts import read_start
from smoothcse.training.plan import plan_run
from smoothcse.views.embed import embed, in_pieces
from tiny import save_tiny_model, sentences


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Take the ways of a GPU, with tensors that lie where they lie."""
    monkeypatch.setattr(devices, "is_cpu", lambda device: False)


def loss_and_gradients(model_path: str) -> list[torch.Tensor]:
    model = build_encoder(model_path, "cls", device="cpu").eval().double()
    use_read_token(model)
    loss = GSInfoNCELoss(model, noise_count=8)
    loss.step = 0
    value = loss([model.preprocess(sentences(12))])
    value.backward()
    return [value.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def test_a_batch_is_embedded_whole_on_a_gpu_and_in_groups_on_a_cpu(tiny_bert, monkeypatch):
    grouped = loss_and_gradients(tiny_bert)
    monkeypatch.setattr(devices, "is_cpu", lambda device: False)
    whole = loss_and_gradients(tiny_bert)
    assert len(grouped) == len(whole) > 10
    for ours, others in zip(grouped, whole, strict=True):
        torch.testing.assert_close(ours, others, rtol=1e-9, atol=1e-12)


def test_rows_in_pieces_keep_their_order(tiny_bert, as_on_a_gpu, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu")
    monkeypatch.setattr("smoothcse.views.embed._GPU_ROWS", 5)
    sizes = []

    def ids(features):
        sizes.append(len(features["input_ids"]))
        return features["attention_mask"].sum(dim=1)

    column = model.preprocess(sentences(12))
    assert torch.equal(in_pieces(ids, column), column["attention_mask"].sum(dim=1))
    assert sizes == [5, 5, 2]


def test_a_mask_token_is_not_looked_for_on_a_gpu(tmp_path, monkeypatch):
    """It would have to wait for the answer: the layer computes every token there, to the same end."""
    model = with_template(build_encoder(save_tiny_model(tmp_path), device="cpu"), "the {sentence} on {mask} .").eval()
    use_read_token(model)
    alone = []
    monkeypatch.setattr(read_token, "attend_tokens", lambda *given: alone.append(1) or attend_tokens(*given))
    features = model.preprocess(sentences(4))
    on_cpu = embed(model, features)
    assert alone
    alone.clear()
    monkeypatch.setattr(devices, "is_cpu", lambda device: False)
    torch.testing.assert_close(embed(model, features), on_cpu, rtol=1e-4, atol=1e-5)
    assert not alone


def test_pieces_of_a_cached_batch_are_as_large_as_fits_on_a_gpu(tiny_bert, as_on_a_gpu, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu").eval()
    monkeypatch.setattr(mini_batch, "_MOST_TOKENS", 256)
    config = make_config({"mini_batch": "auto", "max_length": 32})
    assert mini_batch.mini_batch_tokens(config, model, 1) == 128
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(mini_batch, "_train_on", full)
    with pytest.raises(SmoothCSEError, match="Not even 32 tokens fit"):
        mini_batch.mini_batch_tokens(config, model, 1)


@pytest.mark.parametrize(("kind", "sizes"), [("cuda", [12]), ("mps", [3, 3, 3, 3])])
def test_a_gpu_encodes_more_at_a_time(kind, sizes, tiny_bert, monkeypatch):
    """Of a kind that is not known, as much as a CPU."""
    model = build_encoder(tiny_bert, device="cpu")
    monkeypatch.setattr(encoding, "_TOKENS_AT_A_TIME", {"cuda": 10_000})
    seen = []
    monkeypatch.setattr(encoding, "token_counts", lambda *_: torch.full((12,), 300).numpy())
    monkeypatch.setattr(type(model), "device", property(lambda self: FakeDevice(kind)))
    monkeypatch.setattr(model, "encode", lambda texts, **_: seen.append(len(texts)) or torch.zeros(len(texts), 2))
    assert encode(model, sentences(12)).shape == (12, 2)
    assert seen == sizes


class FakeDevice(SimpleNamespace):
    """What is asked of a device."""

    def __init__(self, kind: str) -> None:
        super().__init__(type=kind)


@pytest.mark.parametrize(
    ("cuda", "mps", "forced", "found"),
    [(True, True, "", "cuda"), (False, True, "", "mps"), (False, False, "", "cpu"), (True, True, "1", "cpu")],
)
def test_the_best_device_is_taken(cuda, mps, forced, found, monkeypatch):
    monkeypatch.setenv("SMOOTHCSE_CPU", forced)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setenv("WORLD_SIZE", "2")
    hardware = find_hardware("fp32")
    assert hardware.device_type == found
    assert (
        hardware.describe() == "2 x a GPU, fp32" if found == "cuda" else hardware.describe().startswith(f"2 x {found}")
    )


@pytest.mark.parametrize(("device", "fast"), [("cpu", True), ("cuda", False)])
def test_fast_dropout_is_for_cpus(device, fast, tiny_bert, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = plan_run(make_config({"model": tiny_bert, "precision": "fp32"}), RunFolder("run"))
    model = read_start(dataclasses.replace(plan, hardware=SimpleNamespace(device_type=device)))
    assert any(isinstance(module, FastDropout) for module in model.modules()) == fast


@pytest.mark.parametrize(
    ("gpus", "devices_asked", "launched"),
    [(0, None, False), (0, 2, True), (1, None, False), (2, None, True), (2, 1, True)],
)
def test_several_gpus_are_given_to_torchrun(gpus, devices_asked, launched, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert launch.wants_launch(devices_asked) == launched
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not launch.wants_launch(devices_asked)


def test_more_gpus_than_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SmoothCSEError, match="--devices 3 was asked for, but 2 GPUs are visible"):
        launch.launch(make_config({"output": str(tmp_path)}), resume=False, overwrite=False, devices=3)


@pytest.mark.parametrize(
    ("gpus", "jobs", "found"), [(2, None, ["0", "1"]), (2, 3, ["0", "1", "0"]), (0, 2, [None, None])]
)
def test_runs_of_a_study_share_the_gpus(gpus, jobs, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    environments = runner._devices(jobs)
    assert [environment.get("CUDA_VISIBLE_DEVICES") for environment in environments] == found
    assert all(("OMP_NUM_THREADS" in environment) == (not gpus) for environment in environments)


@pytest.fixture
def fake_memory(monkeypatch):
    """A GPU's counters."""
    state = SimpleNamespace(used=100, peak=100, waited=0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: state.used)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: state.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(state, "peak", state.used))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: setattr(state, "waited", state.waited + 1))
    return state


def test_the_peak_of_a_gpu_is_what_torch_allocated(fake_memory):
    memory = PeakMemory("cuda")
    fake_memory.peak = 900
    assert memory.bytes() == 800
    memory.restart()
    assert memory.bytes() == 0


def test_a_span_of_steps_on_a_gpu_ends_when_it_is_computed(fake_memory):
    cost = StepCost("cuda")
    cost.on_train_begin(None, None, None)
    fake_memory.peak = 3_000_100
    cost.on_step_end(None, None, SimpleNamespace(should_log=True, should_evaluate=False, should_save=False))
    assert fake_memory.waited == 1
    assert cost.peak_memory_mb == 3.0


@pytest.mark.parametrize(("backend", "device"), [("nccl", "cuda"), ("gloo", "cpu")])
def test_ranks_agree_on_a_stop_where_their_backend_computes(backend, device, monkeypatch):
    asked = []
    plain = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda value, device: asked.append(device) or plain(value))
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor, operation: tensor.fill_(1))
    assert StopOnSignal()._wanted(may_ask=True)
    assert asked == [device]
