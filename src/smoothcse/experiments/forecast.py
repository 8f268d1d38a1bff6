"""Forecast of a reproduction: downloads, time, memory and disk space."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from smoothcse._utils.paths import local_path
from smoothcse.corpus import load_sentences
from smoothcse.corpus.hub_datasets import HubAddress
from smoothcse.corpus.sources import PYTHON_DOCS, WIKI1M, WIKI1M_ADDRESS, WIKI1M_LINES
from smoothcse.encoders.hardware import find_hardware
from smoothcse.encoders.packaged import PACKAGED_MINILM
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import ARCHIVE, DATASET, HUB
from smoothcse.experiments.reproduction import Reproduction
from smoothcse.fastpath import accelerate
from smoothcse.runs.config import TrainConfig
from smoothcse.training.card import probe
from smoothcse.training.parts import make_loss, read_start
from smoothcse.training.plan import plan_run
from smoothcse.views.choice import draws_text

_WEIGHTS = "model.safetensors"

# The recipes' four models, so that memory and disk can be estimated before the model is downloaded.
_PARAMETERS = {
    "bert-base-uncased": 109_482_240,
    "bert-large-uncased": 335_141_888,
    "roberta-base": 124_645_632,
    "roberta-large": 355_359_744,
}


@dataclass(frozen=True)
class _Need:
    """Input of the runs: whether it is on this machine, and if not, its size if the hub reports it."""

    name: str
    here: bool
    size: int | None = None

    def __str__(self) -> str:
        if self.here:
            return f"{self.name}: on this machine"
        return f"{self.name}: to be downloaded, {decimal(self.size) if self.size else 'size unknown'}"


@dataclass(frozen=True)
class _Cost:
    """Seconds per step on this machine, parameters, and peak memory in bytes if the step ran on a GPU."""

    seconds: float
    parameters: int
    peak: int | None


def plan_table(reproduction: Reproduction) -> Table:
    """Return the downloads and requirements of the runs as a table.

    The time is measured if the model is on this machine. Nothing is downloaded. Sizes are unknown if the hub cannot be
    reached.

    Raises:
        SmoothCSEError: If a run folder holds a run with another configuration, or a name is not valid on the hub.
    """
    plan = reproduction.plan()
    plan.require_same()
    runs, config = plan.runs, plan.runs[0].config
    left = sum(not plan.is_finished(run) for run in runs)
    needs = _needs(config)
    cost, hardware = _cost(config, model_is_here=needs[1].here)
    steps, bound = _steps(config, corpus_is_here=needs[0].here)
    rows = {
        "runs": f"{len(runs)} ({_run_words(reproduction)}); {len(runs) - left} finished",
        "changed": ", ".join(f"{name} {value}" for name, value in reproduction.changed.items()) or "nothing",
        "steps of a run": f"{bound}{steps:,} of batch {config.batch_size}" if steps else "unknown without the corpus",
        "reads": "\n".join(map(str, needs)),
        "hardware": hardware,
        "time": _time_words(cost, steps, left, model_is_here=needs[1].here),
        "memory": _memory_words(cost, config),
        "disk": _disk_words(cost, config, len(runs), reproduction.output),
    }
    table = Table(title=f"Plan: {reproduction.recipe}", show_header=False)
    for name, value in rows.items():
        table.add_row(name, Text(value))  # as text, so that a path is not read as markup or emoji
    return table


def _run_words(reproduction: Reproduction) -> str:
    seeds = reproduction.study.seeds
    span = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{' and '.join(reproduction.study.variants)}, {span}"


def _needs(config: TrainConfig) -> tuple[_Need, _Need, _Need]:
    nowhere = HubAddress("")  # _need rejects it unless the corpus is on this machine
    address = HubAddress.parse(WIKI1M_ADDRESS if config.corpus == WIKI1M else config.corpus) or nowhere
    return (
        _need("corpus", config.corpus, address.repository, address.file, "dataset"),
        _need("model", config.model, config.model, _WEIGHTS, "model"),
        _need("dev and test data", config.dev or HUB, DATASET, ARCHIVE, "dataset"),
    )


def _need(what: str, source: str, repository: str, file: str | None, kind: str) -> _Need:
    name = f"{what} {source}"
    if source in (PYTHON_DOCS, PACKAGED_MINILM) or local_path(source).exists():
        return _Need(name, here=True)
    if repository and file is None:
        return _Need(f"{name} (the part that is not in the cache)", here=False)
    try:
        cached = try_to_load_from_cache(repository, file or "", repo_type=kind)
    except HFValidationError as error:
        raise SmoothCSEError(
            f"The {name} is neither on this machine nor a valid name on the hub; check the spelling."
        ) from error
    if isinstance(cached, str):
        return _Need(name, here=True)
    return _Need(name, here=False, size=_size_on_hub(repository, file or "", kind))


def _size_on_hub(repository: str, file: str, kind: str) -> int | None:
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        url = hf_hub_url(repository, file, repo_type=kind, endpoint=endpoint)
        return get_hf_file_metadata(url, timeout=5, endpoint=endpoint).size
    except Exception:  # no network or no such file; the class depends on the HTTP client
        return None


def _steps(config: TrainConfig, *, corpus_is_here: bool) -> tuple[int | None, str]:
    """Return the steps of a run, and "at most " if the corpus has not been counted yet."""
    if config.max_steps:
        return config.max_steps, ""
    if corpus_is_here:
        sentences, bound = len(load_sentences(config.corpus, column=config.column, columns=config.columns)), ""
    elif config.corpus == WIKI1M:
        sentences, bound = WIKI1M_LINES[-1], "at most "
    else:
        return None, ""
    return config.steps_over(sentences), bound


def _cost(config: TrainConfig, *, model_is_here: bool) -> tuple[_Cost | None, str]:
    """Return the cost of a step if it can be measured, and the hardware or why it cannot be used."""
    try:
        hardware = find_hardware(config.precision)
    except SmoothCSEError as error:
        return None, str(error)
    return _measure(config) if model_is_here else None, hardware.describe()


def _measure(config: TrainConfig) -> _Cost:
    """Time one step on a batch in which each row has the maximum length."""
    cached = try_to_load_from_cache(config.model, "config.json") if not Path(config.model).exists() else None
    source = str(Path(cached).parent) if isinstance(cached, str) else config.model  # needs no network
    plan = plan_run(config.replace(model=source))
    model = read_start(plan)
    sentences = ["word " * config.max_length] * config.batch_size
    given = 2 if draws_text(config.views) else len(config.columns or ())
    columns = [sentences] * (given or plan.method.columns)
    with accelerate(model, parts=plan.fast_parts, precision=plan.hardware.precision):
        loss = make_loss(plan, model)
        measured = probe(
            model, loss, columns, [prompt_of(model)] * len(columns), config.max_length, plan.hardware.autocast_dtype
        )
    peak = torch.cuda.max_memory_allocated() if plan.hardware.device_type == "cuda" else None
    return _Cost(measured.seconds, sum(p.numel() for p in model.parameters()), peak)


def _time_words(cost: _Cost | None, steps: int | None, runs: int, *, model_is_here: bool) -> str:
    if cost is None:
        reason = "the hardware cannot be used" if model_is_here else "the model is not on this machine yet"
        return f"unknown: {reason}"
    if steps is None:
        return f"{cost.seconds:.2f} s a step, measured just now"
    total = timedelta(seconds=round(cost.seconds * steps * runs))
    return f"about {total} for the remaining runs: {cost.seconds:.2f} s a step, measured just now; evaluations extra"


def _memory_words(cost: _Cost | None, config: TrainConfig) -> str:
    parameters = cost.parameters if cost else _PARAMETERS.get(config.model)
    if parameters is None:
        return "unknown: the model is not on this machine yet"
    if cost and cost.peak:
        return f"about {decimal(cost.peak + 8 * parameters)} of the GPU's, measured just now"  # AdamW's moments: 8
    return f"{decimal(16 * parameters)} for weights, gradients and AdamW's moments, and a batch's activations"


def _disk_words(cost: _Cost | None, config: TrainConfig, runs: int, output: Path) -> str:
    parameters = cost.parameters if cost else _PARAMETERS.get(config.model)
    if parameters is None:
        return "unknown: the model is not on this machine yet"
    # Best and last model of each run. The current run has three checkpoints of three times that size, and a copy.
    needed = 4 * parameters * (2 * runs + 10)
    existing = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    return f"about {decimal(needed)} in {output}, where {decimal(shutil.disk_usage(existing).free)} are free"
