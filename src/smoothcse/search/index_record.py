"""``index.json``: the description of an index, read before the index itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.choices import IndexQuantisation, PoolingName
from smoothcse.errors import SmoothCSEError, first_line


@dataclass(frozen=True)
class IndexRecord:
    """How an index was built.

    Attributes:
        model: Path or Hub name of the model.
        pooling: Pooling used instead of the model's own, or None.
        fingerprint: Fingerprint of the model, see :func:`~smoothcse.encoders.fingerprint.fingerprint`.
        quantisation: Quantisation for approximate search.
        unfinished: Sources of all changes that have begun and not ended.
    """

    model: str
    pooling: PoolingName | None
    fingerprint: str
    quantisation: IndexQuantisation
    unfinished: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> IndexRecord:
        """Read the record of an index.

        Args:
            folder: Index folder.

        Raises:
            SmoothCSEError: If the folder holds no index, or its record is damaged.
        """
        file = folder / "index.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            names = found.get("unfinished", [])  # missing in records of earlier versions
            if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise TypeError("'unfinished' must be a list of strings")
            record = cls(found["model"], found["pooling"], found["fingerprint"], found["codes"], tuple(names))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SmoothCSEError(
                f"{folder} holds no index; build one with: smoothcse index MODEL DOCUMENTS -o {folder}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SmoothCSEError(f"{file} cannot be read as the record of an index: {error}.") from error
        check_quantisation(record.quantisation)
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
            "format": 1,
        }
        try:
            write_text_atomic(folder / "index.json", json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise SmoothCSEError(f"The record of the index {folder} cannot be written: {first_line(error)}") from error


def choose_quantisation(quantisation: IndexQuantisation | None, dimensions: int) -> IndexQuantisation:
    """Return the quantisation of a new index.

    Args:
        quantisation: Requested quantisation. Default: the one that found most documents in the least time
            (docs/performance.md), which is ``binary``, or ``int8`` if the dimension is not divisible by 8.
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
