"""The seven transfer tasks of SentEval: which files they are made of, and how those are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.benchmark_files import find_files, read_lines, single_spaced, split_columns

FOLDS = 10
"""Folds of every cross-validation, inner and outer, as SentEval's standard setting has them."""

# A text (one sentence, or two of MRPC's) and its class.
_Row = tuple[tuple[str, ...], int]


@dataclass(frozen=True)
class Split:
    """Labelled examples: ``texts[i]``, one sentence or a pair of them, is of class ``labels[i]``."""

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class TransferTask:
    """One task.

    Attributes:
        name: one of :data:`TRANSFER_TASKS`.
        splits: ``train`` alone (the task is scored by nested cross-validation), ``train`` and ``test`` (by
            cross-validation on ``train``, then once on ``test``), or ``train``, ``dev`` and ``test``.
    """

    name: str
    splits: Mapping[str, Split]

    @property
    def is_pair(self) -> bool:
        """Whether an example is a pair of sentences."""
        return len(self.splits["train"].texts[0]) == 2


def load_transfer(folder: Path | str, name: str) -> TransferTask:
    """Read one task.

    Rows: MR 10,662; CR 3,775; SUBJ 10,000; MPQA 10,606; SST2 67,349 / 872 / 1,821; TREC 5,452 / 500;
    MRPC 4,076 / 1,725. MPQA and CR hold a few empty lines, which SentEval counts as sentences; so do we.

    Args:
        folder: holds the task's folder, e.g. ``MR``; from :func:`~smoothcse.evaluation.data.transfer_folder`.
        name: one of :data:`TRANSFER_TASKS`.

    Raises:
        SmoothCSEError: naming the file, and the line where there is one, that is missing or broken.
    """
    _check_name(name)
    found = find_files(folder, _files_of(name))
    splits = {}
    for split, (reader, paths) in _TASKS[name].items():
        files = [found[path] for path in paths]
        splits[split] = _split(reader(files), files, FOLDS if split == "train" else 1)
    return TransferTask(name, splits)


def load_transfers(folder: Path | str, names: Iterable[str] | None = None) -> list[TransferTask]:
    """Read several tasks, by default all; a message about missing files names those of all of them.

    Raises:
        SmoothCSEError: as :func:`load_transfer`.
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
            f"{place}: two classes or more with at least {least} examples each are needed, and the classes "
            f"here have {sorted(counts.values())}; fetch the original again."
        )
    # SentEval sorts before it cuts the folds, so this order decides which example lies in which fold.
    rows.sort(key=lambda row: (*(len(text.split()) for text in row[0]), row[1]))
    return Split(tuple(texts for texts, _ in rows), tuple(label for _, label in rows))


# ---- readers: files of one split -> rows ----------------------------------------------------------------


def _read_two_classes(files: list[Path]) -> list[_Row]:
    """One file of positive and one of negative sentences."""
    return [
        ((single_spaced(line),), label)
        for path, label in zip(files, (1, 0), strict=True)
        for line in read_lines(path, "latin-1")
    ]


_TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def _read_trec(files: list[Path]) -> list[_Row]:
    """``COARSE:fine the question``; only the coarse class counts."""
    rows: list[_Row] = []
    for number, line in enumerate(read_lines(files[0], "latin-1"), start=1):
        label, _, question = line.partition(" ")
        coarse = label.partition(":")[0]
        rows.append(((single_spaced(question),), _class(coarse, _TREC_CLASSES, f"{files[0]}:{number}")))
    return rows


def _read_sst(files: list[Path]) -> list[_Row]:
    """``sentence <tab> 0 or 1``."""
    rows: list[_Row] = []
    for number, line in enumerate(read_lines(files[0]), start=1):
        place = f"{files[0]}:{number}"
        sentence, label = split_columns(line, 2, place)[:2]
        rows.append(((single_spaced(sentence),), _class(label, ("0", "1"), place)))
    return rows


def _read_mrpc(files: list[Path]) -> list[_Row]:
    """A header, then ``0 or 1 <tab> id <tab> id <tab> sentence <tab> sentence``."""
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
            f"{place}: {text.strip()!r} is none of the classes {', '.join(classes)}; mend the line, "
            "or fetch the original file again."
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
"""The tasks that papers average, in the order of their tables."""

TRANSFER_FILES = tuple(path for name in TRANSFER_TASKS for path in _files_of(name))
"""The relative paths of all files they are made of."""
