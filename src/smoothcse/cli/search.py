"""``smoothcse search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoothcse._utils.choices import Rerank

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from smoothcse.search.hits import Hit, SearchOutcome

_TEXT_LINES, _FIELD_LINES = 3, 1
_VALUE_LENGTH = 30
_LONG = 3.0  # seconds
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
    here: Annotated[
        bool, typer.Option("--here", help="Load the model, even if a service on this machine holds the index.")
    ] = False,
) -> None:
    """Search an index: print the documents that match a query best, by words (BM25) and meaning (cosine similarity).

    While `smoothcse serve` runs on this machine with the index, it answers, which takes less than a second. Otherwise
    the model is loaded first; so it is for `--threshold`, `--exact` and `--model`.

    Example: `smoothcse search documents.index "how to pause a program" --where "year >= 2020"`
    """
    from rich.console import Console

    from smoothcse.search.index_places import own_index
    from smoothcse.search.running_service import ask_service

    own = own_index(index)
    options: dict[str, Any] = {"where": where, "cosine_weight": cosine_weight, "rerank": rerank}
    further: dict[str, Any] = {"threshold": threshold, "exact": exact}
    only_here = here or exact or any(given is not None for given in (model, threshold))  # not of a service
    found = None if only_here else ask_service(own or index, query, k, **options)
    if found is None:
        found = _search_here(own or index, model or (str(index) if own else None), query, k, **options, **further)
    for sentence in found.notes:
        typer.echo(f"smoothcse: {sentence}", err=True)
    console = Console(highlight=False)
    console.print("score  document" if found.hits else "No document was found.", style="bold" if found.hits else "")
    for hit in found.hits:
        console.print(_entry(hit, console, full))
    if found.rerank == "maxsim":
        recommended = "" if rerank else ", which the model recommends; --rerank none leaves it out"
        console.print(f"The search took {found.milliseconds:.0f} ms with MaxSim{recommended}.", style="dim")


def _search_here(index: Path, model: str | None, query: str, k: int, **options: Any) -> SearchOutcome:
    """Load the model and search in this process."""
    import sys
    import time
    import warnings

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.search import Index
    from smoothcse.search.hits import SearchOutcome

    started = time.perf_counter()
    quiet_libraries()
    with warnings.catch_warnings(action="ignore"):  # printed later
        opened = Index.open(index, model)
    notes = [sentence for sentence in (opened.incomplete, opened.without_words) if sentence]
    loaded = time.perf_counter()
    hits = opened.search(query, k, **options)
    if loaded - started > _LONG and sys.stderr.isatty():
        notes.append(
            f"Loading the model took {loaded - started:.0f} s. While `smoothcse serve` runs with this index, searches "
            "ask it, and take less than a second."
        )
    return SearchOutcome(hits, 1000 * (time.perf_counter() - loaded), options["rerank"] or opened.rerank, notes)


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
    from smoothcse.search.text_ids import text_id

    named = {} if hit.id == text_id(hit.text) else {"id": hit.id}  # a hash means nothing to the reader
    return " · ".join(f"{_short(name, full)}: {_short(value, full)}" for name, value in (named | hit.metadata).items())


def _short(value: object, full: bool) -> str:
    text = " ".join(str(value).split())
    return text if full or len(text) <= _VALUE_LENGTH else text[:_VALUE_LENGTH] + "…"


_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd") | {9: "    "}
"""Control characters, which must not reach the terminal."""
