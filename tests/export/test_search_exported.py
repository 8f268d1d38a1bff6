"""Exported folders work like any other model in every command, and indexes distinguish them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from smoothcse.cli import app
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.exported import backend_of
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.export.export_model import export_model
from tiny import save_tiny_model, sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")
pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")

from smoothcse.search import Document, Index

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def exported(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    export_model(load_encoder(tiny_bert, "mean", device="cpu"), folder, "onnx", sentences(20), console=QUIET)
    return folder


def test_an_exported_folder_is_loaded_like_any_other(exported, tiny_bert):
    assert backend_of(exported) == "onnx"
    expected = encode(load_encoder(tiny_bert, "mean", device="cpu"), sentences(30))
    np.testing.assert_allclose(encode(load_encoder(exported), sentences(30)), expected, atol=2e-6)
    with pytest.raises(SmoothCSEError, match="is exported with its pooling"):
        load_encoder(exported, "cls")


def test_commands_accept_an_exported_folder(exported, tmp_path):
    def smoothcse(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.stdout

    (tmp_path / "docs.txt").write_text("\n".join(sentences(30)) + "\n")
    smoothcse("encode", exported, tmp_path / "docs.txt", "-o", tmp_path / "vectors.npy")
    assert np.load(tmp_path / "vectors.npy").shape == (30, 32)
    assert "holds 30 documents" in smoothcse("index", exported, tmp_path / "docs.txt", "-o", tmp_path / "docs.index")
    assert "1.000" in smoothcse("search", tmp_path / "docs.index", sentences(30)[7], "-k", 1)
    assert smoothcse("similarity", exported, "a cat", "a cat") == "1.0000\n"


def test_an_index_distinguishes_exported_models(exported, tiny_bert, tmp_path):
    Index.build(tmp_path / "docs.index", str(exported), map(Document, sentences(10)), console=QUIET)
    shutil.copytree(exported, tmp_path / "copy")
    assert len(Index.open(tmp_path / "docs.index", str(tmp_path / "copy"))) == 10
    graph = tmp_path / "copy" / "onnx" / "model.onnx"
    other = load_encoder(save_tiny_model(tmp_path / "plain", attention_probs_dropout_prob=0.0), "mean", device="cpu")
    for parameter in other.parameters():
        parameter.data.mul_(1.01)
    export_model(other, tmp_path / "other", "onnx", sentences(20), console=QUIET)
    shutil.copyfile(tmp_path / "other" / "onnx" / "model.onnx", graph)  # another graph with the same settings
    for model in (str(tmp_path / "copy"), load_encoder(tiny_bert, "mean")):
        with pytest.raises(SmoothCSEError, match="made by another model"):
            Index.open(tmp_path / "docs.index", model)


def test_an_exported_model_is_not_exported_again_nor_trained(exported, tmp_path):
    with pytest.raises(SmoothCSEError, match="is already exported"):
        export_model(load_encoder(exported), tmp_path / "again", "safetensors", sentences(5), console=QUIET)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SmoothCSEError, match="cannot be loaded"):
        build_encoder(exported)
