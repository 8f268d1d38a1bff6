"""Real process groups: W ranks of B / W sentences compute what one process computes with B."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from forked import as_rank, free_port, run_ranks
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.lora import add_lora
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.methods import ContrastiveLoss, with_gradient_caching
from smoothcse.methods.table import find_method, make_settings
from smoothcse.objectives import NO_NOISE, GaussianNoise, LossForm, Noise
from smoothcse.runs.manifest import read_manifest, write_manifest
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import MethodState
from tiny import save_tiny_model, sentences

pytestmark = pytest.mark.slow

BATCH = 8
OTHERS = {
    "simcse": {"symmetric": True, "mlm_weight": 0.5, "mlm_probability": 0.4},
    "simcse++": {},
    "arccon": {},
    "esimcse": {"queue_size": BATCH, "momentum": 0.5},
    "is-cse": {"buffer_size": BATCH + 3, "neighbours": 2},
}
"""Settings of methods whose losses look at the whole batch, or at earlier ones, in ways of their own."""


FORMS = {
    "ratio": LossForm(ratio=1.5, hinge=0.3, key_gradient="positives"),
    "masked": LossForm(decoupled=True, adaptive_temperature=0.5, false_negative_threshold=1 - 9e-6),  # about half
    "debiased": LossForm(positive_prior=0.01, key_gradient="none"),
}
"""Options of the objective that look at the whole batch, or at a part of the gradient."""


def with_adapters(model_path: str) -> SentenceTransformer:
    """Return an encoder with adapters whose ``B`` is not 0, which would hide the gradient of ``A``."""
    encoder = build_encoder(model_path, device="cpu")
    add_lora(encoder, LoRA(2), model_path, seed=1)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return encoder


def gradients(
    model_path: str,
    columns: int,
    rank: int = 0,
    world: int = 1,
    *,
    cached: bool = False,
    method: str = "gs-infonce",
    form: str = "",
    lora: bool = False,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and all gradients of one batch, this rank's share if there are several, and what is kept."""
    torch.manual_seed(0)
    encoder = with_adapters(model_path) if lora else build_encoder(model_path, device="cpu")
    # No dropout, as its masks depend on the shape of the batch; float64, as equal views make the gradient a small
    # difference of large terms.
    encoder.eval().double()
    settings = {"noise": Noise(16, source=GaussianNoise(5)), "hard_negative_log_weight": 0.5, "seed": 5}
    kind = ContrastiveLoss
    if form:
        settings |= {"noise": NO_NOISE, "form": FORMS[form], "symmetric": form != "debiased"}
    if method != "gs-infonce":
        kind, settings["settings"] = find_method(method).loss, make_settings(method, OTHERS[method])
    if cached:  # few tokens, so that the ranks cut their shares into different numbers of pieces
        loss_module = with_gradient_caching(kind)(encoder, mini_batch_tokens=20, **settings)
    else:
        loss_module = kind(encoder, **settings)
    loss_module.double().step = 3
    if world > 1:
        loss_module.model = DistributedDataParallel(encoder, broadcast_buffers=False)
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for first in (columns, 0):  # twice, so that what a method keeps of earlier batches is there
        loss_module.zero_grad()
        texts = [sentences(BATCH, seed=first + column)[share] for column in range(columns)]
        loss = loss_module([encoder.preprocess(column) for column in texts])
        loss.backward()
    found = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    if loss_module.state is not None:
        MethodState(loss_module.state, Path(), writes=False).on_pre_optimizer_step(None, None, None)
        found |= {f"state.{name}": p.grad for name, p in loss_module.state.named_parameters() if p.requires_grad}
        kept = {name: tensor for name, tensor in loss_module.state.named_buffers() if tensor.is_floating_point()}
        found |= {f"state.{name}": tensor for name, tensor in kept.items()}
    if loss_module.judge is not None:
        found["state.masked_share"] = torch.tensor(loss_module.batch_masked_share(), dtype=torch.float64)
    return loss.item(), found


