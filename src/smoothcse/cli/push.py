"""``smoothcse push``."""

from __future__ import annotations

from typing import Annotated

import typer


def push(
    model: Annotated[str, typer.Argument(help="A run folder (its best) or a model folder.", show_default=False)],
    repository: Annotated[str, typer.Argument(help="owner/name; made if it is not there.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository that is made.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Of the commit.")] = "Upload model",
) -> None:
    """Upload a model and its card to the Hugging Face hub, without what training left behind.

    The token is that of `hf auth login` or HF_TOKEN; another hub is named by HF_ENDPOINT. All files arrive in one
    commit.
    """
    import sys

    from huggingface_hub.utils.tqdm import disable_progress_bars

    from smoothcse.hub.push import push as push_model

    if not sys.stderr.isatty():
        disable_progress_bars()
    typer.echo(push_model(model, repository, private=not public, message=message))
