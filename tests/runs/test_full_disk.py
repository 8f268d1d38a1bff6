"""Disks that are really full and limits on the size of files: one sentence, nothing half-written, and it can go on."""

from __future__ import annotations

import functools
import gc
import os
import resource
import subprocess
import time
from contextlib import contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from forked import start_command
from smoothcse.bulk.encode_file import encode_file
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.fastpath.token_ids import tokenised_once
from smoothcse.runs import start as run_start
from smoothcse.runs.disk import explain_failed_writes, require_space
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.runs.model_folder import read_note
from smoothcse.training import make_config, read_result, train
from smoothcse.training.callbacks import NoiseStep
from tiny import sentences

SMALL = 40_000  # bytes: less than what is written here, more than an empty file


@contextmanager
def mounted(folder: Path, size: int):
    """Put a file system of so many bytes into a folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        result = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command mount")
    if result.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {result.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # lazy: weights that were loaded are mapped


@contextmanager
def limited(size: int):
    """Let no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=["full disk", "limit on files"])
def cramped(request, tmp_path):
    """A folder with little room, the context in which it has little, and what the system says when it is used up."""
    folder = tmp_path / "cramped"
    if request.param == "full disk":
        with mounted(folder, SMALL):
            yield folder, nullcontext(), "No space left on device"
    else:
        folder.mkdir()
        yield folder, limited(SMALL), "File too large"


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(sentences(2000)) + "\n", encoding="utf-8")
    return path


def command(corpus: Path, model: str, output: Path, steps: int, interval: int) -> list[object]:
    options = {"model": model, "output": output, "batch-size": 8, "noise-count": 8}
    options |= {"max-steps": steps, "eval-steps": interval, "learning-rate": 1e-3, "precision": "fp32"}
    return ["train", corpus, *(part for name, value in options.items() for part in (f"--{name}", value))]


def check_refusal(code: int | None, said: str, folder: Path, reason: str) -> None:
    assert code == 2, said
    assert "Traceback" not in said
    [sentence] = [line for line in said.splitlines() if line.startswith("smoothcse: ")]
    assert sentence.startswith(f"smoothcse: Writing to {folder} failed (")
    assert reason in sentence.lower()
    assert sentence.endswith("Free some space or fix the permissions, then continue with --resume.")


def go_on(folder: RunFolder) -> None:
    """Resume the run in this process and see that it comes to its end."""
    config = read_manifest(folder.path).train_config()
    result = train(config, resume=True, console=Console(quiet=True))
    assert read_result(folder.path) == result
    assert [entry["step"] for entry in folder.metrics() if "loss" in entry][-1] == config.max_steps
    for model in (result.best, result.last):
        assert SentenceTransformer(str(model), device="cpu").encode(["the cat"]).shape == (1, 32)


def test_a_disk_that_fills_up_during_training_is_explained(tmp_path, corpus_file, tiny_bert, monkeypatch):
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    said = tmp_path / "said"
    with mounted(tmp_path / "disk", 16 * 2**20) as disk:
        folder = RunFolder(disk / "run")
        run = start_command(*command(corpus_file, tiny_bert, folder.path, steps=120, interval=40), said=said)
        while not folder.latest_checkpoint() and run.exitcode is None:
            time.sleep(0.01)
        ballast = disk / "ballast"
        fill(ballast, run)
        check_refusal(run.exitcode, said.read_text(), folder.path, "no space left")
        assert not folder.finished
        load_file(folder.latest_checkpoint() / "model.safetensors")
        assert SentenceTransformer(str(folder.best), device="cpu").encode(["the cat"]).shape == (1, 32)
        assert not list(folder.path.glob("*.new"))
        ballast.unlink()
        go_on(folder)


def fill(file: Path, run: BaseProcess) -> None:
    """Take what room there is, and what becomes free while the run lasts (it removes its old checkpoints)."""
    with file.open("wb", buffering=0) as stream:
        while run.exitcode is None:
            try:
                stream.write(bytes(2**16))
            except OSError:
                time.sleep(0.01)


def test_a_file_size_limit_below_the_optimiser_state_is_explained(tmp_path, corpus_file, tiny_bert, monkeypatch):
    """A model fits; AdamW's moments, two of its size, do not."""
    limit = int(1.5 * (Path(tiny_bert) / "model.safetensors").stat().st_size)
    folder = RunFolder(tmp_path / "run")
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    said = tmp_path / "said"
    lower = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    run = start_command(*command(corpus_file, tiny_bert, folder.path, steps=20, interval=10), said=said, before=lower)
    run.join(200)
    check_refusal(run.exitcode, said.read_text(), folder.path, "files are limited in size, see ulimit -f")
    assert read_note(folder.best)["step"] in (0, 10)
    assert folder.latest_checkpoint() is None
    go_on(folder)


@pytest.mark.parametrize("limit", [600, 40_000])
def test_a_file_size_limit_below_the_first_files_is_explained(limit, tmp_path, corpus_file, tiny_bert):
    """Neither ``run.json`` fits, nor a model."""
    config = make_config({"corpus": str(corpus_file), "model": tiny_bert, "batch_size": 8, "max_steps": 1})
    config = config.replace(output=str(tmp_path / "run"))
    folder = RunFolder(config.output)
    corpus = load_sentences(corpus_file, seed=config.seed)  # so that the cache of the corpus is not what fails
    encoder = build_encoder(tiny_bert, device="cpu")
    with limited(600), pytest.raises(SmoothCSEError, match="token ids of the text cannot be written"):
        tokenised_once(corpus.dataset, encoder, config.max_length)
    tokenised_once(corpus.dataset, encoder, config.max_length)
    with limited(limit), pytest.raises(SmoothCSEError, match=r"run failed \(File too large, see ulimit -f\)"):
        train(config, console=Console(quiet=True))
    assert not folder.path.exists()
    assert train(config, console=Console(quiet=True)).best.is_dir()


