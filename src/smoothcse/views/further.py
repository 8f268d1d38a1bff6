"""Additional columns of text for a corpus, which some methods create: written once, then memory-mapped from disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from smoothcse._utils.atomic import open_atomic
from smoothcse._utils.progress import progress_bar
from smoothcse.corpus.load import Corpus
from smoothcse.errors import SmoothCSEError


@dataclass(frozen=True)
class FurtherTexts:
    """Additional texts for the sentences of a corpus.

    Attributes:
        columns: Names of the columns, in their order after ``sentence`` in a batch.
        batches: Batches with one list of texts per column, in the order of the sentences.
        note: Remark on how the texts were made, for the corpus report.
    """

    columns: tuple[str, ...]
    batches: Iterable[Sequence[list[str]]]
    note: str


def write_further(path: Path, corpus: Corpus, texts: FurtherTexts, console: Console) -> None:
    """Write additional texts as an Arrow stream, completely or not at all, in constant memory.

    Args:
        path: File to write.
        corpus: Corpus that the texts belong to.
        texts: Texts to write.
        console: Console for the progress bar.
    """
    metadata = {"fingerprint": corpus.report.fingerprint, "note": texts.note}
    schema = pa.schema([(name, pa.string()) for name in texts.columns], metadata=metadata)
    with (
        open_atomic(path) as file,
        pa.ipc.new_stream(file, schema) as writer,
        progress_bar(console, unit="sentences") as bar,
    ):
        task = bar.add_task(" and ".join(texts.columns), total=len(corpus))
        for batch in texts.batches:
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in batch], schema=schema))
            bar.advance(task, len(batch[0]))


def with_further(corpus: Corpus, path: Path) -> Corpus:
    """Add the columns written by :func:`write_further` to a corpus, memory-mapped from disk.

    Args:
        corpus: Corpus that the texts belong to.
        path: File of the texts.

    Raises:
        SmoothCSEError: If the texts were written for other sentences.
    """
    from datasets import Dataset, concatenate_datasets

    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        metadata = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}
    if metadata["fingerprint"] != corpus.report.fingerprint:
        raise SmoothCSEError(
            f"{path} was written for other sentences than {corpus.report.source} contains now; restore the original "
            "text, or start the run again with --overwrite."
        )
    dataset = concatenate_datasets([corpus.dataset, Dataset.from_file(str(path))], axis=1)
    report = replace(corpus.report, notes=(*corpus.report.notes, metadata["note"]))
    return Corpus(dataset, report)
