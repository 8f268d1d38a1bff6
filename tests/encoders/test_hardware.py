"""Every branch on the hardware, forced on any machine: the GPU branches run on the CPU or with fakes.

test_precision.py covers bf16 support. Only the kernels themselves are left to test_gpu.py.
"""

from __future__ import annotations

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
from smoothcse.experiments import subprocesses
from smoothcse.fastpath import accelerate, read_token
from smoothcse.fastpath.attention import attend_tokens
from smoothcse.fastpath.dropout import is_fast
from smoothcse.methods import GSInfoNCELoss
from smoothcse.training import launch, make_config, mini_batch
from smoothcse.training.callbacks import StepCost, StopOnSignal
from smoothcse.views.embed import embed, in_pieces
from tiny import save_tiny_model, sentences


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Use the GPU branches with tensors on the CPU."""
    monkeypatch.setattr(devices, "is_cpu", lambda device: False)


def loss_and_gradients(model_path: str) -> list[torch.Tensor]:
    model = build_encoder(model_path, "cls", device="cpu").eval().double()
    loss = GSInfoNCELoss(model, noise_count=8)
    loss.step = 0
    with accelerate(model):
        value = loss([model.preprocess(sentences(12))])
        value.backward()
    return [value.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def test_a_batch_is_embedded_at_once_on_a_gpu_and_in_groups_on_a_cpu(tiny_bert, monkeypatch):
    grouped = loss_and_gradients(tiny_bert)
    monkeypatch.setattr(devices, "is_cpu", lambda device: False)
    whole = loss_and_gradients(tiny_bert)
    assert len(grouped) == len(whole) > 10
    for ours, others in zip(grouped, whole, strict=True):
        torch.testing.assert_close(ours, others, rtol=1e-9, atol=1e-12)


def test_chunked_rows_keep_their_order(tiny_bert, as_on_a_gpu, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu")
    monkeypatch.setattr("smoothcse.views.embed._GPU_ROWS", 5)
    sizes = []

    def ids(features):
        sizes.append(len(features["input_ids"]))
        return features["attention_mask"].sum(dim=1)

    column = model.preprocess(sentences(12))
    assert torch.equal(in_pieces(ids, column), column["attention_mask"].sum(dim=1))
    assert sizes == [5, 5, 2]


def test_mask_tokens_are_not_searched_on_a_gpu(tmp_path, monkeypatch, fast):
    """Searching would synchronise the GPU, so the layer computes every token there, with the same result."""
    model = with_template(build_encoder(save_tiny_model(tmp_path), device="cpu"), "the {sentence} on {mask} .").eval()
    fast(model, "read token")
    alone = []
    monkeypatch.setattr(read_token, "attend_tokens", lambda *given: alone.append(1) or attend_tokens(*given))
    features = model.preprocess(sentences(4))
    on_cpu = embed(model, features)
    assert alone
    alone.clear()
    monkeypatch.setattr(devices, "is_cpu", lambda device: False)
    torch.testing.assert_close(embed(model, features), on_cpu, rtol=1e-4, atol=1e-5)
    assert not alone


def test_chunks_of_a_cached_batch_are_as_large_as_a_gpu_allows(tiny_bert, as_on_a_gpu, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu").eval()
    monkeypatch.setattr(mini_batch, "_MOST_TOKENS", 256)
    assert mini_batch.mini_batch_tokens("auto", model, sentences=64, max_length=32) == 128
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(mini_batch, "_train_on", full)
    with pytest.raises(SmoothCSEError, match="Not even 32 tokens fit"):
        mini_batch.mini_batch_tokens("auto", model, sentences=64, max_length=32)


@pytest.mark.parametrize(("kind", "sizes"), [("cuda", [12]), ("mps", [3, 3, 3, 3])])
def test_a_gpu_encodes_larger_batches(kind, sizes, tiny_bert, monkeypatch):
    """Unknown types of devices use the batch size of a CPU."""
    model = build_encoder(tiny_bert, device="cpu")
    monkeypatch.setattr(encoding, "_TOKENS_AT_A_TIME", {"cuda": 10_000})
    seen = []
    monkeypatch.setattr(encoding, "token_counts", lambda *_: torch.full((12,), 300).numpy())
    monkeypatch.setattr(type(model), "device", property(lambda self: FakeDevice(kind)))
    monkeypatch.setattr(model, "encode", lambda texts, **_: seen.append(len(texts)) or torch.zeros(len(texts), 2))
    assert encode(model, sentences(12)).shape == (12, 2)
    assert seen == sizes


class FakeDevice(SimpleNamespace):
    """The attributes of a device that are read."""

    def __init__(self, kind: str) -> None:
        super().__init__(type=kind)


@pytest.mark.parametrize(
    ("cuda", "mps", "forced", "found"),
    [(True, True, "", "cuda"), (False, True, "", "mps"), (False, False, "", "cpu"), (True, True, "1", "cpu")],
)
def test_the_best_device_is_chosen(cuda, mps, forced, found, monkeypatch):
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


@pytest.mark.parametrize("on_gpu", [False, True])
def test_fast_dropout_is_for_cpus(on_gpu, tiny_bert, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu")
    if on_gpu:
        monkeypatch.setattr(devices, "is_cpu", lambda device: False)
    with accelerate(model):
        assert any(is_fast(module) for module in model.modules()) != on_gpu


@pytest.mark.parametrize("on_gpu", [False, True])
def test_layers_keep_bf16_states_on_cpus(on_gpu, tiny_bert, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu")
    if on_gpu:
        monkeypatch.setattr(devices, "is_cpu", lambda device: False)
    with accelerate(model, parts=["bf16 layers"], precision="bf16"):
        assert ("forward" in vars(model[0].model.encoder)) != on_gpu


@pytest.mark.parametrize(
    ("gpus", "devices_asked", "launched"),
    [(0, None, False), (0, 2, True), (1, None, False), (2, None, True), (2, 1, True)],
)
def test_several_gpus_are_used_through_torchrun(gpus, devices_asked, launched, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert launch.wants_launch(devices_asked) == launched
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not launch.wants_launch(devices_asked)


def test_more_gpus_than_available_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SmoothCSEError, match="--devices 3 was asked for, but 2 GPUs are visible"):
        launch.launch(make_config({"output": str(tmp_path)}), resume=False, overwrite=False, devices=3)


@pytest.mark.parametrize(
    ("gpus", "visible", "jobs", "found"),
    [
        (2, None, None, ["0", "1"]),
        (2, None, 3, ["0", "1", "0"]),
        (2, "2, GPU-5c", 3, ["2", "GPU-5c", "2"]),
        (0, "", 2, ["", ""]),
    ],
)
def test_runs_of_a_study_share_the_gpus_that_are_visible(gpus, visible, jobs, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    environments = subprocesses.environments(jobs)
    assert [environment.get("CUDA_VISIBLE_DEVICES", "") for environment in environments] == found
    assert all(("OMP_NUM_THREADS" in environment) == (not gpus) for environment in environments)


@pytest.fixture
def fake_memory(monkeypatch):
    """Counters of a GPU."""
    state = SimpleNamespace(used=100, peak=100, waited=0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: state.used)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: state.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(state, "peak", state.used))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: setattr(state, "waited", state.waited + 1))
    return state


def test_peak_gpu_memory_is_the_memory_allocated_by_torch(fake_memory):
    memory = PeakMemory("cuda")
    fake_memory.peak = 900
    assert memory.bytes() == 800
    memory.restart()
    assert memory.bytes() == 0


def test_timing_on_a_gpu_waits_for_the_computation(fake_memory):
    cost = StepCost("cuda")
    cost.on_train_begin(None, None, None)
    fake_memory.peak = 3_000_100
    cost.on_step_end(None, None, SimpleNamespace(should_log=True, should_evaluate=False, should_save=False))
    assert fake_memory.waited == 1
    assert cost.peak_memory_mb == 3.0


@pytest.mark.parametrize(("backend", "device"), [("nccl", "cuda"), ("gloo", "cpu")])
def test_ranks_agree_to_stop_on_the_device_of_their_backend(backend, device, monkeypatch):
    asked = []
    plain = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda value, device: asked.append(device) or plain(value))
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor, operation: tensor.fill_(1))
    assert StopOnSignal()._wanted(may_ask=True)
    assert asked == [device]
