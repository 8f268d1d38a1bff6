"""``smoothcse push``."""

from __future__ import annotations

from typing import Annotated

import typer


def push(
    model: Annotated[
        str, typer.Argument(help="Run folder (its best model is uploaded) or model folder.", show_default=False)
    ],
    repository: Annotated[
        str, typer.Argument(help="Repository as owner/name; created if it does not exist.", show_default=False)
    ],
    public: Annotated[bool, typer.Option("--public", help="Make a newly created repository public.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Commit message.")] = "Upload model",
) -> None:
    """Upload a model and its card to the Hugging Face Hub.

    Checkpoints and other training files are left out, and all files arrive in one commit. The token comes from
    `hf auth login` or HF_TOKEN; HF_ENDPOINT selects another hub.

    Example: `smoothcse push my-encoder me/my-encoder`
    """
    import sys

    from huggingface_hub.utils.tqdm import disable_progress_bars

    from smoothcse.hub.push import push as push_model

    if not sys.stderr.isatty():
        disable_progress_bars()
    typer.echo(push_model(model, repository, private=not public, message=message))
