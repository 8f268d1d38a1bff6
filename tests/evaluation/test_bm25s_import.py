"""bm25s is imported without JAX, which would reserve most of a GPU's memory."""

from __future__ import annotations

import importlib.util
import sys

from smoothcse.evaluation import bm25s_import


def test_jax_is_not_imported_with_bm25s(tmp_path, monkeypatch):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    (tmp_path / "jax" / "lax.py").write_text("raise SystemError('the GPU is taken')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in ("bm25s", "jax")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.reload(bm25s_import)
    assert "jax" not in sys.modules
    found = importlib.util.find_spec("jax")  # it was there to be imported
    assert found is not None
    assert found.origin == str(tmp_path / "jax" / "__init__.py")


def test_jax_in_use_stays_in_use(monkeypatch):
    ours = type(sys)("jax")
    monkeypatch.setitem(sys.modules, "jax", ours)
    importlib.reload(bm25s_import)
    assert sys.modules["jax"] is ours
