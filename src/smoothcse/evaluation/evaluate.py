"""Scores of any models on any of the four groups of tasks: what ``smoothcse evaluate`` runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcse._utils.paths import local_path
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.pooling import PoolingName
from smoothcse.encoders.precision import Precision, check_precision, resolve_precision
from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.data import HUB, is_hub, sts_folder, transfer_folder
from smoothcse.evaluation.geometry import DEV, evaluate_geometry, python_docs_geometry, stsb_dev_geometry
from smoothcse.evaluation.results import Evaluation
from smoothcse.evaluation.retrieval import RetrievalTask, evaluate_retrieval, last_everywhere, python_docs_task
from smoothcse.evaluation.retrieval_data import TAKES, is_beir_folder, is_pairs_file, load_retrieval
from smoothcse.evaluation.score import Score
from smoothcse.evaluation.sts import evaluate_sts, load_tasks
from smoothcse.evaluation.sts_tasks import files_of, sample_pairs
from smoothcse.evaluation.transfer import evaluate_transfer, load_transfers

if TYPE_CHECKING:
    from rich.console import Console
    from sentence_transformers import SentenceTransformer

Data = str | Path | None
Models = str | Path | Sequence[str | Path] | Mapping[str, "SentenceTransformer"]


@dataclass(frozen=True)
class _Step:
    """A piece of work whose data has been read and checked.

    Attributes:
        group: what its scores are listed under.
        label: shown while it runs.
        measure: from a model and options of :func:`~smoothcse.encoders.inference.encode` to scores.
    """

    group: str
    label: str
    measure: Callable[..., list[Score]]


@dataclass(frozen=True)
class _Group:
    """A group of tasks.

    Attributes:
        read: Function of the data, which may be of no use to it, that reads and checks what is measured on.
        takes: Data that it can use, in words.
        uses: Whether it uses the data given.
    """

    read: Callable[..., list[_Step]]
    takes: str
    uses: Callable[[str | Path], bool]


def evaluate(
    models: Models,
    tasks: Iterable[str] = ("sts",),
    data: str | Path | None = None,
    *,
    columns: Sequence[str] | None = None,
    pairs: int | None = None,
    pooling: PoolingName | None = None,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Score models on groups of tasks.

    All data is read and checked, and of several models each is loaded once, before the first one is run.

    Args:
        models: one or several of run folder, model folder and hub name, or loaded models by name. Of paths the
            names in the results are the last parts, as many as tell them apart.
        tasks: of ``sts`` (the seven), ``transfer`` (the seven), ``geometry`` and ``retrieval``, or ``all``.
        data: What the tasks are measured on; at least one of them must be able to use it. ``sts`` and ``transfer``
            take a folder in SentEval's layout, one with such folders ``sts`` and ``transfer`` in it, or ``"hub"``,
            which is their default; ``geometry`` takes the same where it holds STS-B dev; ``retrieval`` takes what
            :func:`~smoothcse.evaluation.retrieval_data.load_retrieval` does. Without data for them, the last two are
            measured on this Python's documentation.
        columns: Of a file of pairs for ``retrieval``, the two columns of queries and their documents.
        pairs: of ``sts``, score a fixed sample of so many pairs of each task, for a quick look; None for all, as
            papers do.
        pooling: replaces the pooling of models given by path or name.
        precision: Of the forward passes, ``"fp32"`` (default) or ``"bf16"``, which moves a figure by some hundredths.
            ``"auto"`` is fp32 on every machine.
        batch_size: sentences per forward; None for what suits the device.
        console: where to say what is being measured, with bars if it is a terminal; None for silence.

    Returns:
        The scores; ``evaluate("my-encoder", data=folder).models["my-encoder"]["sts"]["avg"]`` is the papers' "Avg.".

    Raises:
        SmoothCSEError: if a task or an option is unknown, data is missing or broken, or a model cannot be loaded.
    """
    check_precision(precision, "measure")
    groups = task_groups(tasks)
    if pairs is not None:
        _check_sample(pairs, groups)
    _check_data(data, groups, columns)
    options_of: dict[str, dict[str, Any]] = {"sts": {"pairs": pairs}, "retrieval": {"columns": columns}}
    steps = [step for group in groups for step in _GROUPS[group].read(data, **options_of.get(group, {}))]
    loaders = _loaders(models, pooling)
    if len(loaders) > 1:  # a mistake in the last name must not cost the minutes of those before it
        for load in loaders.values():
            load()
    scores, settings = {}, {}
    for name, load in loaders.items():
        model = load()
        options: dict[str, Any] = {
            "precision": resolve_precision(precision, "measure", model.device.type),
            "batch_size": batch_size,
            "show_progress": console is not None and console.is_terminal,
        }
        scores[name] = _run(name, model, steps, options, console)
        settings[name] = {"precision": options["precision"], "max_seq_length": model.max_seq_length}
    chosen = {"columns": columns and list(columns)} if columns else {}
    return Evaluation(
        scores, {"data": data and str(data), **chosen, "pairs": pairs, "pooling": pooling, "models": settings}
    )


