"""``smoothcse export --format static``: the student is close to the encoder, and every reader loads it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from rich.console import Console
from scipy import sparse
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from smoothcse.cli import app
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.export.export_model import export_model
from smoothcse.export.static import fit_vectors, token_shares
from tiny import sentences

pytest.importorskip("skeletoken", reason="needs the extra 'static'")
model2vec = pytest.importorskip("model2vec", reason="needs the extra 'static'")

QUIET = Console(quiet=True)
TEXT = [*sentences(40), "the", "", "the cat sat on a mat " * 300, "stars" * 500]


@pytest.fixture(scope="module")
def model(tiny_bert):
    return build_encoder(tiny_bert, "mean", max_length=None, device="cpu").eval()  # with a projection head


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "static"
    export_model(model, folder, "static", sentences(60), console=QUIET)
    return folder


def test_the_student_is_close_to_the_encoder(folder, model):
    record = json.loads((folder / "export.json").read_text())
    assert record["format"] == "static"
    assert record["mean_cosine"] > 0.95
    alone = encode(load_encoder(folder), sentences(60), normalize=True)
    assert np.vecdot(alone, encode(model, sentences(60), normalize=True)).mean() == pytest.approx(
        record["mean_cosine"], abs=1e-6
    )


def test_every_reader_gives_the_same_embeddings(folder, model):
    loaded, host = load_encoder(folder), SentenceTransformer(str(folder), device="cpu")
    assert [type(module).__name__ for module in host] == ["StaticEmbedding", "Normalize"]
    expected = host.encode(TEXT)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(encode(loaded, TEXT), expected, atol=1e-6)
    in_model2vec = model2vec.StaticModel.from_pretrained(folder)  # which cuts long texts earlier, and drops [UNK]
    np.testing.assert_allclose(in_model2vec.encode(TEXT[:42]), expected[:42], atol=1e-6)
    assert loaded[0].tokenizer.truncation["max_length"] == model.max_seq_length
    assert fingerprint(loaded) == fingerprint(load_encoder(folder))


def test_dimensions_and_prompts_are_those_of_the_host(folder):
    loaded = load_encoder(folder)
    with loaded.truncate_embeddings(8):
        expected = loaded.encode(TEXT, prompt="the sea ", normalize_embeddings=True)
        np.testing.assert_allclose(encode(loaded, TEXT, prompt="the sea ", normalize=True), expected, atol=1e-6)
    assert expected.shape == (len(TEXT), 8)


def test_the_fit_is_the_minimum_of_the_penalised_squares():
    random = np.random.default_rng(0)
    distilled, targets = random.normal(size=(7, 3)), random.normal(size=(5, 3))
    shares = token_shares([[0, 1, 1], [2, 3], [4], [], [0, 4, 3, 2]], 7)
    assert shares.toarray()[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0, 0, 0, 0, 0])
    assert not shares.toarray()[3].any()
    used = shares.toarray().mean(0)
    weights = 1e-3 / (1e-3 + used)
    mean = targets.mean(0)
    start = weights[:, None] * (distilled - distilled[used > 0].mean(0))
    scale = ((shares @ start) * (targets - mean)).sum() / ((shares @ start) ** 2).sum()
    found = fit_vectors(distilled, sparse.csr_matrix(shares), targets) - mean

    def cost(change):
        error = shares @ (scale * start + weights[:, None] * change) - (targets - mean)
        return (error**2).sum() + 1e-3 * (change**2).sum()

    best = (found - scale * start) / weights[:, None]
    for step in random.normal(size=(20, 7, 3)) * 1e-3:
        assert cost(best) < cost(best + step)
    np.testing.assert_allclose(found[[5, 6]], scale * start[[5, 6]])  # tokens that occur in no text


def test_the_command_exports_and_evaluates(tiny_bert, corpus_file, tmp_path):
    out = tmp_path / "out"
    arguments = ["export", str(tiny_bert), "--pooling", "mean", "--format", "static", "--texts", str(corpus_file)]
    result = CliRunner().invoke(app, [*arguments, "-o", str(out)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "after: static, float32" in result.stdout
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"query": text, "document": text + " by the sea"} for text in sentences(12)]
    pairs.write_text("\n".join(map(json.dumps, rows)) + "\n")
    scores = tmp_path / "scores.json"
    command = ["evaluate", str(out), "--tasks", "retrieval", "--data", str(pairs), "-o", str(scores)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "Infinity" not in scores.read_text()


def test_what_has_no_static_form_is_refused(folder, tiny_bert, tmp_path, monkeypatch):
    with pytest.raises(SmoothCSEError, match="starts with a StaticEmbedding, not a transformer"):
        export_model(load_encoder(folder), tmp_path / "out", "static", sentences(5), console=QUIET)
    model = load_encoder(tiny_bert, "mean", device="cpu")
    with pytest.raises(SmoothCSEError, match="int8 is not available for static; choose onnx or openvino"):
        export_model(model, tmp_path / "out", "static", sentences(5), quantize="int8", console=QUIET)
    monkeypatch.setitem(sys.modules, "skeletoken", None)
    with pytest.raises(SmoothCSEError, match=r"package skeletoken is not.*\.\[static\]"):
        export_model(model, tmp_path / "out", "static", sentences(5), console=QUIET)
    assert not list(tmp_path.iterdir())


def test_a_static_model_is_no_start_of_a_training(folder):
    with pytest.raises(SmoothCSEError):
        build_encoder(folder, device="cpu")
