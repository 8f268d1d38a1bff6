"""Model card and licence of the model that a run started from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import hf_hub_download, metadata_load

from smoothcse._utils.paths import local_path
from smoothcse.encoders.packaged import PACKAGED_MINILM, packaged_minilm_folder

_FIELDS = ("license", "license_name", "license_link")


def licence_of(name_or_path: str) -> dict[str, Any]:
    """Read the licence fields of a model's card.

    Args:
        name_or_path: Model folder, run folder, hub name, or ``packaged-minilm``.

    Returns:
        ``license`` and, if the card has them, ``license_name`` and ``license_link``. Empty if no card is available or
        it names no licence.
    """
    card = card_of(name_or_path)
    if card is None:
        return {}
    try:
        metadata = metadata_load(card) or {}
    except (ValueError, yaml.YAMLError):
        return {}
    return {field: metadata[field] for field in _FIELDS if metadata.get(field)}


def card_of(name_or_path: str) -> Path | None:
    """Return the path of a model's card, from its folder or the hub; None if no card is available.

    Args:
        name_or_path: Model folder, run folder, hub name, or ``packaged-minilm``.
    """
    name = name_or_path
    if name == PACKAGED_MINILM:
        name = str(packaged_minilm_folder())
    folder = local_path(name)
    if folder.is_dir():
        found = [path for path in (folder / "README.md", folder / "best" / "README.md") if path.is_file()]
        return found[0] if found else None
    try:
        return Path(hf_hub_download(name, "README.md"))
    except Exception:  # no such file, no network or no such name: the licence is unknown in each case
        return None
