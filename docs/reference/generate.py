"""MkDocs hook: generate the reference pages from the commands, the public names and the configuration's fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

import smoothcse
from smoothcse.cli import app
from smoothcse.training import TrainConfig


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site."""
    for name, page in (("commands", commands()), ("python", public_names()), ("configuration", configuration())):
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    return files


def on_page_content(html: str, **kwargs: Any) -> str:
    """Remove the Sphinx markup of docstrings, which Markdown does not know: roles, and the word ``math``."""
    html = re.sub(r":(?:attr|class|data|func|meth|mod):<code>~?", "<code>", html)
    html = re.sub(r"<p>\.\. math:: (.*?)</p>", r"<pre><code>\1</code></pre>", html, flags=re.DOTALL)
    return html.replace("<p>.. math::</p>", "").replace("Example::</p>", "Example:</p>")


def commands() -> str:
    """Return the help of all commands."""
    group = typer.main.get_command(app)
    page = get_docs_for_click(obj=group, ctx=typer.Context(group), name="smoothcse", title="Commands")
    page = re.sub(r"\*\*Commands\*\*:.*?(?=^## )", "", page, flags=re.DOTALL | re.MULTILINE)  # the headings list them
    return page.replace("```console\n$ ", "```text\n")


def public_names() -> str:
    """Return a page with the documentation of each name in ``smoothcse.__all__``."""
    names = "\n\n".join(f"::: smoothcse.{name}" for name in sorted(smoothcse.__all__, key=str.lower))
    return f"# Python\n\nThe public names of the package `smoothcse`.\n\n{names}\n"


def configuration() -> str:
    """Return a table of the fields of ``TrainConfig``."""
    return "\n".join(
        [
            "# Configuration\n",
            "The fields of [`TrainConfig`][smoothcse.TrainConfig]. They are the keys of a YAML file (`--config`) and,",
            "with hyphens, the options of `smoothcse train`.\n",
            "| field | default | meaning |",
            "| --- | --- | --- |",
            *_rows(),
        ]
    )


def _rows() -> Iterator[str]:
    for name, field in TrainConfig.__pydantic_fields__.items():
        default = field.get_default(call_default_factory=True)
        meaning = (field.description or "").replace("|", "&#124;")
        yield f"| `{name}` | `{default!r}` | {meaning} |"
