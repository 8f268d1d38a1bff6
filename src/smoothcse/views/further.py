"""Further columns of text beside the sentences, which some methods make: written once, then mapped from disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smoothcse._utils.atomic import new_file
from smoothcse.corpus.load import Corpus
from smoothcse.errors import SmoothCSEError


@dataclass(frozen=True)
class FurtherTexts:
    """Texts that belong to the sentences of a corpus.

    Attributes:
        columns: Their names, in the order in which a batch has them behind ``sentence``.
        batches: One list of texts per column, for some sentences at a time, in the order of the sentences.
        note: How they were made, for the corpus's report.
    """

    columns: tuple[str, ...]
    batches: Iterable[Sequence[list[str]]]
    note: str


def write_further(path: Path, corpus: Corpus, texts: FurtherTexts, console: Console) -> None:
    """Write further texts as an Arrow stream, whole or not at all, in memory that does not grow with the corpus.

    Args:
        path: The file to write.
        corpus: That they belong to.
        texts: To write.
        console: Where a bar with the time left is shown.
    """
    metadata = {"fingerprint": corpus.report.fingerprint, "note": texts.note}
    schema = pa.schema([(name, pa.string()) for name in texts.columns], metadata=metadata)
    with new_file(path) as file, pa.ipc.new_stream(file, schema) as writer, progress(console) as bar:
        task = bar.add_task(" and ".join(texts.columns), total=len(corpus))
        for batch in texts.batches:
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in batch], schema=schema))
            bar.advance(task, len(batch[0]))


def progress(console: Console) -> Progress:
    """Return a bar with sentences done and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),
        MofNCompleteColumn(),
        TextColumn("sentences, left"),
        TimeRemainingColumn(),
        console=console,
    )


def with_further(corpus: Corpus, path: Path) -> Corpus:
    """Return a corpus with the further columns that :func:`write_further` wrote for it, mapped from disk.

    Raises:
        SmoothCSEError: When they were written for other sentences.
    """
    from datasets import Dataset, concatenate_datasets

    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        metadata = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}
    if metadata["fingerprint"] != corpus.report.fingerprint:
        raise SmoothCSEError(
            f"{path} was made for other sentences than {corpus.report.source} holds now; bring back the former text, "
            "or start the run anew with --overwrite."
        )
    dataset = concatenate_datasets([corpus.dataset, Dataset.from_file(str(path))], axis=1)
    report = replace(corpus.report, notes=(*corpus.report.notes, metadata["note"]))
    return Corpus(dataset, report)
