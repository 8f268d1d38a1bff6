"""A published recipe and its control over seeds, and the published table beside what came of them.

The figures are those of each run's *best* model, the one with the highest STS-B dev score of all that were looked at
during training, since the authors chose theirs so.

::

    OUTPUT/METHOD/seed-42/     a run folder, with sts.json and sts.csv, its scores on the seven tasks
    OUTPUT/control/seed-42/    the same without noise
    OUTPUT/reproduce.json      everything
    OUTPUT/reproduce.md        the table and the verdict
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from smoothcse.corpus import load_sentences
from smoothcse.corpus.hub import HubAddress
from smoothcse.corpus.sources import PYTHON_DOCS, WIKI1M, WIKI1M_ADDRESS, WIKI1M_LINES
from smoothcse.encoder import PACKAGED_MINILM, build_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import ARCHIVE, DATASET, HUB, sts_folder
from smoothcse.evaluation.evaluate import evaluate
from smoothcse.evaluation.published import STS_HEADINGS, Published, figure_cells, published_results
from smoothcse.evaluation.results import AVERAGE
from smoothcse.evaluation.sts_tasks import SEVEN_STS, load_tasks
from smoothcse.losses import GSInfoNCELoss
from smoothcse.studies.statistics import Difference, mean_sd, paired_difference, show_mean_sd
from smoothcse.studies.study import PlannedRun, Study
from smoothcse.training.card import probe
from smoothcse.training.config import TrainConfig
from smoothcse.training.hardware import Hardware, find_hardware
from smoothcse.training.recipes import CONTROL, recipe_fields
from smoothcse.training.run import train
from smoothcse.training.run_folder import RunFolder

_FIGURES = (*SEVEN_STS, AVERAGE)
_PUBLISHED_AS = {
    "bert-base-uncased": "BERT-base",
    "bert-large-uncased": "BERT-large",
    "roberta-base": "RoBERTa-base",
    "roberta-large": "RoBERTa-large",
}
_WEIGHTS = "model.safetensors"

# Of the recipes' four starts, so that memory and disk can be told before the model is here.
_PARAMETERS = {
    "bert-base-uncased": 109_482_240,
    "bert-large-uncased": 335_141_888,
    "roberta-base": 124_645_632,
    "roberta-large": 355_359_744,
}


@dataclass(frozen=True)
class Reproduction:
    """What is to be reproduced, and how; from :func:`plan_reproduction`.

    Attributes:
        recipe: its name, e.g. ``gs-infonce/bert-base-uncased``.
        study: the recipe, its control if it has one, and the seeds.
        changed: fields that differ from the recipe's, with their values.
        data: folder in SentEval's layout, or ``"hub"``.
        output: folder for the runs and the results.
    """

    recipe: str
    study: Study
    changed: Mapping[str, Any]
    data: str
    output: Path

    @property
    def method(self) -> str:
        """The recipe's variant in the study, e.g. ``gs-infonce``."""
        return self.recipe.split("/")[0]

    def runs(self) -> list[PlannedRun]:
        """Return the runs with their folders, seed by seed, so that each seed's comparison is complete early."""
        return [
            dataclasses.replace(run, config=run.config.replace(output=str(self.output / run.name)))
            for run in self.study.runs()
        ]

    def published(self) -> list[Published]:
        """Return what was published of the recipe; several rows where the sources disagree."""
        method, model = self.recipe.split("/")
        return published_results(method, _PUBLISHED_AS[model])


