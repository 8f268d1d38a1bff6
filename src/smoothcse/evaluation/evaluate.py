"""Evaluation of any models on the four task groups: the implementation of ``smoothcse evaluate``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcse._utils.choices import PoolingName, Precision
from smoothcse._utils.paths import local_path
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import check_precision, resolve_precision
from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.data import HUB, has_stsb_dev, is_hub, sts_folder, transfer_folder
from smoothcse.evaluation.fusion import COSINE_WEIGHT, check_weight
from smoothcse.evaluation.geometry import evaluate_geometry, python_docs_geometry, stsb_dev_geometry
from smoothcse.evaluation.results import Evaluation
from smoothcse.evaluation.retrieval import (
    RetrievalTask,
    compare_with_bm25,
    evaluate_retrieval,
    last_everywhere,
    python_docs_task,
)
from smoothcse.evaluation.retrieval_data import TAKES, is_beir_folder, is_pairs_file, load_retrieval
from smoothcse.evaluation.score import Score, ScoredBy
from smoothcse.evaluation.sts import evaluate_sts, load_tasks
from smoothcse.evaluation.sts_tasks import SEVEN_STS, STSB_DEV, files_of, sample_pairs
from smoothcse.evaluation.transfer import evaluate_transfer, load_transfers
from smoothcse.evaluation.transfer_tasks import TRANSFER_TASKS

if TYPE_CHECKING:
    from rich.console import Console
    from sentence_transformers import SentenceTransformer

Data = str | Path | None
Models = str | Path | Sequence[str | Path] | Mapping[str, "SentenceTransformer"]


@dataclass(frozen=True)
class _Step:
    """One measurement whose data has been read and checked.

    Attributes:
        group: Task group under which the scores are listed.
        label: Text shown while the step runs.
        measure: Function from a model and options of :func:`~smoothcse.encoders.inference.encode` to scores.
    """

    group: str
    label: str
    measure: Callable[..., list[Score]]


@dataclass(frozen=True)
class _Group:
    """A group of tasks.

    Attributes:
        about: Tasks and metrics of the group, in words.
        default: Data used when none is given, in words.
        takes: Data that the group can use, in words.
        read: Function that reads and checks the data; it ignores data that the group cannot use.
        uses: Whether the group can use the given data.
    """

    about: str
    default: str
    takes: str
    read: Callable[..., list[_Step]]
    uses: Callable[[str | Path], bool]


def evaluate(
    models: Models,
    tasks: Iterable[str] = ("sts",),
    data: str | Path | None = None,
    *,
    columns: Sequence[str] | None = None,
    pairs: int | None = None,
    bm25: bool = False,
    cosine_weight: float | None = None,
    pooling: PoolingName | None = None,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Score models on groups of tasks.

    All data is read and checked before the first model runs. With several models, each is also loaded once beforehand,
    so that a wrong name fails early.

    Args:
        models: Run folder, model folder or Hub name, or several of them; or loaded models by name. Results name a path
            by its last components, as many as are needed to distinguish the models.
        tasks: Task groups: ``sts`` (the seven STS tasks), ``transfer`` (the seven transfer tasks), ``geometry``,
            ``retrieval``, or ``all``.
        data: Evaluation data; at least one of the groups must be able to use it. ``sts`` and ``transfer`` take a
            folder in SentEval's layout, a folder that contains such folders named ``sts`` and ``transfer``, or
            ``"hub"`` (their default). ``geometry`` takes the same if it contains STS-B dev. ``retrieval`` takes what
            :func:`~smoothcse.evaluation.retrieval_data.load_retrieval` takes. Without suitable data, ``geometry`` and
            ``retrieval`` use this Python's documentation.
        columns: Query column and document column of a pairs file for ``retrieval``.
        pairs: Size of a fixed random sample of each STS task, for a quick look. Default: all pairs, as in papers.
        bm25: Whether ``retrieval`` also scores BM25 and each model fused with BM25, as the rows ``BM25`` and
            ``MODEL + BM25``.
        cosine_weight: Weight of the model's cosine similarity in the fused score, from 0 to 1. Default 0.7.
        pooling: Pooling to use instead of the models' own, for models given by path or name.
        precision: Arithmetic of the forward passes. ``"bf16"`` moves a score by some hundredths; ``"auto"`` is
            ``"fp32"`` on every machine. Default ``"fp32"``.
        batch_size: Sentences per batch. Default: chosen for the device.
        console: Console for progress messages, and for progress bars if it is a terminal. Default: no output.

    Returns:
        Scores; ``evaluate("my-encoder", data=folder).models["my-encoder"]["sts"]["avg"]`` is the papers' "Avg.".

    Raises:
        SmoothCSEError: A task or an option is unknown, data is missing or broken, or a model cannot be loaded.
    """
    check_precision(precision, "measure")
    groups = task_groups(tasks)
    if pairs is not None:
        _check_sample(pairs, groups)
    weight = _fusion_weight(bm25, cosine_weight, groups)
    _check_data(data, groups, columns)
    options_of: dict[str, dict[str, Any]] = {
        "sts": {"pairs": pairs},
        "retrieval": {"columns": columns, "cosine_weight": weight},
    }
    steps = [step for group in groups for step in _GROUPS[group].read(data, **options_of.get(group, {}))]
    loaders = _loaders(models, pooling)
    if weight is not None and "BM25" in loaders:
        raise SmoothCSEError(
            "A model is named BM25, like the row of BM25 itself; rename its folder, or leave out BM25."
        )
    if len(loaders) > 1:  # a wrong last name must not cost the minutes spent on the models before it
        for load in loaders.values():
            load()
    scores: dict[str, dict[str, list[Score]]] = {}
    settings = {}
    for name, load in loaders.items():
        model = load()
        options: dict[str, Any] = {
            "precision": resolve_precision(precision, "measure", model.device.type),
            "batch_size": batch_size,
            "show_progress": console is not None and console.is_terminal,
        }
        scores |= _run(name, model, steps, options, console)
        settings[name] = {"precision": options["precision"], "max_seq_length": model.max_seq_length}
    chosen: dict[str, Any] = {"columns": list(columns)} if columns else {}
    if weight is not None:
        chosen["cosine_weight"] = weight
    return Evaluation(
        scores, {"data": data and str(data), **chosen, "pairs": pairs, "pooling": pooling, "models": settings}
    )


