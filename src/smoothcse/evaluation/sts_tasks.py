"""The seven STS tasks: their files, and how to read them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.benchmark_files import find_files, read_lines, single_spaced, split_columns

SEVEN_STS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICKRelatedness")
"""Tasks that papers average, in the order of their tables."""

STSB_DEV = "STSBenchmark-dev"
"""Task for model selection: the development set of the STS benchmark."""

HIGHEST_SCORE = 5.0
"""Highest human score; scores range from 0 (SICK: 1) to 5."""


@dataclass(frozen=True)
class Subset:
    """Sentence pairs of one origin.

    Attributes:
        name: Name of the subset.
        sentences1: First sentence of each pair.
        sentences2: Second sentence of each pair.
        gold: Human similarity score of each pair, 0 to 5.
    """

    name: str
    sentences1: tuple[str, ...]
    sentences2: tuple[str, ...]
    gold: tuple[float, ...]


@dataclass(frozen=True)
class STSTask:
    """One task; it is scored over the pairs of all its subsets together."""

    name: str
    subsets: tuple[Subset, ...]

    @property
    def rows(self) -> int:
        """Number of scored pairs."""
        return sum(len(subset.gold) for subset in self.subsets)


@dataclass(frozen=True)
class _Table:
    """Layout of a file with one pair per line: columns of the score and the sentences."""

    subset: str
    path: str
    score: int
    sentence1: int
    sentence2: int
    header: bool = False


# SemEval's years: a folder, and the subsets in it. SentEval lacks STS13's SMT subset because of its licence.
_YEARS = {
    "STS12": ("STS12-en-test", ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews")),
    "STS13": ("STS13-en-test", ("FNWN", "headlines", "OnWN")),
    "STS14": ("STS14-en-test", ("deft-forum", "deft-news", "headlines", "images", "OnWN", "tweet-news")),
    "STS15": ("STS15-en-test", ("answers-forums", "answers-students", "belief", "headlines", "images")),
    "STS16": (
        "STS16-en-test",
        ("answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
    ),
}
_TABLES = {
    "STSBenchmark": _Table("test", "STSBenchmark/sts-test.csv", score=4, sentence1=5, sentence2=6),
    STSB_DEV: _Table("dev", "STSBenchmark/sts-dev.csv", score=4, sentence1=5, sentence2=6),
    "SICKRelatedness": _Table("test", "SICK/SICK_test_annotated.txt", score=3, sentence1=1, sentence2=2, header=True),
}
STS_TASKS = (*_YEARS, *_TABLES)
"""Names that :func:`load_task` accepts: the seven tasks, and ``STSBenchmark-dev`` for model selection."""


def files_of(name: str) -> list[str]:
    """Return the relative paths of a task's files.

    Args:
        name: Name from :data:`STS_TASKS`.

    Raises:
        SmoothCSEError: If there is no such task.
    """
    if name in _YEARS:
        folder, subsets = _YEARS[name]
        return [f"{folder}/STS.{kind}.{subset}.txt" for subset in subsets for kind in ("input", "gs")]
    if name in _TABLES:
        return [_TABLES[name].path]
    raise SmoothCSEError(
        f"There is no STS task {name!r}; the tasks are {', '.join(STS_TASKS)}.{did_you_mean(name, STS_TASKS)}"
    )


def load_task(folder: Path | str, name: str) -> STSTask:
    """Read one task.

    The result has the pairs of SentEval's "all" setting: STS12 3,108; STS13 1,500; STS14 3,750; STS15 3,000;
    STS16 1,186; STSBenchmark 1,379 (dev 1,500); SICKRelatedness 4,927 (the test split; MTEB's SICK-R is a different
    task with all 9,927 pairs).

    Args:
        folder: Folder from :func:`~smoothcse.evaluation.data.sts_folder` that contains the task's folder, e.g.
            ``STS12-en-test``.
        name: Name from :data:`STS_TASKS`.

    Raises:
        SmoothCSEError: If a file is missing or broken; the message names the file, and the line if there is one.
    """
    found = find_files(folder, files_of(name))
    if name in _TABLES:
        return STSTask(name, (_read_table(found[_TABLES[name].path], _TABLES[name]),))
    year, subsets = _YEARS[name]
    return STSTask(
        name,
        tuple(
            _read_year(subset, found[f"{year}/STS.input.{subset}.txt"], found[f"{year}/STS.gs.{subset}.txt"])
            for subset in subsets
        ),
    )


def load_tasks(folder: Path | str, names: Iterable[str] = SEVEN_STS) -> list[STSTask]:
    """Read several tasks, by default the seven.

    Args:
        folder: Folder as in :func:`load_task`.
        names: Names from :data:`STS_TASKS`.

    Raises:
        SmoothCSEError: If a file is missing or broken; a message about missing files covers all tasks.
    """
    names = list(names)
    find_files(folder, [path for name in names for path in files_of(name)])
    return [load_task(folder, name) for name in names]


def sample_pairs(task: STSTask, count: int, seed: int = 0) -> STSTask:
    """Return a task with a fixed random sample of the pairs of all subsets.

    Do not compare scores on a sample with published ones: with 400 pairs, the standard error of a correlation of 0.8
    is about 0.02, or two points. The difference of two models on the same sample is less uncertain, but not exact.

    Args:
        task: Task from :func:`load_task`.
        count: Number of pairs; a task with at most this many pairs is returned unchanged.
        seed: Seed of the sample.

    Returns:
        A task with one subset named ``sample``, its pairs in their original order.

    Raises:
        SmoothCSEError: If all sampled pairs have the same score.
    """
    if count >= task.rows:
        return task
    rows = [
        row for subset in task.subsets for row in zip(subset.sentences1, subset.sentences2, subset.gold, strict=True)
    ]
    drawn = [rows[place] for place in sorted(random.Random(seed).sample(range(len(rows)), count))]
    firsts, seconds, gold = zip(*drawn, strict=True)
    if len(set(gold)) < 2:
        raise SmoothCSEError(f"The {count} pairs drawn from {task.name} all have the score {gold[0]:g}; draw more.")
    return STSTask(task.name, (Subset("sample", firsts, seconds, gold),))


def _read_year(name: str, inputs: Path, scores: Path) -> Subset:
    pairs, golds = read_lines(inputs), read_lines(scores)
    if len(pairs) != len(golds):
        raise SmoothCSEError(
            f"{inputs} has {len(pairs)} lines and {scores} has {len(golds)}, but each pair needs one "
            "score; download both files again."
        )
    rows = []
    for number, (pair, gold) in enumerate(zip(pairs, golds, strict=True), start=1):
        if gold.strip():  # in STS15 and STS16, an empty line is a pair without a score
            first, second = split_columns(pair, 2, f"{inputs}:{number}")[:2]
            rows.append((first, second, _parse_score(gold, f"{scores}:{number}")))
    return _subset(name, rows, scores)


def _read_table(path: Path, table: _Table) -> Subset:
    rows = []
    width = max(table.score, table.sentence1, table.sentence2) + 1
    for number, line in enumerate(read_lines(path), start=1):
        if number > 1 or not table.header:
            place = f"{path}:{number}"
            columns = split_columns(line, width, place)
            gold = _parse_score(columns[table.score], place)
            rows.append((columns[table.sentence1], columns[table.sentence2], gold))
    return _subset(table.subset, rows, path)


def _parse_score(text: str, place: str) -> float:
    try:
        score = float(text)
    except ValueError:
        raise SmoothCSEError(
            f"{place}: the score {text.strip()!r} is not a number; fix the line, or download the original file again."
        ) from None
    if not 0.0 <= score <= HIGHEST_SCORE:  # also refuses nan
        raise SmoothCSEError(
            f"{place}: the score {text.strip()} is outside 0 to {HIGHEST_SCORE:g}; fix the line, or scale the scores "
            "to that range."
        )
    return score


def _subset(name: str, rows: Sequence[tuple[str, str, float]], scores: Path) -> Subset:
    gold = tuple(score for _, _, score in rows)
    if len(set(gold)) < 2:
        raise SmoothCSEError(
            f"{scores}: all {len(gold)} scores are the same, so the correlation is undefined; download the original "
            "file again."
        )
    firsts = tuple(single_spaced(first) for first, _, _ in rows)
    seconds = tuple(single_spaced(second) for _, second, _ in rows)
    return Subset(name, firsts, seconds, gold)