def _check_sample(pairs: int, groups: Sequence[str]) -> None:
    if pairs < 2:
        raise SmoothCSEError(f"A sample of {pairs} pairs has no correlation; draw at least 2, better hundreds.")
    if "sts" not in groups:
        raise SmoothCSEError("The pairs are drawn of sts; add it to the tasks, or leave the number of pairs out.")


def _check_data(data: Data, groups: Sequence[str], columns: Sequence[str] | None) -> None:
    """Refuse data, or columns of it, that would have no part in the scores."""
    if data is not None and not is_hub(data) and not local_path(data).exists():
        raise SmoothCSEError(f"The data {data} does not exist; give a path that does, or leave the data out.")
    if data is not None and not any(_GROUPS[group].uses(data) for group in groups):
        takes = "; ".join(f"{group} takes {_GROUPS[group].takes}" for group in groups)
        raise SmoothCSEError(f"The data {data} is of no use to the tasks {', '.join(groups)}: {takes}.")
    if columns and not (data is not None and "retrieval" in groups and is_pairs_file(data)):
        raise SmoothCSEError("The columns are those of a file of pairs for retrieval; give one, or leave them out.")


def task_groups(names: Iterable[str]) -> list[str]:
    """Return the groups of tasks that are named, ``all`` spelt out, each once.

    Raises:
        SmoothCSEError: if a name is unknown, or there is none.
    """
    found: dict[str, None] = {}
    for name in (name.strip().lower() for name in names):
        if name not in (*_GROUPS, "all"):
            raise SmoothCSEError(
                f"There are no tasks {name!r}; choose from {', '.join(_GROUPS)}, all."
                f"{did_you_mean(name, (*_GROUPS, 'all'))}"
            )
        found |= dict.fromkeys(_GROUPS if name == "all" else [name])
    if not found:
        raise SmoothCSEError(f"No tasks are named; choose from {', '.join(_GROUPS)}, all.")
    return list(found)


# ---- data -> steps --------------------------------------------------------------------------------------


def _sts(data: Data, pairs: int | None = None) -> list[_Step]:
    tasks = load_tasks(sts_folder(data or HUB))
    if pairs:
        tasks = [sample_pairs(task, pairs) for task in tasks]
    return [_Step("sts", "STS", partial(evaluate_sts, tasks=tasks))]


def _is_senteval(data: str | Path) -> bool:
    return is_hub(data) or local_path(data).is_dir()  # what a folder lacks is told when it is read


def _transfer(data: Data) -> list[_Step]:
    tasks = load_transfers(transfer_folder(data or HUB))
    return [_Step("transfer", f"transfer, {task.name}", partial(evaluate_transfer, tasks=[task])) for task in tasks]


def _geometry(data: Data) -> list[_Step]:
    task = stsb_dev_geometry(sts_folder(data)) if data and _has_dev(data) else python_docs_geometry()
    return [_Step("geometry", "geometry", lambda model, **options: [evaluate_geometry(model, task, **options)])]


