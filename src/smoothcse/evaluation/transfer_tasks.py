"""The seven transfer tasks of SentEval: their files, and how to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.benchmark_files import find_files, read_lines, single_spaced, split_columns

FOLDS = 10
"""Number of folds of every cross-validation, inner and outer, as in SentEval's standard setting."""

# A text (one sentence, or two for MRPC) and its class.
_Row = tuple[tuple[str, ...], int]


@dataclass(frozen=True)
class Split:
    """Labelled examples: ``texts[i]``, one sentence or a pair of sentences, has class ``labels[i]``."""

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class TransferTask:
    """One task.

    Attributes:
        name: Name from :data:`TRANSFER_TASKS`.
        splits: ``train`` only (scored by nested cross-validation), ``train`` and ``test`` (cross-validation on
            ``train``, then scored on ``test``), or ``train``, ``dev`` and ``test``.
    """

    name: str
    splits: Mapping[str, Split]

    @property
    def is_pair(self) -> bool:
        """Whether the examples are pairs of sentences."""
        return len(self.splits["train"].texts[0]) == 2


def load_transfer(folder: Path | str, name: str) -> TransferTask:
    """Read one task.

    Examples: MR 10,662; CR 3,775; SUBJ 10,000; MPQA 10,606; SST2 67,349 / 872 / 1,821; TREC 5,452 / 500;
    MRPC 4,076 / 1,725. The few empty lines in MPQA and CR count as sentences, as in SentEval.

    Args:
        folder: Folder from :func:`~smoothcse.evaluation.data.transfer_folder` that contains the task's folder, e.g.
            ``MR``.
        name: Name from :data:`TRANSFER_TASKS`.

    Raises:
        SmoothCSEError: If a file is missing or broken; the message names the file, and the line if there is one.
    """
    _check_name(name)
    found = find_files(folder, _files_of(name))
    splits = {}
    for split, (reader, paths) in _TASKS[name].items():
        files = [found[path] for path in paths]
        splits[split] = _split(reader(files), files, FOLDS if split == "train" else 1)
    return TransferTask(name, splits)


def load_transfers(folder: Path | str, names: Iterable[str] | None = None) -> list[TransferTask]:
    """Read several tasks.

    Args:
        folder: Folder as in :func:`load_transfer`.
        names: Names from :data:`TRANSFER_TASKS`. Default: all.

    Raises:
        SmoothCSEError: If a file is missing or broken; a message about missing files covers all tasks.
    """
    names = list(TRANSFER_TASKS if names is None else names)
    for name in names:
        _check_name(name)
    find_files(folder, [path for name in names for path in _files_of(name)])
    return [load_transfer(folder, name) for name in names]


def _check_name(name: str) -> None:
    if name not in TRANSFER_TASKS:
        raise SmoothCSEError(
            f"There is no transfer task {name!r}; the tasks are {', '.join(TRANSFER_TASKS)}."
            f"{did_you_mean(name, TRANSFER_TASKS)}"
        )


def _files_of(name: str) -> list[str]:
    return [path for _, paths in _TASKS[name].values() for path in paths]


def _split(rows: list[_Row], files: list[Path], least: int) -> Split:
    place = " and ".join(str(path) for path in files)
    counts = Counter(label for _, label in rows)
    if len(counts) < 2 or min(counts.values()) < least:
        raise SmoothCSEError(
            f"{place}: at least two classes with at least {least} examples each are needed, and the classes here have "
            f"{sorted(counts.values())} examples; download the original again."
        )
    # SentEval sorts before it makes the folds, so this order decides which example is in which fold.
    rows.sort(key=lambda row: (*(len(text.split()) for text in row[0]), row[1]))
    return Split(tuple(texts for texts, _ in rows), tuple(label for _, label in rows))


# ---- readers: files of one split -> rows ----------------------------------------------------------------


def _read_two_classes(files: list[Path]) -> list[_Row]:
    """Read one file of positive and one of negative sentences."""
    return [
        ((single_spaced(line),), label)
        for path, label in zip(files, (1, 0), strict=True)
        for line in read_lines(path, "latin-1")
    ]


_TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def _read_trec(files: list[Path]) -> list[_Row]:
    """Read lines ``COARSE:fine the question``; only the coarse class is used."""
    rows: list[_Row] = []
    for number, line in enumerate(read_lines(files[0], "latin-1"), start=1):
        label, _, question = line.partition(" ")
        coarse = label.partition(":")[0]
        rows.append(((single_spaced(question),), _class(coarse, _TREC_CLASSES, f"{files[0]}:{number}")))
    return rows


def _read_sst(files: list[Path]) -> list[_Row]:
    """Read lines ``sentence <tab> 0 or 1``."""
    rows: list[_Row] = []
    for number, line in enumerate(read_lines(files[0]), start=1):
        place = f"{files[0]}:{number}"
        sentence, label = split_columns(line, 2, place)[:2]
        rows.append(((single_spaced(sentence),), _class(label, ("0", "1"), place)))
    return rows


def _read_mrpc(files: list[Path]) -> list[_Row]:
    """Read a header, then lines ``0 or 1 <tab> id <tab> id <tab> sentence <tab> sentence``."""
    rows: list[_Row] = []
    for number, line in enumerate(read_lines(files[0])[1:], start=2):
        place = f"{files[0]}:{number}"
        label, _, _, first, second = split_columns(line, 5, place)[:5]
        rows.append(((single_spaced(first), single_spaced(second)), _class(label, ("0", "1"), place)))
    return rows


def _class(text: str, classes: tuple[str, ...], place: str) -> int:
    try:
        return classes.index(text.strip())
    except ValueError:
        raise SmoothCSEError(
            f"{place}: {text.strip()!r} is none of the classes {', '.join(classes)}; fix the line, "
            "or download the original file again."
        ) from None


_TASKS: dict[str, dict[str, tuple[Callable[[list[Path]], list[_Row]], list[str]]]] = {
    "MR": {"train": (_read_two_classes, ["MR/rt-polarity.pos", "MR/rt-polarity.neg"])},
    "CR": {"train": (_read_two_classes, ["CR/custrev.pos", "CR/custrev.neg"])},
    "SUBJ": {"train": (_read_two_classes, ["SUBJ/subj.objective", "SUBJ/subj.subjective"])},
    "MPQA": {"train": (_read_two_classes, ["MPQA/mpqa.pos", "MPQA/mpqa.neg"])},
    "SST2": {split: (_read_sst, [f"SST/binary/sentiment-{split}"]) for split in ("train", "dev", "test")},
    "TREC": {
        "train": (_read_trec, ["TREC/train_5500.label"]),
        "test": (_read_trec, ["TREC/TREC_10.label"]),
    },
    "MRPC": {split: (_read_mrpc, [f"MRPC/msr_paraphrase_{split}.txt"]) for split in ("train", "test")},
}

TRANSFER_TASKS = tuple(_TASKS)
"""Tasks that papers average, in the order of their tables."""

TRANSFER_FILES = tuple(path for name in TRANSFER_TASKS for path in _files_of(name))
"""Relative paths of all files of all tasks."""
