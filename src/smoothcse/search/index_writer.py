"""Changes to an index: documents are added, replaced and deleted, a few thousand at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from smoothcse._utils.choices import IndexQuantisation
from smoothcse._utils.progress import progress_bar
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.lexical import Words, detect_language
from smoothcse.runs.search_settings import SearchSettings
from smoothcse.search.documents import Document
from smoothcse.search.index_record import IndexRecord, choose_quantisation
from smoothcse.search.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

T = TypeVar("T")


class IndexWriter:
    """Changes to an index; the caller holds its lock.

    Args:
        path: Index folder.
        store: Table of the index.
        embed: Function from texts to the unit vectors to store, ``(n, d)``.

    Attributes:
        COMMIT: Documents encoded and written at a time, which is what a killed process loses at most.
    """

    COMMIT = 4096

    def __init__(self, path: Path, store: Store, embed: Callable[[Sequence[str]], NDArray[np.float32]]) -> None:
        self._path = path
        self._store = store
        self._embed = embed

    def add(
        self,
        documents: Iterable[Document],
        source: str,
        *,
        skip_known: bool,
        complete: bool,
        console: Console | None,
    ) -> None:
        """Add documents, see :meth:`smoothcse.search.index.Index.add`."""
        with progress_bar(console, unit="documents") as bar:
            words = self._words(bar)
            with self._unfinished(source, complete):
                task = bar.add_task("indexing", total=None)
                for number, part in enumerate(_batched(documents, self.COMMIT)):
                    self._commit(list({document.id: document for document in part}.values()), words, skip_known)
                    bar.update(task, completed=number * self.COMMIT + len(part))
                bar.update(task, description="optimising")
                self._store.put_in_order(self._record.quantisation)

    def delete(self, ids: Iterable[str], source: str, complete: bool) -> int:
        """Delete documents by id, and return how many of the ids existed."""
        with self._unfinished(source, complete):
            before = len(self._store)
            for part in _batched(ids, self.COMMIT):
                self._store.delete(part)
            return before - len(self._store)

    def requantise(self, quantisation: IndexQuantisation | None) -> None:
        """Change the quantisation for approximate search."""
        chosen = choose_quantisation(quantisation, self._store.dimensions)
        self._store.build_vector_index(chosen)
        replace(self._record, quantisation=chosen).write(self._path)

    def set_search_settings(self, settings: SearchSettings | None) -> None:
        """Record the search settings that come with the model; None keeps the recorded ones."""
        if settings is None:
            return
        new = replace(self._record, cosine_weight=settings.cosine_weight, rerank=settings.rerank)
        if new != self._record:
            new.write(self._path)

    @property
    def _record(self) -> IndexRecord:
        return IndexRecord.read(self._path)

    def _words(self, bar: Progress) -> Words:
        """Return the function from texts to words; an index of an earlier version gets the words of its documents."""
        record = self._record
        if record.language is not None:
            return Words(record.language)
        self._store.add_words()
        task = bar.add_task("adding words", total=None)
        found = self._store.texts_without_words(self.COMMIT)
        words = Words(detect_language(row["text"] for row in found))
        while found:
            self._store.set_words([row["id"] for row in found], [joined(words, row["text"]) for row in found])
            bar.update(task, advance=len(found))
            found = self._store.texts_without_words(self.COMMIT)
        bar.remove_task(task)
        replace(record, language=words.language).write(self._path)
        return words

    def _commit(self, documents: list[Document], words: Words, skip_known: bool) -> None:
        if skip_known:
            known = self._store.known([document.id for document in documents])
            documents = [document for document in documents if document.id not in known]
        if documents:
            texts = [document.text for document in documents]
            self._store.write(documents, self._embed(texts), [joined(words, text) for text in texts])

    @contextmanager
    def _unfinished(self, source: str, complete: bool) -> Iterator[None]:
        """Mark the index as incomplete until the block has succeeded, or has failed before it changed anything."""
        before, version = self._record, self._store.version
        others = tuple(name for name in before.unfinished if name != source)
        replace(before, unfinished=(*others, source)).write(self._path)
        try:
            yield
        except BaseException as error:
            if self._store.version == version:
                before.write(self._path)
            elif type(error) is SmoothCSEError:
                raise SmoothCSEError(f"{error} {self._record.incomplete(self._path)}") from error
            raise
        replace(before, unfinished=() if complete else others).write(self._path)


def joined(words: Words, text: str) -> str:
    """Return the words of a text separated by spaces, as the table stores and searches them."""
    return " ".join(words(text))


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