@pytest.fixture
def config(tmp_path, corpus_file, tiny_bert):
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "batch_size": 8, "max_steps": 6, "eval_steps": 2}
    return make_config({**fields, "log_steps": 1, "precision": "fp32", "output": str(tmp_path / "disk" / "run")})


def during_step(monkeypatch, number: int, event) -> None:
    """Let something happen once, at the beginning of a step."""
    begin = NoiseStep.on_step_begin

    def begun(self, args, state, control, **kwargs):
        begin(self, args, state, control, **kwargs)
        if state.global_step + 1 == number:
            monkeypatch.setattr(NoiseStep, "on_step_begin", begin)
            event()

    monkeypatch.setattr(NoiseStep, "on_step_begin", begun)


def refused_at_step_5(config, sentence: str) -> None:
    with pytest.raises(SmoothCSEError, match=sentence):
        train(config, console=Console(quiet=True))
    assert RunFolder(config.output).latest_checkpoint().name == "checkpoint-4"


def test_a_disk_that_turns_read_only_is_explained(config, tmp_path, monkeypatch):
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(tmp_path / "disk")], check=True)

    monkeypatch.setattr(run_start, "lock_folder", lambda *_, **__: nullcontext())  # mount refuses while it is open
    with mounted(tmp_path / "disk", 16 * 2**20):
        during_step(monkeypatch, 5, lambda: remount("ro"))
        refused_at_step_5(config, r"Writing to .*run failed \(Read-only file system\); .* continue with --resume")
        with pytest.raises(SmoothCSEError, match=r"other.* cannot be created: Read-only file system"):
            train(config.replace(output=str(tmp_path / "disk" / "other")), console=Console(quiet=True))
        remount("rw")
        go_on(RunFolder(config.output))


def test_too_many_open_files_are_explained(config, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow_no_more() -> None:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))

    during_step(monkeypatch, 5, allow_no_more)
    try:
        with pytest.raises(SmoothCSEError, match=r"could not open another file; .*ulimit -n\), then continue with"):
            train(config, console=Console(quiet=True))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert RunFolder(config.output).latest_checkpoint().name == "checkpoint-4"
    go_on(RunFolder(config.output))


@pytest.mark.parametrize("allocate", [torch.empty, bytearray])
def test_running_out_of_memory_is_explained(allocate, config, monkeypatch):
    """More than any machine has, asked of torch and of Python."""
    during_step(monkeypatch, 5, lambda: allocate(2**50))
    refused_at_step_5(config, r"not enough memory for the run in .*checkpoint-4\. Provide more memory and continue")
    go_on(RunFolder(config.output))


def test_files_of_a_resumed_run_count_towards_the_space_needed(tmp_path):
    model = torch.nn.Linear(1000, 1000, bias=False)  # 4 MB, so 48 MB of files
    with mounted(tmp_path / "disk", 50 * 2**20) as disk:
        require_space(disk / "run", model)
        (disk / "others").write_bytes(bytes(10 * 2**20))
        with pytest.raises(SmoothCSEError, match=r"needs about 0\.05 GB .* 0\.04 GB are free; free some space"):
            require_space(disk / "run", model)
        (disk / "others").rename(disk / "mine")
        (disk / "run" / "best").mkdir(parents=True)
        (disk / "mine").rename(disk / "run" / "texts.arrow")  # is no part of what will be written
        with pytest.raises(SmoothCSEError, match="free some space"):
            require_space(disk / "run", model)
        (disk / "run" / "texts.arrow").rename(disk / "run" / "best" / "mine")
        require_space(disk / "run", model)


def test_unrelated_errors_are_not_changed(tmp_path):
    with pytest.raises(RuntimeError, match="out of memory"), explain_failed_writes(tmp_path):
        raise RuntimeError("out of memory")
    with (
        pytest.raises(SmoothCSEError, match=r"The run in .* stopped: .*No such file"),
        explain_failed_writes(tmp_path),
    ):
        (tmp_path / "nothing").read_text()


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_encoding_to_a_full_disk_is_explained(suffix, cramped, text, tiny_bert):
    folder, little_room, reason = cramped
    encoder = load_encoder(tiny_bert, device="cpu")
    with (
        little_room,
        pytest.raises(SmoothCSEError, match=rf"out{suffix} cannot be written \({reason}\): free some space"),
    ):
        encode_file(encoder, text, folder / f"out{suffix}", precision="fp32")
    gc.collect()  # a writer that is taken down must not write again
    assert list(folder.iterdir()) == []


def test_a_corpus_cache_on_a_full_disk_is_explained(cramped, text, monkeypatch, tmp_path):
    folder, little_room, reason = cramped
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(folder))
    with (
        little_room,
        pytest.raises(SmoothCSEError, match=rf"{folder}/corpus cannot be written .*{reason}.*to a folder"),
    ):
        load_sentences(text)
    assert list((folder / "corpus").iterdir()) == []
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(tmp_path / "roomy"))
    assert len(load_sentences(text)) == 2000