def plan_reproduction(
    recipe: str,
    *,
    seeds: int = 5,
    output: str | Path | None = None,
    data: str = HUB,
    changes: Mapping[str, Any] | None = None,
) -> Reproduction:
    """Check what is asked for; nothing is fetched or written.

    Args:
        recipe: of ``gs-infonce`` or ``simcse``. The former has a control, trained likewise without noise; SimCSE has
            no noise to leave out.
        seeds: runs of each, counting up from the recipe's seed.
        output: folder for the runs and the results; None for ``reproduce/RECIPE``.
        data: folder in SentEval's layout for the dev set and the seven tasks, or ``"hub"``.
        changes: configuration fields that replace the recipe's.

    Raises:
        SmoothCSEError: for an unknown recipe or field, a control, a value out of range, or a gap in the data.
    """
    fields = recipe_fields(recipe)
    method, model = recipe.split("/")
    if method == CONTROL:
        raise SmoothCSEError(f"Nothing is published of {recipe}; reproduce gs-infonce/{model}, which runs it too.")
    variants = {method: fields} | ({CONTROL: recipe_fields(f"{CONTROL}/{model}")} if fields["noise_count"] else {})
    changes = dict(changes or {})
    study = Study(
        about=f"Is {recipe} reproduced?",
        base={},
        variants={name: {**own, **changes, "dev": data} for name, own in variants.items()},
        grid={},
        seeds=list(range(fields["seed"], fields["seed"] + seeds)),
        control=CONTROL if CONTROL in variants else None,
    )
    study.runs()  # checks the fields
    if data != HUB:
        _checked_data(data)
    changed = {name: value for name, value in changes.items() if value != fields.get(name)}
    return Reproduction(recipe, study, changed, data, Path(output or Path("reproduce") / recipe))


def reproduce(reproduction: Reproduction, *, resume: bool = False, console: Console | None = None) -> Outcome:
    """Train and evaluate what is missing, and write ``reproduce.json`` and ``reproduce.md``.

    A run's checkpoints are removed when it has finished; its best and its last model stay.

    Args:
        reproduction: from :func:`plan_reproduction`.
        resume: keep what an earlier call finished, and go on with the run that was cut off.
        console: where to say what goes on; None for standard error.

    Raises:
        SmoothCSEError: for everything a user can mend; what has finished stays for ``resume``.
    """
    console = console or Console(stderr=True)
    runs = reproduction.runs()
    find_hardware(runs[0].config.precision)
    _check_output(reproduction, resume)
    for run in runs:
        _is_finished(run.config)  # a changed configuration is told before the first hour, not before the last
    data = _checked_data(reproduction.data)  # likewise a gap in the data
    for number, run in enumerate(runs, start=1):
        console.rule(f"{run.name}, {number} of {len(runs)}")
        _train(run.config, console)
        _evaluate(RunFolder(run.config.output), data, console)
    outcome = Outcome(reproduction, [_read(run) for run in runs])
    outcome.save()
    return outcome


# ---- one run --------------------------------------------------------------------------------------------


def _check_output(reproduction: Reproduction, resume: bool) -> None:
    there = [run for run in reproduction.runs() if RunFolder(run.config.output).manifest_file.is_file()]
    if there and not resume:
        raise SmoothCSEError(
            f"{reproduction.output} holds {len(there)} of these runs; go on with --resume, or give another --output."
        )


def _checked_data(source: str) -> Path:
    """Return the folder of the dev set and the seven tasks, fetched if need be, having read it all once."""
    folder = sts_folder(source)
    load_tasks(folder, (*SEVEN_STS, "STSBenchmark-dev"))
    return folder


def _is_finished(config: TrainConfig) -> bool:
    """Whether this very run has finished in its folder.

    Raises:
        SmoothCSEError: if the folder holds a run of another configuration.
    """
    folder = RunFolder(config.output)
    if not folder.manifest_file.is_file():
        return False
    manifest = folder.read_manifest()
    before = manifest.get("config", {})
    changed = [name for name, value in config.as_dict().items() if name != "output" and before.get(name) != value]
    if changed:
        raise SmoothCSEError(
            f"The run in {folder.path} was started with another configuration ({', '.join(changed)} differ); "
            "ask for the same again, or give another --output."
        )
    return manifest.get("status") == "finished"


def _train(config: TrainConfig, console: Console) -> None:
    folder = RunFolder(config.output)
    if not _is_finished(config):
        train(config, resume=folder.manifest_file.is_file(), console=console)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)  # three times the model each, and nothing to resume


def _evaluate(folder: RunFolder, data: Path, console: Console) -> None:
    """Score a run's best model on the seven tasks, once for the same data."""
    file = _scores_file(folder)
    if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["settings"]["data"] == str(data):
        return
    evaluate(folder.best, ["sts"], data, precision="fp32", console=console).save(file)


def _scores_file(folder: RunFolder) -> Path:
    return folder.path / "sts.json"


