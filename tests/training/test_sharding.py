"""Sharded runs of two ranks: the numbers of whole encoders, whole files, exact resumption, clear refusals."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.version import Version
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch import distributed

from forked import as_rank, free_port, run_ranks
from smoothcse import SmoothCSEError
from smoothcse.runs.manifest import read_manifest, write_manifest
from smoothcse.training import make_config, shardable, train
from smoothcse.training.callbacks import FiniteLoss
from smoothcse.training.plan import plan_run
from tiny import save_tiny_model, sentences

pytestmark = pytest.mark.slow

QUIET = Console(quiet=True)
WITH_PEFT = importlib.util.find_spec("peft") is not None
KINDS: dict[str, dict[str, object]] = {
    "plain": {"start_decay": 100.0, "gradient_checkpointing": True},
    **({"lora": {"lora_rank": 2}} if WITH_PEFT else {}),
}
"""Settings of whole runs, sharded and not."""


def sharding_worker(rank: int, world: int, port: int, folder: str, fields: dict[str, object]) -> None:
    """Train a run of each kind with and without sharding, and resume a copy of the first from its first checkpoint."""
    as_rank(rank, world, port)
    torch.set_num_threads(1)
    os.environ["SMOOTHCSE_ASSUME_BF16"] = (
        "1"  # where inference would be in bf16, which a sharded encoder does not follow
    )
    seen: dict[str, float] = {}
    check = FiniteLoss.on_pre_optimizer_step

    def note_share(self, args, state, control, model=None, **others):
        """Note the part of the weights that this rank holds when the optimizer steps."""
        check(self, args, state, control, model=model, **others)
        local = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in model.parameters())
        seen[Path(args.output_dir).parent.name] = local / sum(p.numel() for p in model.parameters())

    FiniteLoss.on_pre_optimizer_step = note_share
    for kind, changes in KINDS.items():
        for shard in (False, True):
            output = f"{folder}/{kind}-{'sharded' if shard else 'whole'}"
            train(make_config({**fields, **changes, "output": output, "shard": shard}), console=QUIET)
    cut = make_config({**fields, **KINDS["plain"], "output": f"{folder}/plain-resumed", "shard": True})
    if rank == 0:
        shutil.copytree(f"{folder}/plain-sharded", cut.output)
        shutil.rmtree(f"{cut.output}/checkpoints/checkpoint-4")
        shutil.rmtree(f"{cut.output}/last")
        write_manifest(cut.output, read_manifest(cut.output).replace(status="running"))
    distributed.barrier()
    train(cut, resume=True, console=QUIET)
    Path(folder, f"shares-{rank}.json").write_text(json.dumps(seen))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of the runs of two ranks."""
    if Version(metadata.version("transformers")) < Version(shardable.OLDEST):
        pytest.skip(f"shard needs transformers {shardable.OLDEST}")
    path = tmp_path_factory.mktemp("sharded")
    (path / "sentences.txt").write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    fields = {
        "corpus": str(path / "sentences.txt"), "model": save_tiny_model(path / "model"), "batch_size": 16,
        "max_steps": 4, "eval_steps": 2, "log_steps": 1, "precision": "fp32", "learning_rate": 1e-3, "dropout": 0.1,
        "fast_path": False,
    }  # fmt: skip
    run_ranks(sharding_worker, 2, free_port(), str(path), fields, ranks=2)
    return path


def weights(run, file="last/model.safetensors"):
    return load_file(run / file)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sharded_run_equals_one_of_whole_encoders(kind, runs):
    whole, sharded = (runs / f"{kind}-{name}" for name in ("whole", "sharded"))
    expected, found = weights(whole), weights(sharded)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
    logged, again = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, sharded)
    )
    assert len([line for line in logged if "grad_norm" in line]) == 4
    for line, other in zip(logged, again, strict=True):
        for name in ("loss", "grad_norm", "eval_dev_score"):
            assert (name in other) == (name in line)
            assert other.get(name, 0.0) == pytest.approx(line.get(name, 0.0), rel=1e-4)


def test_a_resumed_run_equals_an_uninterrupted_one(runs):
    whole, resumed = weights(runs / "plain-sharded"), weights(runs / "plain-resumed")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_each_rank_holds_half_of_the_weights(runs):
    for rank in (0, 1):
        shares = json.loads((runs / f"shares-{rank}.json").read_text())
        assert shares["plain-whole"] == 1
        assert shares["plain-sharded"] == pytest.approx(0.5, abs=0.05)


def test_checkpoints_and_models_are_whole_folders(runs):
    run = runs / "plain-sharded"
    models = [
        SentenceTransformer(str(run / name), device="cpu") for name in ("best", "last", "checkpoints/checkpoint-4")
    ]
    _, last, checkpoint = (model[0].model.state_dict() for model in models)
    assert all(torch.equal(tensor, checkpoint[name]) for name, tensor in last.items())
    assert torch.isfinite(models[0].encode(["a text"], convert_to_tensor=True)).all()


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "run"), "batch_size": 8}
    return make_config({**fields, "precision": "fp32", "shard": True})


REFUSED = [
    ({"mini_batch": 64}, r"mini_batch encodes a different number of mini-batches on each device"),
    ({"false_negative_threshold": 0.9}, r"false_negative_threshold keeps a whole copy"),
    *(({"method": method}, f"The method {method} reads weights") for method in ("esimcse", "promptbert", "conpvp")),
    ({"method": {"name": "simcse", "mlm_weight": 0.1}}, r"mlm_weight reads the word embeddings"),
    ({"precision": "fp16"}, r"fp16"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_sharded_is_refused_in_one_sentence(changes, words, config):
    with pytest.raises(SmoothCSEError, match=words) as refusal:
        plan_run(config.replace(**changes))
    assert str(refusal.value).endswith(".")


def test_one_device_is_refused_before_anything_is_written(config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(SmoothCSEError, match=r"this run has one; start it with --devices 2"):
        train(config, console=QUIET)
    assert not Path(config.output).exists()


def test_an_older_transformers_is_refused(config, monkeypatch):
    monkeypatch.setattr(shardable, "OLDEST", "99")
    with pytest.raises(SmoothCSEError, match="shard needs transformers 99 or newer"):
        plan_run(config)
