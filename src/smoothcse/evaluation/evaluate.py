"""Evaluation of any models on task groups: the implementation of ``smoothcse evaluate``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcse._utils.choices import Backend, PoolingName, Precision
from smoothcse.encoders.length import length_limit
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import check_precision, resolve_precision
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.fusion import COSINE_WEIGHT, check_weight
from smoothcse.evaluation.results import Evaluation
from smoothcse.evaluation.score import Score, ScoredBy
from smoothcse.evaluation.task_groups import Step, check_data, read_steps, task_groups

if TYPE_CHECKING:
    from rich.console import Console
    from sentence_transformers import SentenceTransformer

Models = str | Path | Sequence[str | Path] | Mapping[str, "SentenceTransformer"]


def evaluate(
    models: Models,
    tasks: Iterable[str] = ("sts",),
    data: str | Path | None = None,
    *,
    columns: Sequence[str] | None = None,
    pairs: int | None = None,
    bm25: bool = False,
    cosine_weight: float | None = None,
    maxsim: bool = False,
    dimensions: Sequence[int] | None = None,
    pooling: PoolingName | None = None,
    backend: Backend | None = None,
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
        maxsim: With ``bm25``, whether to score also the fused ranking with its first 50 documents reordered by late
            interaction, as the row ``MODEL + BM25 + MaxSim``; see :mod:`smoothcse.evaluation.maxsim`.
        dimensions: Numbers of first dimensions to score each model with, as the rows ``MODEL, 128 dimensions``, the
            truncated embeddings scaled to length 1 again where cosines are taken. Default: all dimensions.
        pooling: Pooling to use instead of the models' own, for models given by path or name.
        backend: Runtime of these models, see :func:`~smoothcse.encoders.load.load_encoder`. Default: that of each
            folder.
        precision: Arithmetic of the forward passes. ``"bf16"`` moves a score by some hundredths; ``"auto"`` is
            ``"fp32"`` on every machine. Default ``"fp32"``.
        batch_size: Sentences per batch. Default: chosen for the device.
        console: Console for progress messages, and for progress bars if it is a terminal. Default: no output.

    Returns:
        Scores; ``evaluate("my-encoder", data=folder).models["my-encoder"]["sts"]["avg"]`` is the papers' "Avg.".

    Raises:
        SmoothCSEError: If a task or an option is unknown, data is missing or broken, a model cannot be loaded, or has
            no token embeddings for MaxSim.
    """
    check_precision(precision, "measure")
    groups = task_groups(tasks)
    if pairs is not None:
        _check_sample(pairs, groups)
    weight = _fusion_weight(bm25, cosine_weight, groups)
    if maxsim:
        _check_maxsim(bm25, dimensions)
    check_data(data, groups, columns)
    options_of: dict[str, dict[str, Any]] = {
        "sts": {"pairs": pairs},
        "retrieval": {"columns": columns, "cosine_weight": weight, "maxsim": maxsim},
    }
    steps = read_steps(groups, data, options_of)
    loaders = _loaders(models, pooling, backend)
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
        scores |= _run_widths(name, model, _widths(dimensions, model, name), steps, options, console)
        settings[name] = {"precision": options["precision"], "max_seq_length": length_limit(model)}
    chosen: dict[str, Any] = {"columns": list(columns)} if columns else {}
    if weight is not None:
        chosen["cosine_weight"] = weight
    chosen |= {"pairs": pairs, "pooling": pooling} | ({"backend": backend} if backend else {})
    return Evaluation(scores, {"data": data and str(data), **chosen, "models": settings})


def _check_maxsim(bm25: bool, dimensions: Sequence[int] | None) -> None:
    if not bm25:
        raise SmoothCSEError("MaxSim reorders the model fused with BM25; add BM25, or leave out MaxSim.")
    if dimensions:
        raise SmoothCSEError("MaxSim compares tokens, whose vectors are not truncated; leave out the dimensions.")


def _widths(dimensions: Sequence[int] | None, model: SentenceTransformer, name: str) -> list[int | None]:
    """Return the numbers of dimensions to score a model with; None for all."""
    full = model.get_embedding_dimension() or 0
    for width in dimensions or ():
        if not 1 <= width <= full:
            raise SmoothCSEError(f"The embeddings of {name} have {full} dimensions, not {width}; give 1 to {full}.")
    return list(dict.fromkeys(dimensions)) if dimensions else [None]


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


def _loaders(
    models: Models, pooling: PoolingName | None, backend: Backend | None
) -> dict[str, Callable[[], SentenceTransformer]]:
    """Return a loading function for each model by name, as not all of them may fit into memory at once."""
    if isinstance(models, Mapping):
        return {name: partial(_same, model) for name, model in models.items()}
    sources = [models] if isinstance(models, str | Path) else list(models)
    if not sources:
        raise SmoothCSEError("There is no model to evaluate; give a run folder, a model folder or a Hub name.")
    load = partial(load_encoder, pooling=pooling, backend=backend)
    return {name: partial(load, source) for name, source in shortest_names(sources).items()}


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


def _run_widths(
    name: str,
    model: SentenceTransformer,
    widths: Sequence[int | None],
    steps: Sequence[Step],
    options: dict[str, Any],
    console: Console | None,
) -> dict[str, dict[str, list[Score]]]:
    """Return the scores of a model with each number of dimensions; None keeps what the model has."""
    rows: dict[str, dict[str, list[Score]]] = {}
    for width in widths:
        if width is None:
            rows |= _run(name, model, steps, options, console)
            continue
        with model.truncate_embeddings(width):
            rows |= _run(f"{name}, {width} dimensions", model, steps, options, console)
    return rows


def _run(
    name: str, model: SentenceTransformer, steps: Sequence[Step], options: dict[str, Any], console: Console | None
) -> dict[str, dict[str, list[Score]]]:
    """Return the scores by row of the tables and group; with BM25, a model has further rows."""
    row_of: dict[ScoredBy, str] = {
        "BM25": "BM25",
        "model": name,
        "model + BM25": f"{name} + BM25",
        "model + BM25 + MaxSim": f"{name} + BM25 + MaxSim",
    }
    rows: dict[str, dict[str, list[Score]]] = {}
    for step in steps:
        if console is not None:
            console.print(f"{name}: {step.label}", markup=False, highlight=False)
        for score in step.measure(model, **options):
            rows.setdefault(row_of[score.by], {}).setdefault(step.group, []).append(score)
    return rows