@dataclass(frozen=True)
class Run:
    """A finished and evaluated run.

    Attributes:
        variant: the recipe's method, or ``control``.
        seed: of the run.
        folder: of the run.
        best_step: at which the best model was found; 0 is the start.
        dev_score: of the best model.
        sts: Spearman times 100 by task, and :data:`~smoothcse.evaluation.results.AVERAGE`.
        diagnoses: what is the matter with figures that mean something else than they seem to.
    """

    variant: str
    seed: int
    folder: str
    best_step: int
    dev_score: float
    sts: Mapping[str, float]
    diagnoses: Sequence[str]


def _read(run: PlannedRun) -> Run:
    folder = RunFolder(run.config.output)
    [scores] = json.loads(_scores_file(folder).read_text(encoding="utf-8"))["details"].values()
    sts = {task: float(scores["sts"][task]["spearman"]) for task in SEVEN_STS}
    result = folder.read_manifest()["result"]
    return Run(
        run.variant,
        run.seed,
        run.name,
        result["best_step"],
        result["best_score"],
        {**sts, AVERAGE: mean_sd(list(sts.values()))[0]},
        sorted({score["diagnosis"] for score in scores["sts"].values() if score["diagnosis"]}),
    )


# ---- what came of it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What :func:`reproduce` found.

    Attributes:
        reproduction: what was asked for.
        runs: all of them.
    """

    reproduction: Reproduction
    runs: Sequence[Run]

    def figures(self, variant: str, figure: str) -> list[float]:
        """Return a task's score, or the average, of each seed."""
        return [run.sts[figure] for run in self.runs if run.variant == variant]

    def difference(self, figure: str) -> Difference | None:
        """Return recipe minus control, paired by seed; None for a recipe without control."""
        if self.reproduction.study.control is None:
            return None
        return paired_difference(self.figures(self.reproduction.method, figure), self.figures(CONTROL, figure))

    def table(self) -> Table:
        """Return the comparison, a row per task."""
        headings, rows = self._cells()
        table = Table(
            title=f"{self.reproduction.recipe}: Spearman × 100, 'all' setting", caption=Text(self._remarks())
        )
        table.caption_justify = "left"
        for heading in headings:
            table.add_column(heading, justify="left" if heading == "task" else "right")
        for row in rows:
            table.add_row(*row, end_section=row[0] == STS_HEADINGS[SEVEN_STS[-1]])
        return table

    def verdict(self) -> str:
        """Return in one sentence whether the published average came out again, and whether the noise did it."""
        ours, difference = self.figures(self.reproduction.method, AVERAGE), self.difference(AVERAGE)
        changed = ", ".join(f"{name} {value}" for name, value in self.reproduction.changed.items())
        start = f"With other settings than the recipe's ({changed}), " if changed else ""
        mean, sd = mean_sd(ours)
        if sd is None:
            sentence = f"one seed settles nothing (its average is {mean:.2f}); run more with --seeds 5 --resume."
        else:
            said = [_compared(row.average, mean, sd) for row in self.reproduction.published()]
            sentence = f"{' and '.join(said)} of ours ({show_mean_sd(ours)}, {len(ours)} seeds){_found(difference)}."
        return start + sentence if start else sentence[0].upper() + sentence[1:]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for ``reproduce.json``."""
        names = (self.reproduction.method, *([CONTROL] if self.reproduction.study.control else []))
        differences = {figure: self.difference(figure) for figure in _FIGURES}
        return {
            "recipe": self.reproduction.recipe,
            "changed": dict(self.reproduction.changed),
            "seeds": self.reproduction.study.seeds,
            "selected_by": "highest STS-B dev score during training",
            "published": [dataclasses.asdict(row) for row in self.reproduction.published()],
            "mean_sd": {name: {figure: self._mean_sd(name, figure) for figure in _FIGURES} for name in names},
            "difference": {figure: found and dataclasses.asdict(found) for figure, found in differences.items()},
            "runs": [dataclasses.asdict(run) for run in self.runs],
            "verdict": self.verdict(),
        }

    def save(self) -> None:
        """Write ``reproduce.json`` and ``reproduce.md``, each whole or not at all."""
        headings, rows = self._cells()
        lines = [" | ".join(cells) for cells in (headings, [":--", *["--:"] * (len(headings) - 1)], *rows)]
        table = "\n".join(f"| {line} |" for line in lines)
        text = f"# {self.reproduction.recipe}\n\n{table}\n\n{self._remarks()}\n\n{self.verdict()}\n"
        _write(self.reproduction.output / "reproduce.md", text)
        _write(
            self.reproduction.output / "reproduce.json",
            json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n",
        )

    def _mean_sd(self, variant: str, figure: str) -> dict[str, float | None]:
        return dict(zip(("mean", "sd"), mean_sd(self.figures(variant, figure)), strict=True))

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        method, published = self.reproduction.method, self.reproduction.published()
        headings = ["task", *(_heading(row, published) for row in published), method]
        columns = [list(figure_cells(row)) for row in published]
        columns.append([show_mean_sd(self.figures(method, figure)) for figure in _FIGURES])
        if self.reproduction.study.control:
            headings += [CONTROL, "difference [95%]"]
            columns.append([show_mean_sd(self.figures(CONTROL, figure)) for figure in _FIGURES])
            columns.append([str(self.difference(figure)) for figure in _FIGURES])
        names = [STS_HEADINGS.get(figure, figure) for figure in _FIGURES]
        return headings, [list(row) for row in zip(names, *columns, strict=True)]

    def _remarks(self) -> str:
        seeds = self.reproduction.study.seeds
        spread = f"mean ± sd over {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
        paired = ", differences paired by seed" if self.reproduction.study.control and len(seeds) > 1 else ""
        lines = [f"Ours: {spread}{paired}; of each run the model with the best STS-B dev score, as the authors chose."]
        lines += [f"{run.folder}: {diagnosis}" for run in self.runs for diagnosis in run.diagnoses]
        return "\n".join(lines)


def _compared(published: float, mean: float, sd: float) -> str:
    place = "within" if abs(published - mean) <= 2 * sd else "outside"
    return f"the published average {published:.2f} lies {place} mean ± 2 sd"


def _found(difference: Difference | None) -> str:
    if difference is None:
        return ""
    finding = "leaves out 0" if difference.established else "holds 0, so that nothing is established"
    return f"; its difference from the control is {difference}, a 95% interval that {finding}"


def _heading(row: Published, rows: Sequence[Published]) -> str:
    return f"published ({' '.join(row.sources)})" if len(rows) > 1 else "published"


def _write(file: Path, text: str) -> None:
    temporary = file.with_name(file.name + ".new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, file)
    except OSError as error:
        raise SmoothCSEError(
            f"{file} cannot be written ({error.strerror}); the runs are kept: make room and call again with --resume."
        ) from error


# ---- the plan -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Need:
    """Something that the runs read: whether it is on this machine, and if not, its size where the hub tells it."""

    name: str
    here: bool
    size: int | None = None

    def __str__(self) -> str:
        if self.here:
            return f"{self.name}: on this machine"
        return f"{self.name}: to be fetched, {decimal(self.size) if self.size else 'size unknown'}"


@dataclass(frozen=True)
class _Cost:
    """What a step takes here: seconds, parameters, and the peak in bytes if it ran on a GPU."""

    seconds: float
    parameters: int
    peak: int | None


def plan_table(reproduction: Reproduction) -> Table:
    """Return what the runs will fetch, take and leave, as far as it can be told now.

    The time is measured on two steps if the model is on this machine. Nothing is fetched; the hub is asked for sizes,
    and without it they stay unknown.
    """
    runs = reproduction.runs()
    config, left = runs[0].config, sum(not _is_finished(run.config) for run in runs)
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
        table.add_row(name, Text(value))  # neither markup nor emoji, whatever a path is called
    return table


def _run_words(reproduction: Reproduction) -> str:
    seeds = reproduction.study.seeds
    span = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{' and '.join(reproduction.study.variants)}, {span}"


def _needs(config: TrainConfig) -> tuple[_Need, _Need, _Need]:
    nowhere = HubAddress("")  # which _need refuses, unless the corpus is on this machine
    address = HubAddress.parse(WIKI1M_ADDRESS if config.corpus == WIKI1M else config.corpus) or nowhere
    return (
        _need("corpus", config.corpus, address.repository, address.file, "dataset"),
        _need("model", config.model, config.model, _WEIGHTS, "model"),
        _need("dev and test data", config.dev or HUB, DATASET, ARCHIVE, "dataset"),
    )


def _need(what: str, source: str, repository: str, file: str | None, kind: str) -> _Need:
    name = f"{what} {source}"
    if source in (PYTHON_DOCS, PACKAGED_MINILM) or Path(source).expanduser().exists():
        return _Need(name, here=True)
    if repository and file is None:
        return _Need(f"{name} (what of it is not in the cache)", here=False)
    try:
        cached = try_to_load_from_cache(repository, file or "", repo_type=kind)
    except HFValidationError as error:
        raise SmoothCSEError(
            f"The {name} is neither on this machine nor a name that the hub could know; check the spelling."
        ) from error
    if isinstance(cached, str):
        return _Need(name, here=True)
    return _Need(name, here=False, size=_size_on_hub(repository, file or "", kind))


def _size_on_hub(repository: str, file: str, kind: str) -> int | None:
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        url = hf_hub_url(repository, file, repo_type=kind, endpoint=endpoint)
        return get_hf_file_metadata(url, timeout=5, endpoint=endpoint).size
    except Exception:  # no network, no such file, in whichever of the HTTP client's classes
        return None


def _steps(config: TrainConfig, *, corpus_is_here: bool) -> tuple[int | None, str]:
    """Return the steps of a run, and "at most " where the corpus has not been counted yet."""
    if config.max_steps:
        return config.max_steps, ""
    if corpus_is_here:
        sentences, bound = len(load_sentences(config.corpus)), ""
    elif config.corpus == WIKI1M:
        sentences, bound = WIKI1M_LINES[-1], "at most "
    else:
        return None, ""
    return math.ceil(config.epochs * (sentences // config.batch_size)), bound


def _cost(config: TrainConfig, *, model_is_here: bool) -> tuple[_Cost | None, str]:
    """Return what a step takes, where it can be measured, and the hardware or why this will not do."""
    try:
        hardware = find_hardware(config.precision)
    except SmoothCSEError as error:
        return None, str(error)
    return _measure(config, hardware) if model_is_here else None, hardware.describe()


def _measure(config: TrainConfig, hardware: Hardware) -> _Cost:
    """Time one step on a batch whose rows are all as long as a row may be."""
    cached = try_to_load_from_cache(config.model, "config.json") if not Path(config.model).exists() else None
    source = str(Path(cached).parent) if isinstance(cached, str) else config.model  # needs no network
    device = "cpu" if hardware.device_type == "cpu" else None
    model = build_encoder(
        source, config.pooling, config.projection, config.dropout, max_length=None, device=device, seed=config.seed
    )
    loss = GSInfoNCELoss(model, noise_count=config.noise_for(config.batch_size), temperature=config.temperature)
    sentences = ["word " * config.max_length] * config.batch_size
    measured = probe(model, loss, sentences, config.max_length, hardware.autocast_dtype)
    peak = torch.cuda.max_memory_allocated() if hardware.device_type == "cuda" else None
    return _Cost(measured.seconds, sum(p.numel() for p in model.parameters()), peak)


def _time_words(cost: _Cost | None, steps: int | None, runs: int, *, model_is_here: bool) -> str:
    if cost is None:
        reason = "the hardware will not do" if model_is_here else "the model is not on this machine yet"
        return f"cannot be told: {reason}"
    if steps is None:
        return f"{cost.seconds:.2f} s a step, measured just now"
    total = timedelta(seconds=round(cost.seconds * steps * runs))
    return f"about {total} for what is left: {cost.seconds:.2f} s a step, measured just now; evaluations extra"


def _memory_words(cost: _Cost | None, config: TrainConfig) -> str:
    parameters = cost.parameters if cost else _PARAMETERS.get(config.model)
    if parameters is None:
        return "cannot be told: the model is not on this machine yet"
    if cost and cost.peak:
        return f"about {decimal(cost.peak + 8 * parameters)} of the GPU's, measured just now"  # AdamW's moments: 8
    return f"{decimal(16 * parameters)} for weights, gradients and AdamW's moments, and a batch's activations"


def _disk_words(cost: _Cost | None, config: TrainConfig, runs: int, output: Path) -> str:
    parameters = cost.parameters if cost else _PARAMETERS.get(config.model)
    if parameters is None:
        return "cannot be told: the model is not on this machine yet"
    # Best and last of each run; of the run that trains three checkpoints, each thrice the model, and one copy.
    needed = 4 * parameters * (2 * runs + 10)
    existing = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    return f"about {decimal(needed)} in {output}, where {decimal(shutil.disk_usage(existing).free)} are free"