def prompted_gradients(
    model_path: str, method_name: str, rank: int = 0, world: int = 1
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return what :func:`gradients` does, for a method that makes the encoder its own."""
    method, settings = find_method(method_name), make_settings(method_name, {})
    assert method.prepare
    encoder = method.prepare(build_encoder(model_path, device="cpu", max_length=120), settings).eval().double()
    loss_module = method.loss(encoder, settings=settings, noise=Noise(16, source=GaussianNoise(5)), seed=5)
    loss_module.step = 3
    if world > 1:
        loss_module.model = DistributedDataParallel(encoder, broadcast_buffers=False)
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    texts = [sentences(BATCH, seed=column)[share] for column in range(method.columns)]
    loss = loss_module([encoder.preprocess(column) for column in texts])
    loss.backward()
    return loss.item(), {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


WITH_PEFT = importlib.util.find_spec("peft") is not None
"""Whether the extra 'lora' is installed."""

PROMPTED = ("promptbert", "conpvp", "sncse")


class Case(NamedTuple):
    """What a group of ranks computes together."""

    method: str
    columns: int = 1
    cached: bool = False
    form: str = ""
    lora: bool = False

    def gradients(self, folder: str, rank: int = 0, world: int = 1) -> tuple[float, dict[str, torch.Tensor]]:
        """Return the loss and all gradients of one batch, this rank's share of it if there are several."""
        if self.method in PROMPTED:
            return prompted_gradients(f"{folder}/long", self.method, rank, world)
        options = {"cached": self.cached, "method": self.method, "form": self.form, "lora": self.lora}
        return gradients(f"{folder}/model", self.columns, rank, world, **options)


CASES = {
    2: [
        *(Case("gs-infonce", columns, cached) for columns in (1, 3) for cached in (False, True)),
        Case("simcse", 1),
        Case("simcse", 3, cached=True),
        Case("simcse++", 1, cached=True),
        Case("arccon"),
        *(Case(method, cached=cached) for method in ("esimcse", "is-cse") for cached in (False, True)),
        *map(Case, PROMPTED),
        *(Case("gs-infonce", 2, cached, form) for cached in (False, True) for form in FORMS),
        *(Case("gs-infonce", 3, cached, lora=True) for cached in (False, True) if WITH_PEFT),
    ],
    4: [Case("gs-infonce", 2), Case("gs-infonce", 2, cached=True)],
}
"""By the number of ranks, each group of which takes seconds to start."""


def worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/init{world}", rank=rank, world_size=world)
    torch.save([case.gradients(folder, rank, world) for case in CASES[world]], f"{folder}/{world}-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the models lie, and what each rank found."""
    path = tmp_path_factory.mktemp("ranks")
    save_tiny_model(path / "model", hidden_dropout_prob=0.1)
    save_tiny_model(path / "long", max_position_embeddings=128)
    for world in CASES:
        run_ranks(worker, world, str(path), ranks=world)
    return path


@pytest.mark.parametrize(("world", "case"), [(world, case) for world, cases in CASES.items() for case in cases])
def test_ranks_compute_the_gradient_of_one_process(world, case, folder):
    found = [torch.load(folder / f"{world}-{rank}.pt")[CASES[world].index(case)] for rank in range(world)]
    loss, expected = case.gradients(str(folder))
    assert sum(of_rank for of_rank, _ in found) / world == pytest.approx(loss, rel=1e-12)
    assert max(value.abs().max() for name, value in expected.items() if not name.startswith("state.")) > 1e-4
    for _, of_rank in found:
        assert of_rank.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(of_rank[name], gradient, rtol=1e-8, atol=1e-12)


def note_own_shares(file: Path) -> None:
    """Write down the noise share of this rank's own anchors whenever that of the batch is asked for."""
    of_batch = ContrastiveLoss.batch_noise_share

    def noted(loss: ContrastiveLoss) -> float | None:
        with file.open("a") as lines:
            lines.write(f"{float(loss.last_noise_share)}\n")
        return of_batch(loss)

    ContrastiveLoss.batch_noise_share = noted


KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "bf16": {"precision": "bf16"},
    "cached": {"mini_batch": 60, "start_decay": 100.0, "train_layers": 1},
    **({"lora": {"lora_rank": 2}} if WITH_PEFT else {}),
}
"""Settings of whole runs of two ranks."""


def resuming_worker(rank: int, world: int, port: int, folder: str, fields: dict[str, object]) -> None:
    """Train a run of each kind, then go on from the last checkpoint but one of a copy."""
    note_own_shares(Path(folder) / f"shares-{rank}.txt")
    as_rank(rank, world, port)
    torch.set_num_threads(1)
    for kind, changes in KINDS.items():
        config = make_config({**fields, "output": f"{folder}/{kind}", **changes})
        train(config, console=Console(quiet=True))
        cut = config.replace(output=f"{folder}/{kind}-resumed")
        if rank == 0:
            shutil.copytree(config.output, cut.output)
            shutil.rmtree(f"{cut.output}/checkpoints/checkpoint-6")
            shutil.rmtree(f"{cut.output}/last")
            write_manifest(cut.output, read_manifest(cut.output).replace(status="running"))
        distributed.barrier()
        train(cut, resume=True, console=Console(quiet=True))
        distributed.barrier()


@pytest.fixture(scope="module")
def resumed_runs(tiny_bert, tmp_path_factory):
    """Runs of two ranks, whole and resumed, of each kind."""
    tmp_path = tmp_path_factory.mktemp("resumed")
    corpus_file = tmp_path / "sentences.txt"
    corpus_file.write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    fields = {
        "corpus": str(corpus_file), "model": tiny_bert, "batch_size": 16, "max_steps": 6, "epochs": 3,
        "eval_steps": 2, "log_steps": 1, "precision": "fp32", "learning_rate": 1e-3,
    }  # fmt: skip
    run_ranks(resuming_worker, 2, free_port(), str(tmp_path), fields, ranks=2)
    return tmp_path


def test_resumed_ranks_equal_uninterrupted_ones(resumed_runs):
    for kind in KINDS:
        whole, resumed = (
            load_file(resumed_runs / name / "last" / "model.safetensors") for name in (kind, f"{kind}-resumed")
        )
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("run", ["plain", "cached", "plain-resumed"])
def test_each_rank_has_its_own_dropout_stream(run, resumed_runs):
    seeds = []
    for rank in (0, 1):
        states = torch.load(
            resumed_runs / run / "checkpoints" / "checkpoint-6" / f"rng_state_{rank}.pth", weights_only=False
        )
        seeds.append(torch.Generator().set_state(states["cpu"]).initial_seed())
    assert seeds[0] == 42  # as on one device
    assert seeds[1] != 42


def test_the_noise_share_that_is_logged_is_the_whole_batchs(resumed_runs):
    lines = [json.loads(line) for line in (resumed_runs / "plain" / "metrics.jsonl").read_text().splitlines()]
    logged = [line["noise_share"] for line in lines if "noise_share" in line]
    # the first two are of the start-up card
    own = [list(map(float, (resumed_runs / f"shares-{rank}.txt").read_text().split()))[2:8] for rank in (0, 1)]
    assert len(logged) == 6
    assert logged == pytest.approx([(first + second) / 2 for first, second in zip(*own, strict=True)], rel=1e-6)
    assert all(first != second for first, second in zip(*own, strict=True))
