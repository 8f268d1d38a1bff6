"""The four groups of evaluation tasks: what each measures, the data that it takes, and how that data is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcse._utils.choices import Precision
from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.data import HUB, has_stsb_dev, is_hub, sts_folder, transfer_folder
from smoothcse.evaluation.geometry import evaluate_geometry, python_docs_geometry, stsb_dev_geometry
from smoothcse.evaluation.maxsim import check_token_embeddings
from smoothcse.evaluation.reranking import rerank_fused
from smoothcse.evaluation.retrieval import (
    Rankings,
    RetrievalTask,
    compare_embeddings,
    compare_with_bm25,
    embed_task,
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
    from sentence_transformers import SentenceTransformer

Data = str | Path | None


@dataclass(frozen=True)
class Step:
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
    read: Callable[..., list[Step]]
    uses: Callable[[str | Path], bool]


def describe_tasks(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return name, score and data of each task group, in words.

    Args:
        names: Task groups, or ``all``.

    Raises:
        SmoothCSEError: If a name is unknown, or there is none.
    """
    return [
        (name, _GROUPS[name].about, f"{_GROUPS[name].takes} [{_GROUPS[name].default}]") for name in task_groups(names)
    ]


def task_groups(names: Iterable[str]) -> list[str]:
    """Return the named task groups, each once, with ``all`` expanded.

    Raises:
        SmoothCSEError: If a name is unknown, or there is none.
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


def check_data(data: Data, groups: Sequence[str], columns: Sequence[str] | None) -> None:
    """Refuse data, or columns, that would not affect any score.

    Raises:
        SmoothCSEError: If no group can use the data or the columns.
    """
    if data is not None and not is_hub(data) and not local_path(data).exists():
        raise SmoothCSEError(f"The data {data} does not exist; give an existing path, or leave the data out.")
    if data is not None and not any(_GROUPS[group].uses(data) for group in groups):
        takes = "; ".join(f"{group} takes {_GROUPS[group].takes}" for group in groups)
        raise SmoothCSEError(f"The tasks {', '.join(groups)} cannot use the data {data}: {takes}.")
    if columns and not (data is not None and "retrieval" in groups and is_pairs_file(data)):
        raise SmoothCSEError("Columns apply only to a pairs file for retrieval; give one, or leave them out.")


def read_steps(groups: Sequence[str], data: Data, options: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """Read and check the data of task groups.

    Args:
        groups: Names of task groups.
        data: Evaluation data; None for the groups' defaults.
        options: Further arguments for reading the data, by group.

    Raises:
        SmoothCSEError: If the data is missing or broken.
    """
    return [step for group in groups for step in _GROUPS[group].read(data, **options.get(group, {}))]


def _sts(data: Data, pairs: int | None = None) -> list[Step]:
    tasks = load_tasks(sts_folder(data or HUB))
    if pairs:
        tasks = [sample_pairs(task, pairs) for task in tasks]
    return [Step("sts", "STS", partial(evaluate_sts, tasks=tasks))]


def _is_senteval(data: str | Path) -> bool:
    return is_hub(data) or local_path(data).is_dir()  # missing files are reported when the folder is read


def _transfer(data: Data) -> list[Step]:
    tasks = load_transfers(transfer_folder(data or HUB))
    return [Step("transfer", f"transfer, {task.name}", partial(evaluate_transfer, tasks=[task])) for task in tasks]


def _geometry(data: Data) -> list[Step]:
    task = stsb_dev_geometry(sts_folder(data)) if data and has_stsb_dev(data) else python_docs_geometry()
    return [Step("geometry", "geometry", lambda model, **options: [evaluate_geometry(model, task, **options)])]


def _retrieval(
    data: Data, columns: Sequence[str] | None = None, cosine_weight: float | None = None, maxsim: bool = False
) -> list[Step]:
    task = load_retrieval(data, columns) if data and _has_queries(data) else python_docs_task()
    if cosine_weight is None:
        return [Step("retrieval", "retrieval", partial(_retrieval_scores, task=task))]
    bm25 = BM25(task.documents)
    label = f"retrieval, with BM25 (stemmer: {bm25.language}){' and MaxSim' if maxsim else ''}"
    measure: Callable[..., list[Score]] = _reranked_scores if maxsim else _fused_scores
    return [Step("retrieval", label, partial(measure, task=task, bm25=bm25, cosine_weight=cosine_weight))]


def _has_queries(data: str | Path) -> bool:
    return not is_hub(data) and (is_pairs_file(data) or is_beir_folder(data))


def _retrieval_scores(model: SentenceTransformer, task: RetrievalTask, **options: Any) -> list[Score]:
    return [_score(task, evaluate_retrieval(model, task, **options))]


def _fused_scores(model: SentenceTransformer, task: RetrievalTask, **options: Any) -> list[Score]:
    return _three_scores(task, compare_with_bm25(model, task, **options))


def _reranked_scores(
    model: SentenceTransformer,
    task: RetrievalTask,
    bm25: BM25,
    cosine_weight: float,
    precision: Precision = "fp32",
    **options: Any,
) -> list[Score]:
    check_token_embeddings(model)  # before all documents are encoded
    embeddings = embed_task(model, task, precision=precision, **options)
    scores = _three_scores(task, compare_embeddings(*embeddings, task, bm25, cosine_weight))
    found = rerank_fused(model, task, embeddings, bm25, cosine_weight, precision)
    last = _score(task, found.reranked.metrics(), "model + BM25 + MaxSim")
    return [*scores, replace(last, milliseconds=found.milliseconds)]


def _three_scores(task: RetrievalTask, found: Rankings) -> list[Score]:
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
