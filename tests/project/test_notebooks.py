"""The notebooks of the documentation run from their first cell to their last, on tiny settings."""

from __future__ import annotations

import os
import sys

import pytest

from repository import REPOSITORY
from tiny import sentences

nbformat = pytest.importorskip("nbformat", reason="needs the extra 'notebooks'")
nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")
manager = pytest.importorskip("jupyter_client.manager", reason="needs the extra 'notebooks'")
pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")

NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def kernel(tiny_bert, tmp_path_factory):
    """One kernel for all notebooks, as its imports take longer than the tiny settings do."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "text.txt").write_text("\n".join(sentences(200)) + "\n", encoding="utf-8")
    tiny = {"NOTEBOOK_MODEL": tiny_bert, "NOTEBOOK_TEXT": str(folder / "text.txt"), "NOTEBOOK_STEPS": "4"}
    path = os.pathsep.join(filter(None, sys.path))
    started = manager.KernelManager(kernel_name="python3")
    started.kernel_spec.argv[0] = sys.executable
    started.start_kernel(env={**os.environ, **tiny, "PYTHONPATH": path, "SMOOTHCSE_CPU": "1"}, cwd=str(folder))
    yield started
    started.shutdown_kernel(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    nbclient.NotebookClient(notebook, km=kernel, timeout=240).execute()


def test_there_are_three_and_their_outputs_are_small():
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        assert path.stat().st_size < 200_000, path
        nbformat.validate(nbformat.read(path, as_version=4))