def describe_tasks(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return name, score and data of each task group, in words.

    Args:
        names: Task groups, or ``all``.

    Raises:
        SmoothCSEError: A name is unknown, or there is none.
    """
    return [
        (name, _GROUPS[name].about, f"{_GROUPS[name].takes} [{_GROUPS[name].default}]") for name in task_groups(names)
    ]


def _check_sample(pairs: int, groups: Sequence[str]) -> None:
    if pairs < 2:
        raise SmoothCSEError(f"A sample of {pairs} pairs has no correlation; draw at least 2, better hundreds.")
    if "sts" not in groups:
        raise SmoothCSEError("The pairs are drawn from sts; add it to the tasks, or leave out the number of pairs.")


def _fusion_weight(bm25: bool, cosine_weight: float | None, groups: Sequence[str]) -> float | None:
    """Return the weight of the cosine similarity beside BM25, or None without BM25."""
    if not bm25:
        if cosine_weight is not None:
            raise SmoothCSEError("The cosine weight applies only to fusion with BM25; add BM25, or leave it out.")
        return None
    if "retrieval" not in groups:
        raise SmoothCSEError("BM25 is scored on retrieval; add it to the tasks, or leave out BM25.")
    weight = COSINE_WEIGHT if cosine_weight is None else cosine_weight
    check_weight(weight)
    return weight


def _check_data(data: Data, groups: Sequence[str], columns: Sequence[str] | None) -> None:
    """Refuse data, or columns, that would not affect any score."""
    if data is not None and not is_hub(data) and not local_path(data).exists():
        raise SmoothCSEError(f"The data {data} does not exist; give an existing path, or leave the data out.")
    if data is not None and not any(_GROUPS[group].uses(data) for group in groups):
        takes = "; ".join(f"{group} takes {_GROUPS[group].takes}" for group in groups)
        raise SmoothCSEError(f"The tasks {', '.join(groups)} cannot use the data {data}: {takes}.")
    if columns and not (data is not None and "retrieval" in groups and is_pairs_file(data)):
        raise SmoothCSEError("Columns apply only to a pairs file for retrieval; give one, or leave them out.")


def task_groups(names: Iterable[str]) -> list[str]:
    """Return the named task groups, each once, with ``all`` expanded.

    Raises:
        SmoothCSEError: A name is unknown, or there is none.
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
    return is_hub(data) or local_path(data).is_dir()  # missing files are reported when the folder is read


def _transfer(data: Data) -> list[_Step]:
    tasks = load_transfers(transfer_folder(data or HUB))
    return [_Step("transfer", f"transfer, {task.name}", partial(evaluate_transfer, tasks=[task])) for task in tasks]


def _geometry(data: Data) -> list[_Step]:
    task = stsb_dev_geometry(sts_folder(data)) if data and has_stsb_dev(data) else python_docs_geometry()
    return [_Step("geometry", "geometry", lambda model, **options: [evaluate_geometry(model, task, **options)])]


def _retrieval(data: Data, columns: Sequence[str] | None = None, cosine_weight: float | None = None) -> list[_Step]:
    task = load_retrieval(data, columns) if data and _has_queries(data) else python_docs_task()
    if cosine_weight is None:
        return [_Step("retrieval", "retrieval", partial(_retrieval_scores, task=task))]
    bm25 = BM25(task.documents)
    label = f"retrieval, with BM25 (stemmer: {bm25.language})"
    return [_Step("retrieval", label, partial(_fused_scores, task=task, bm25=bm25, cosine_weight=cosine_weight))]


def _has_queries(data: str | Path) -> bool:
    return not is_hub(data) and (is_pairs_file(data) or is_beir_folder(data))


def _retrieval_scores(model: SentenceTransformer, task: RetrievalTask, **options: Any) -> list[Score]:
    return [_score(task, evaluate_retrieval(model, task, **options))]


def _fused_scores(model: SentenceTransformer, task: RetrievalTask, **options: Any) -> list[Score]:
    found = compare_with_bm25(model, task, **options)
    return [
        _score(task, found.bm25.metrics(), "BM25"),
        _score(task, found.cosine.metrics()),
        _score(task, found.fused.metrics(), "model + BM25"),
    ]


def _score(task: RetrievalTask, metrics: dict[str, float], by: ScoredBy = "model") -> Score:
    diagnosis = None
    if by == "model" and metrics["MRR"] <= last_everywhere(task) * (1 + 1e-9):  # all documents are equally similar
        diagnosis = (
            "All documents are equally similar to all queries: the embeddings are (nearly) identical or not finite, "
            "and the model has collapsed or diverged; try a lower learning rate, or an earlier checkpoint."
        )
    return Score(task.name, main=metrics["MRR"], metrics=metrics, rows=len(task.queries), diagnosis=diagnosis, by=by)


_SENTEVAL = "a folder in SentEval's layout, or hub"
_PYTHON_DOCS = "this Python's documentation"
_GROUPS = {
    "sts": _Group(
        about=f"Spearman's correlation × 100, 'all' setting: {', '.join(SEVEN_STS)}",
        default=HUB,
        takes=_SENTEVAL,
        read=_sts,
        uses=_is_senteval,
    ),
    "transfer": _Group(
        about=f"Accuracy of a linear classifier, in percent: {', '.join(TRANSFER_TASKS)}",
        default=HUB,
        takes=_SENTEVAL,
        read=_transfer,
        uses=_is_senteval,
    ),
    "geometry": _Group(
        about="Alignment, uniformity, mean cosine, effective rank, hubness",
        default=_PYTHON_DOCS,
        takes=f"{_SENTEVAL}, with STS-B dev ({', '.join(files_of(STSB_DEV))})",
        read=_geometry,
        uses=has_stsb_dev,
    ),
    "retrieval": _Group(
        about="MRR (mean reciprocal rank), R@1, R@10 and nDCG@10, in percent",
        default=_PYTHON_DOCS,
        takes=TAKES,
        read=_retrieval,
        uses=_has_queries,
    ),
}


# ---- models ---------------------------------------------------------------------------------------------


def _loaders(models: Models, pooling: PoolingName | None) -> dict[str, Callable[[], SentenceTransformer]]:
    """Return a loading function for each model by name, as not all of them may fit into memory at once."""
    if isinstance(models, Mapping):
        return {name: partial(_same, model) for name, model in models.items()}
    sources = [models] if isinstance(models, str | Path) else list(models)
    if not sources:
        raise SmoothCSEError("There is no model to evaluate; give a run folder, a model folder or a Hub name.")
    return {name: partial(load_encoder, source, pooling) for name, source in shortest_names(sources).items()}


def _same(model: SentenceTransformer) -> SentenceTransformer:
    return model


def shortest_names(sources: Iterable[str | Path]) -> dict[str, str | Path]:
    """Name models by the shortest path endings that distinguish them; duplicates count once.

    ``runs/a/best`` and ``runs/b/best`` become ``a/best`` and ``b/best``; ``runs/a`` alone is ``a``.
    """
    found: dict[tuple[str, ...], str | Path] = {}
    for source in sources:
        # The full path of an existing folder, so that "." has a name; a Hub name as it is.
        path = os.path.abspath(source) if os.path.exists(source) else source
        found.setdefault(Path(path).parts, source)
    return {_shortest(own, found): source for own, source in found.items()}


def _shortest(own: tuple[str, ...], everybody: Iterable[tuple[str, ...]]) -> str:
    others = [parts for parts in everybody if parts != own]
    lengths = (n for n in range(1, len(own)) if all(own[-n:] != parts[-n:] for parts in others))
    return Path(*own[-next(lengths, len(own)) :]).as_posix()


def _run(
    name: str, model: SentenceTransformer, steps: Sequence[_Step], options: dict[str, Any], console: Console | None
) -> dict[str, dict[str, list[Score]]]:
    """Return the scores by row of the tables and group; with BM25, a model has further rows."""
    row_of: dict[ScoredBy, str] = {"BM25": "BM25", "model": name, "model + BM25": f"{name} + BM25"}
    rows: dict[str, dict[str, list[Score]]] = {}
    for step in steps:
        if console is not None:
            console.print(f"{name}: {step.label}", markup=False, highlight=False)
        for score in step.measure(model, **options):
            rows.setdefault(row_of[score.by], {}).setdefault(step.group, []).append(score)
    return rows
