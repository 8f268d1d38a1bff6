"""Upload of a model folder and its card to a hub, without the files of training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub import errors as hub_errors

from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.hub.model_card import CARD, find_run, model_card

LEFTOVERS = (
    "checkpoint*",
    "runs",
    "optimizer*",
    "scheduler*",
    "scaler*",
    "rng_state*",
    "trainer_state.json",
    "training_args.*",
    "events.out.*",
    "run.json",
    "metrics.jsonl",
    "seeds.json",
    "*.new",
    "*.old",
    "__pycache__",
    ".*",
)
"""Patterns of files and folders that belong to training or to a tool; they are never uploaded."""

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "onnx/*.onnx", "openvino/*.xml")


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that belong to the model, relative to the folder and sorted.

    Args:
        folder: Model folder.

    Raises:
        SmoothCSEError: If the folder contains no model.
    """
    if not folder.is_dir():
        raise SmoothCSEError(
            f"{folder} is not a folder on this machine; give a run folder or the folder of a saved model."
        )
    if not (folder / "config.json").is_file() or not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise SmoothCSEError(
            f"{folder} contains no model (no config.json with weights beside it); give a run folder or the folder of "
            "a saved model."
        )
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if not any(fnmatch(part, name) for part in path.parts for name in LEFTOVERS)]


def push(
    model: str | Path,
    repository: str,
    *,
    private: bool = True,
    message: str = "Upload model",
) -> str:
    """Upload a model to a hub in one commit, so that nobody can download an incomplete model.

    A model from a run gets a card (see :func:`~smoothcse.hub.model_card.model_card`) unless it has one. The token
    is read from ``HF_TOKEN`` or ``hf auth login``, the address of the hub from ``HF_ENDPOINT`` (default
    huggingface.co).

    Args:
        model: Run folder (its ``best`` is uploaded) or model folder.
        repository: ``owner/name``; it is created if it does not exist.
        private: Whether to create the repository as private. An existing repository is not changed. Default True.
        message: Message of the commit.

    Returns:
        URL of the commit.

    Raises:
        SmoothCSEError: If the folder contains no model, there is no token, or the hub refuses or cannot be reached.
    """
    folder = _model_folder(local_path(model))
    files = model_files(folder)
    if repository.count("/") != 1:
        raise SmoothCSEError(f"{repository} is not a valid repository name: write owner/name.")
    if get_token() is None:
        raise SmoothCSEError("No token for the hub was found; run `hf auth login`, or set HF_TOKEN.")
    with _plain_errors(repository), tempfile.TemporaryDirectory() as scratch:
        additions = {str(path.as_posix()): folder / path for path in files}
        run = find_run(folder)
        if run is not None and CARD not in additions:
            card = Path(scratch) / CARD
            card.write_text(model_card(run, folder, repository=repository), encoding="utf-8")
            additions[CARD] = card
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, path) for name, path in sorted(additions.items())]
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)


def _model_folder(path: Path) -> Path:
    if (path / "seeds.json").is_file() and not (path / "run.json").is_file():
        runs = sorted(folder.name for folder in path.glob("seed-*"))
        raise SmoothCSEError(f"{path} contains one run per seed ({', '.join(runs)}); push one of them.")
    if not (path / "run.json").is_file():
        return path / "model" if (path / "adapt.json").is_file() else path
    if not (path / "best").is_dir():
        raise SmoothCSEError(f"The run in {path} has no best model yet; continue it with --resume.")
    return path / "best"


@contextmanager
def _plain_errors(repository: str) -> Iterator[None]:
    """Convert the exceptions of huggingface_hub and its HTTP client to a :class:`SmoothCSEError`."""
    try:
        yield
    except SmoothCSEError:
        raise
    except Exception as error:
        raise SmoothCSEError(_explanation(error, repository)) from error


def _explanation(error: Exception, repository: str) -> str:
    if isinstance(error, hub_errors.HFValidationError):
        return f"{repository} is not a valid repository name: write owner/name."
    if isinstance(error, hub_errors.OfflineModeIsEnabled):
        return f"{repository} cannot be pushed while HF_HUB_OFFLINE is set; unset it."
    status = error.response.status_code if isinstance(error, hub_errors.HfHubHTTPError) else None
    if status in (401, 403):
        return (
            f"The hub does not allow your token to write to {repository} ({status}): check the owner's name and the "
            "permissions of the token (`hf auth whoami`)."
        )
    reason = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
    if status is not None:
        return f"The hub rejected the upload to {repository} ({reason}); nothing was committed, try again later."
    return f"{repository} cannot be pushed ({reason}): check the network and HF_ENDPOINT, and try again."