def _has_dev(data: str | Path) -> bool:
    folder = sts_folder(data)
    return all((folder / file).is_file() or (folder / "STS" / file).is_file() for file in files_of(DEV))


def _retrieval(data: Data, columns: Sequence[str] | None = None) -> list[_Step]:
    task = load_retrieval(data, columns) if data and _has_queries(data) else python_docs_task()
    return [_Step("retrieval", "retrieval", lambda model, **options: [_retrieval_score(model, task, options)])]


def _has_queries(data: str | Path) -> bool:
    return not is_hub(data) and (is_pairs_file(data) or is_beir_folder(data))


def _retrieval_score(model: SentenceTransformer, task: RetrievalTask, options: dict[str, Any]) -> Score:
    metrics = evaluate_retrieval(model, task, **options)
    diagnosis = None
    if metrics["MRR"] <= last_everywhere(task) * (1 + 1e-9):  # nothing is nearer than anything else
        diagnosis = (
            "All documents are equally near to all queries: the embeddings are (nearly) identical or not finite, and "
            "the model has collapsed or diverged; try a lower learning rate, or a checkpoint from earlier in the run."
        )
    return Score(task.name, main=metrics["MRR"], metrics=metrics, rows=len(task.queries), diagnosis=diagnosis)


_SENTEVAL = "a folder in SentEval's layout, or hub"
_GROUPS = {
    "sts": _Group(_sts, _SENTEVAL, _is_senteval),
    "transfer": _Group(_transfer, _SENTEVAL, _is_senteval),
    "geometry": _Group(_geometry, f"{_SENTEVAL}, with STS-B dev ({', '.join(files_of(DEV))})", _has_dev),
    "retrieval": _Group(_retrieval, TAKES, _has_queries),
}


# ---- models ---------------------------------------------------------------------------------------------


def _loaders(models: Models, pooling: PoolingName | None) -> dict[str, Callable[[], SentenceTransformer]]:
    """Return by name how to get each model, as there may not be memory for all at once."""
    if isinstance(models, Mapping):
        return {name: partial(_same, model) for name, model in models.items()}
    sources = [models] if isinstance(models, str | Path) else list(models)
    if not sources:
        raise SmoothCSEError("There is no model to evaluate; give a run folder, a model folder or a hub name.")
    return {name: partial(load_encoder, source, pooling) for name, source in shortest_names(sources).items()}


def _same(model: SentenceTransformer) -> SentenceTransformer:
    return model


def shortest_names(sources: Iterable[str | Path]) -> dict[str, str | Path]:
    """Name models by the ends of their paths, as long as it takes to tell them apart; the same one counts once.

    ``runs/a/best`` and ``runs/b/best`` become ``a/best`` and ``b/best``; ``runs/a`` alone is ``a``.
    """
    found: dict[tuple[str, ...], str | Path] = {}
    for source in sources:
        # An existing folder by its full path, so that "." has a name; a hub's name by itself.
        path = os.path.abspath(source) if os.path.exists(source) else source
        found.setdefault(Path(path).parts, source)
    return {_shortest(own, found): source for own, source in found.items()}


def _shortest(own: tuple[str, ...], everybody: Iterable[tuple[str, ...]]) -> str:
    others = [parts for parts in everybody if parts != own]
    lengths = (n for n in range(1, len(own)) if all(own[-n:] != parts[-n:] for parts in others))
    return Path(*own[-next(lengths, len(own)) :]).as_posix()


def _run(
    name: str, model: SentenceTransformer, steps: Sequence[_Step], options: dict[str, Any], console: Console | None
) -> dict[str, list[Score]]:
    scores: dict[str, list[Score]] = {}
    for step in steps:
        if console is not None:
            console.print(f"{name}: {step.label}", markup=False, highlight=False)
        scores.setdefault(step.group, []).extend(step.measure(model, **options))
    return scores
