"""The card of a model that a run started from, and the licence that it states."""

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
        name_or_path: a model or run folder, a hub name, or ``packaged-minilm``.

    Returns:
        ``license`` and, where the card has them, ``license_name`` and ``license_link``; nothing if there is no card
        to be had or it names no licence.
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
    """Find a model's card: in its folder, or on the hub; None where there is none to be had."""
    name = name_or_path
    if name == PACKAGED_MINILM:
        name = str(packaged_minilm_folder())
    folder = local_path(name)
    if folder.is_dir():
        found = [path for path in (folder / "README.md", folder / "best" / "README.md") if path.is_file()]
        return found[0] if found else None
    try:
        return Path(hf_hub_download(name, "README.md"))
    except Exception:  # no such file, no network, no such name: in each case nobody states a licence
        return None
