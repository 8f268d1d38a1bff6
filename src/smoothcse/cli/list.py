"""``smoothcse list``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from rich.console import Console

Kind = Literal["methods", "recipes", "published", "tasks"]


def list_(
    kind: Annotated[
        Kind | None, typer.Argument(help="What to list. [an overview of these]", show_default=False)
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Show only this method with its settings, this recipe as YAML, these systems, or these tasks.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="For published: only results of models trained from this one, e.g. BERT-base."),
    ] = None,
) -> None:
    """List methods, recipes, published results or evaluation tasks, or show one of them.

    Examples: `smoothcse list methods esimcse`, `smoothcse list recipes gs-infonce/bert-base-uncased > my.yaml`,
    `smoothcse list published gs-infonce simcse --model BERT-base`
    """
    from rich.console import Console

    console = Console()
    if model and kind != "published":
        raise SmoothCSEError("--model filters published results; use it as `smoothcse list published --model NAME`.")
    if kind is None:
        for name, (about, _) in _KINDS.items():
            typer.echo(f"smoothcse list {name:<10} {about}")
    elif kind == "published":
        _published(console, names or [], model)
    else:
        _KINDS[kind][1](console, names or [])


def _only_name(kind: Kind, names: list[str]) -> str | None:
    """Return the name that was given, if any; refuse several."""
    if len(names) > 1:
        raise SmoothCSEError(f"`smoothcse list {kind}` takes one NAME, not {len(names)}; run it once for each.")
    return names[0] if names else None


def _methods(console: Console, names: list[str]) -> None:
    from rich.table import Table

    from smoothcse.methods.table import METHODS, find_method

    if name := _only_name("methods", names):
        _method(console, name)
        return
    table = Table(title="smoothcse train --method NAME", show_lines=True)
    table.add_column("method", no_wrap=True)
    table.add_column("encodes per sentence", justify="right")
    for heading in ("source", "what it adds"):
        table.add_column(heading, overflow="fold")
    for known in METHODS:
        method = find_method(known)
        table.add_row(known, f"{method.encodes:g}", method.title, method.about)
    console.print(table)


def _method(console: Console, name: str) -> None:
    from rich.table import Table

    from smoothcse.methods.table import describe_settings, find_method

    method = find_method(name)
    console.print(f"[bold]{name}[/bold]: {method.title}\n{method.about}")
    rows = describe_settings(method.settings)
    if not rows:
        console.print("This method has no settings of its own.")
        return
    table = Table(title=f"smoothcse train --method {name} --settings NAME=VALUE")
    for heading in ("setting", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _recipes(console: Console, names: list[str]) -> None:
    import yaml
    from rich.table import Table

    from smoothcse.runs.recipes import recipe_fields, recipes

    if name := _only_name("recipes", names):
        typer.echo(yaml.safe_dump(recipe_fields(name), sort_keys=False), nl=False)
        return
    table = Table(title="smoothcse train --recipe NAME")
    for heading in ("recipe", "batch", "lr", "dropout", "M"):
        table.add_column(heading, no_wrap=True)
    table.add_column("description", overflow="fold")
    for recipe in recipes().values():
        fields = recipe.fields
        row = (fields["batch_size"], fields["learning_rate"], fields["dropout"], fields["noise_count"])
        table.add_row(recipe.name, *map(str, row), recipe.about)
    console.print(table)


def _published(console: Console, names: list[str], model: str | None = None) -> None:
    from smoothcse.evaluation.published import published_table

    console.print(published_table(names or None, model))


def _tasks(console: Console, names: list[str]) -> None:
    from rich.table import Table

    from smoothcse.evaluation.task_groups import describe_tasks

    table = Table(title="smoothcse evaluate MODEL --tasks NAME", show_lines=True)
    table.add_column("name", no_wrap=True)
    for heading in ("score", "--data"):
        table.add_column(heading, overflow="fold")
    for row in describe_tasks(names or ["all"]):
        table.add_row(*row)
    console.print(table)


_KINDS: dict[Kind, tuple[str, Callable[[Console, list[str]], None]]] = {
    "methods": ("Training methods; with NAME, its settings", _methods),
    "recipes": ("Published configurations; with NAME, one as YAML", _recipes),
    "published": ("Published STS results, with their sources", _published),
    "tasks": ("Evaluation tasks, and the data they take", _tasks),
}
