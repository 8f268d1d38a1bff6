"""``index.json``: the description of an index, read before the index itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.choices import IndexQuantisation, PoolingName, Rerank
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.evaluation.lexical import LANGUAGES, NO_LANGUAGE
from smoothcse.search.index_places import RECORD


@dataclass(frozen=True)
class IndexRecord:
    """How an index was built.

    Attributes:
        model: Path or Hub name of the model.
        pooling: Pooling used instead of the model's own, or None.
        fingerprint: Fingerprint of the model, see :func:`~smoothcse.encoders.fingerprint.fingerprint`.
        quantisation: Quantisation for approximate search.
        unfinished: Sources of all changes that have begun and not ended.
        language: Language of the words for BM25, see :class:`~smoothcse.evaluation.lexical.Words`. None in an index of
            an earlier version, which has no words.
        cosine_weight: Weight of the cosine similarity that came with the model, or None.
        rerank: Second stage of a search that came with the model.
    """

    model: str
    pooling: PoolingName | None
    fingerprint: str
    quantisation: IndexQuantisation
    unfinished: tuple[str, ...] = ()
    language: str | None = None
    cosine_weight: float | None = None
    rerank: Rerank = "none"

    @classmethod
    def read(cls, folder: Path) -> IndexRecord:
        """Read the record of an index.

        Args:
            folder: Index folder.

        Raises:
            SmoothCSEError: If the folder holds no index, or its record is damaged.
        """
        file = folder / RECORD
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            names = found.get("unfinished", [])  # missing in records of earlier versions
            if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise TypeError("'unfinished' must be a list of strings")
            record = cls(
                model=found["model"],
                pooling=found["pooling"],
                fingerprint=found["fingerprint"],
                quantisation=found["codes"],
                unfinished=tuple(names),
                language=found.get("language"),
                cosine_weight=found.get("cosine_weight"),
                rerank=found.get("rerank", "none"),
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SmoothCSEError(
                f"{folder} holds no index; build one with: smoothcse index MODEL DOCUMENTS -o {folder}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SmoothCSEError(f"{file} cannot be read as the record of an index: {error}.") from error
        record._check(file)
        return record

    def write(self, folder: Path) -> None:
        """Write the record atomically.

        Args:
            folder: Index folder.

        Raises:
            SmoothCSEError: If the file cannot be written.
        """
        content = {
            "model": self.model,
            "pooling": self.pooling,
            "fingerprint": self.fingerprint,
            "codes": self.quantisation,  # the name in the file format since its first version
            "unfinished": self.unfinished,
            "language": self.language,
            "cosine_weight": self.cosine_weight,
            "rerank": self.rerank,
            "format": 1,
        }
        try:
            write_text_atomic(folder / RECORD, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise SmoothCSEError(f"The record of the index {folder} cannot be written: {first_line(error)}") from error

    def incomplete(self, folder: Path) -> str | None:
        """Return one sentence on why documents may be missing; None for a complete index.

        Args:
            folder: Index folder.
        """
        names = ", ".join(repr(Path(source).name) for source in self.unfinished)
        if not names:
            return None
        return (
            f"The index {folder.name} is incomplete: a change from {names} has not ended; documents are missing or "
            "outdated until the same command has finished."
        )

    def _check(self, file: Path) -> None:
        check_quantisation(self.quantisation)
        if self.language not in (None, NO_LANGUAGE, *LANGUAGES):
            raise SmoothCSEError(f"{file} cannot be read as the record of an index: language {self.language!r}.")
        weight = self.cosine_weight
        if weight is not None and not (type(weight) in (int, float) and 0 <= weight <= 1):
            raise SmoothCSEError(f"{file} cannot be read as the record of an index: cosine_weight {weight!r}.")
        if self.rerank not in get_args(Rerank):
            raise SmoothCSEError(f"{file} cannot be read as the record of an index: rerank {self.rerank!r}.")


def choose_quantisation(quantisation: IndexQuantisation | None, dimensions: int) -> IndexQuantisation:
    """Return the quantisation of a new index.

    Args:
        quantisation: Requested quantisation. Default: the one that found most documents in the least time, see
            docs/explanations/performance.md: ``binary``, or ``int8`` if the dimension is not divisible by 8.
        dimensions: Dimension of the vectors.

    Raises:
        SmoothCSEError: If the quantisation is unknown, or impossible for this dimension.
    """
    divisible = dimensions % 8 == 0  # LanceDB packs bits into whole bytes
    if quantisation is None:
        return "binary" if divisible else "int8"
    check_quantisation(quantisation)
    if quantisation == "binary" and not divisible:
        raise SmoothCSEError(
            f"Binary quantisation needs a dimension divisible by 8, and the vectors have {dimensions}; use int8."
        )
    return quantisation


def check_quantisation(quantisation: str) -> None:
    """Raise :class:`SmoothCSEError` for an unknown quantisation."""
    if quantisation not in get_args(IndexQuantisation):
        raise SmoothCSEError(
            f"The quantisation {quantisation!r} is unknown; choose one of {', '.join(get_args(IndexQuantisation))}."
        )
