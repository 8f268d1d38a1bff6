"""Safety checks of model folders, made before anything is loaded from them.

A model folder may come from an untrusted author. Its JSON files can name classes to import, other locations to load
from, and pickled weights, which run code when they are read. The host refuses most of this; these checks refuse the
rest. A model may contain only numbers, and settings that choose among known classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smoothcse.encoders.safe_settings import require_plausible_size, require_safe_settings
from smoothcse.errors import SmoothCSEError, first_line

SAFE_WEIGHTS: dict[str, Any] = {"use_safetensors": True, "weights_only": True}
"""Arguments of the host that forbid pickles and that a model's settings cannot override."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def require_safe_folder(folder: Path, *, adapters: bool = False) -> None:
    """Refuse a model folder that could run code or refer to other locations; nothing is loaded from it.

    Args:
        folder: Model folder.
        adapters: Whether the folder may hold adapters. Their settings name another model and modules to import, so
            that only :func:`~smoothcse.encoders.lora.restore_adapters` may read such a folder.

    Raises:
        SmoothCSEError: If a file is not safe.
    """
    files = list(_files(folder))
    for file in files:
        _require_inside(folder, file)
    _require_no_code(folder, files)
    if not adapters:
        _require_no_adapter(files)
    _require_no_pickle(files, weights=["model.safetensors"] + ["adapter_model.safetensors"] * adapters)
    require_safe_settings(str(folder), lambda name: path if os.path.isfile(path := folder / name) else None)
    for file in files:
        if file.name == "config.json":
            require_plausible_size(file)


def require_safe_repository(name: str) -> None:
    """Refuse an unsafe model on the hub, judged by its JSON files alone.

    Args:
        name: Hub name of an existing model.

    Raises:
        SmoothCSEError: If a file is not safe, or cannot be downloaded.
    """
    from sentence_transformers.util import load_file_path

    def find(file: str) -> Path | None:
        try:
            path = load_file_path(name, file)
        except Exception as error:  # its classes differ between releases of huggingface_hub
            raise SmoothCSEError(
                f"{file} of {name} cannot be downloaded from the hub; check the network and try again "
                f"({first_line(error)})."
            ) from error
        return None if path is None else Path(path)

    require_safe_settings(name, find)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files and links; links to folders are not followed."""
    for here, folders, names in os.walk(folder):
        yield from (Path(here, name) for name in names)
        yield from (path for name in folders if (path := Path(here, name)).is_symlink())


def _require_inside(folder: Path, file: Path) -> None:
    if not file.is_symlink():
        return
    root = folder.resolve()
    # The hub's cache stores a model as links from snapshots/<commit>/ to the folder blobs/ beside it.
    homes = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    try:
        target = file.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself
        raise SmoothCSEError(f"{file} is a link to nothing; remove it.") from error
    if not any(target.is_relative_to(home) for home in homes):
        raise SmoothCSEError(f"{file} is a link to a file outside of the model's folder; replace it by the file.")


def _require_no_code(folder: Path, files: list[Path]) -> None:
    for file in files:
        if file.suffix in (".py", ".so", ".pyc", ".pyd", ".dll", ".dylib"):
            raise SmoothCSEError(
                f"The model {folder} contains code, {file.name}, which is never run; use a model with an "
                "architecture that transformers knows, without code files in its folder."
            )


def _require_no_adapter(files: list[Path]) -> None:
    for file in files:
        if file.name == "adapter_config.json":
            raise SmoothCSEError(
                f"{file} makes this an adapter of another model; merge it into that model, save the result, and give "
                "its folder."
            )


def _require_no_pickle(files: list[Path], weights: list[str]) -> None:
    """Refuse pickled weights, unless the folder also has them as safetensors: then the pickle is never read."""
    for file in files:
        if file.suffix not in _PICKLES or file.with_suffix(".xml").is_file():  # OpenVINO's .bin is not a pickle
            continue
        beside = weights + ["model.safetensors.index.json"] * (file.name != "pytorch_model.bin")
        if not any((file.parent / name).is_file() for name in beside):
            raise SmoothCSEError(
                f"{file} contains pickled weights, which can run code when they are read; get the model as "
                "safetensors, or convert it if you trust it (load it with transformers, then save_pretrained)."
            )
