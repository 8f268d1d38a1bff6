"""``smoothcse search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcse._utils.choices import Rerank

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from smoothcse.search import Hit

_TEXT_LINES, _FIELD_LINES = 3, 1
_VALUE_LENGTH = 30
_MARGIN = 7
"""Width of the score column."""


def search(
    index: Annotated[
        Path, typer.Argument(help="Index folder, or output folder of `smoothcse adapt`.", show_default=False)
    ],
    query: Annotated[str, typer.Argument(help="Query.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of documents to show.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="SQL-like condition on the metadata, e.g. \"year >= 2020 AND source = 'x'\".")
    ] = None,
    threshold: Annotated[float | None, typer.Option(min=-1, max=1, help="Minimum cosine similarity.")] = None,
    cosine_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Weight of the cosine similarity in the score; BM25 has the rest. 1 is meaning alone, 0 words alone. "
            "[the model's, else 0.7]",
            show_default=False,
        ),
    ] = None,
    rerank: Annotated[
        Rerank | None,
        typer.Option(
            help="maxsim compares the first 50 documents with the query token by token, which takes longer. "
            "[the model's, else none]",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare all vectors, even in a large index.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print whole documents, not only their first lines.")] = False,
    model: Annotated[str | None, typer.Option(help="Model of the index, if it has moved.")] = None,
) -> None:
    """Search an index: print the documents that match a query best, by words (BM25) and meaning (cosine similarity).

    Example: `smoothcse search documents.index "how to pause a program" --where "year >= 2020"`
    """
    import time
    import warnings

    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.search import Index
    from smoothcse.search.index_folder import own_index

    quiet_libraries()
    if adapted := own_index(index):
        index, model = adapted, model or str(index)
    with warnings.catch_warnings(action="ignore"):  # printed below
        opened = Index.open(index, model)
    for sentence in (opened.incomplete, opened.without_words):
        if sentence:
            typer.echo(f"smoothcse: {sentence}", err=True)
    started = time.perf_counter()
    hits = opened.search(
        query, k, where=where, threshold=threshold, exact=exact, cosine_weight=cosine_weight, rerank=rerank
    )
    milliseconds = 1000 * (time.perf_counter() - started)
    console = Console(highlight=False)
    console.print("score  document" if hits else "No document was found.", style="bold" if hits else "")
    for hit in hits:
        console.print(_entry(hit, console, full))
    if (rerank or opened.rerank) == "maxsim":
        recommended = "" if rerank else ", which the model recommends; --rerank none leaves it out"
        console.print(f"The search took {milliseconds:.0f} ms with MaxSim{recommended}.", style="dim")


def _entry(hit: Hit, console: Console, full: bool) -> Text:
    """Format a hit: its score and text, with id and metadata below."""
    from rich.text import Text

    text = hit.text if full else " ".join(hit.text.split())
    lines = _folded(Text(text), console, None if full else _TEXT_LINES)
    if fields := _fields(hit, full):
        lines += _folded(Text(fields, style="dim"), console, None if full else _FIELD_LINES)
    margins = (f"{hit.score:.3f}".rjust(_MARGIN - 2) + "  ", *[" " * _MARGIN] * (len(lines) - 1))
    return Text("\n").join(Text(margin).append_text(line) for margin, line in zip(margins, lines, strict=True))


def _folded(text: Text, console: Console, most: int | None) -> list[Text]:
    """Wrap a text into the space beside the score, cut to a maximum number of lines."""
    text.plain = text.plain.translate(_CONTROLS)
    width = max(console.width - _MARGIN, 10)
    lines = list(text.wrap(console, width))
    if most is None or len(lines) <= most:
        return lines
    last = lines[most - 1]
    last.rstrip()
    last.truncate(width - 2)
    return [*lines[: most - 1], last.append(" …")]


def _fields(hit: Hit, full: bool) -> str:
    from smoothcse.search import Document

    named = {} if hit.id == Document(hit.text).id else {"id": hit.id}  # a hash means nothing to the reader
    return " · ".join(f"{_short(name, full)}: {_short(value, full)}" for name, value in (named | hit.metadata).items())


def _short(value: object, full: bool) -> str:
    text = " ".join(str(value).split())
    return text if full or len(text) <= _VALUE_LENGTH else text[:_VALUE_LENGTH] + "…"


_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd") | {9: "    "}
"""Control characters, which must not reach the terminal."""
