"""``smoothcse recipes``."""

from __future__ import annotations

from typing import Annotated

import typer


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe as YAML.", show_default=False)] = None,
) -> None:
    """List the published settings, or print one as a YAML file to start from."""
    import yaml
    from rich.console import Console
    from rich.table import Table

    from smoothcse.runs.recipes import recipe_fields
    from smoothcse.runs.recipes import recipes as all_recipes

    if name:
        typer.echo(yaml.safe_dump(recipe_fields(name), sort_keys=False), nl=False)
        return
    table = Table(title="smoothcse train --recipe NAME")
    for heading in ("recipe", "batch", "lr", "dropout", "M"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for recipe in all_recipes().values():
        fields = recipe.fields
        row = (fields["batch_size"], fields["learning_rate"], fields["dropout"], fields["noise_count"])
        table.add_row(recipe.name, *map(str, row), recipe.about)
    Console().print(table)
