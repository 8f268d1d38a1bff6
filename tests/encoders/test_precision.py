"""Precision: fp32 for measuring on every machine; bf16 for training, and for encoding if requested or reported.

Each test that depends on the hardware runs as if it had bf16 instructions and as if it had none.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from smoothcse.cli import app
from smoothcse.encoders.hardware import find_hardware
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import (
    ASSUME_BF16,
    has_fast_bf16,
    precision_notice,
    resolve_precision,
    without_autocast,
)
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.evaluate import evaluate
from smoothcse.training import make_config, selection, train
from smoothcse.views.embed import dropout_views
from tiny import sentences

QUIET = Console(quiet=True)


@pytest.fixture(params=["1", "0"], ids=["with bf16", "without bf16"])
def assumed(request, monkeypatch) -> bool:
    """Whether the hardware is assumed to have bf16 instructions."""
    monkeypatch.setenv(ASSUME_BF16, request.param)
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    return request.param == "1"


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_auto_precision(device, assumed):
    fast = "bf16" if assumed else "fp32"
    assert resolve_precision("auto", "train", device) == fast
    assert resolve_precision("auto", "encode", device) == fast
    assert resolve_precision("auto", "measure", device) == "fp32"


@pytest.mark.parametrize(("purpose", "precision"), itertools.product(["train", "encode", "measure"], ["fp32", "bf16"]))
def test_an_explicit_precision_is_used(purpose, precision, assumed):
    assert resolve_precision(precision, purpose, "cpu") == precision


def test_fp16_is_for_training_on_cuda():
    assert resolve_precision("fp16", "train", "cuda") == "fp16"
    with pytest.raises(SmoothCSEError, match="needs a CUDA device"):
        resolve_precision("fp16", "train", "cpu")
    for purpose in ("encode", "measure"):
        with pytest.raises(SmoothCSEError, match="'fp16' is unknown; choose one of auto, fp32, bf16"):
            resolve_precision("fp16", purpose, "cuda")


@pytest.mark.parametrize(
    ("device", "found", "fast"),
    [
        ("cpu", {"avx512_bf16": True}, True),
        ("cpu", {"amx_bf16": True}, True),
        ("cpu", {"avx512_f": True, "avx512_bf16": False}, False),
        ("cpu", {}, False),
        ("cuda", True, True),
        ("cuda", False, False),
        ("mps", None, False),
    ],
)
def test_bf16_support_is_read_from_the_hardware(device, found, fast, monkeypatch):
    monkeypatch.delenv(ASSUME_BF16, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: found)
    assert has_fast_bf16(device) is fast


def test_a_run_uses_bf16_on_hardware_with_bf16_instructions(assumed):
    hardware = find_hardware("auto")
    assert hardware.autocast_dtype is (torch.bfloat16 if assumed else None)
    assert hardware.describe().endswith("bf16" if assumed else "fp32")


def test_a_score_does_not_depend_on_the_hardware(tiny_bert, shared, monkeypatch):
    model = {"tiny": load_encoder(tiny_bert, device="cpu")}
    found = []
    for assume, options in (("1", {}), ("0", {}), ("1", {"precision": "auto"}), ("0", {"precision": "fp32"})):
        monkeypatch.setenv(ASSUME_BF16, assume)
        result = evaluate(model, ["sts"], shared / "data", pairs=20, **options)
        assert result.settings["models"]["tiny"]["precision"] == "fp32"
        found.append(result.scores)
    assert all(other == found[0] for other in found)
    in_bf16 = evaluate(model, ["sts"], shared / "data", pairs=20, precision="bf16")
    assert in_bf16.settings["models"]["tiny"]["precision"] == "bf16"
    assert in_bf16.scores != found[0]


@pytest.mark.parametrize("wrapped", ["", "accelerate", "outside"])
def test_fp32_is_not_affected_by_the_trainers_autocast(wrapped, tiny_bert):
    """The trainer wraps the forward of the model in autocast, and evaluation during training uses this model."""
    model, texts = load_encoder(tiny_bert, device="cpu"), sentences(20)
    expected = encode(model, texts), *dropout_views(model, texts)
    if wrapped == "accelerate":
        model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
        replaced = model.forward
        features = model.preprocess(texts)
        assert not torch.equal(model(features)["sentence_embedding"], torch.from_numpy(expected[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=wrapped == "outside"):
        found = encode(model, texts), *dropout_views(model, texts)
    np.testing.assert_array_equal(found[0], expected[0])
    assert all(torch.equal(*pair) for pair in zip(found[1:], expected[1:], strict=True))
    assert wrapped != "accelerate" or model.forward is replaced


def test_autocast_is_restored_after_an_error(tiny_bert):
    model = load_encoder(tiny_bert, device="cpu")
    model.forward = replaced = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    with pytest.raises(ZeroDivisionError), without_autocast(model):
        raise ZeroDivisionError
    assert model.forward is replaced


def test_selection_in_a_bf16_run_computes_in_fp32(tiny_bert, corpus_file, tmp_path, monkeypatch):
    """A bf16 run selects its model by the fp32 embeddings of the shipped model."""
    judged = []
    monkeypatch.setattr(selection, "encode", lambda *given: judged.append((given[1], encode(*given))) or judged[-1][1])
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "batch_size": 16, "max_steps": 2, "eval_steps": 1}
    result = train(make_config({**fields, "output": str(tmp_path / "run"), "precision": "bf16"}), console=QUIET)
    assert len(judged) == 3
    texts, rows = judged[-1]
    np.testing.assert_allclose(rows, encode(load_encoder(result.last, device="cpu"), texts), atol=1e-6)


def test_commands_that_encode_print_their_precision(tiny_bert, corpus_file, tmp_path, assumed):
    said = precision_notice("auto", "bf16" if assumed else "fp32")
    arguments = ["encode", tiny_bert, str(corpus_file), "-o", str(tmp_path / "rows.npy")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert said in " ".join(shown.output.split())
    rows = np.load(tmp_path / "rows.npy")
    model, texts = load_encoder(tiny_bert, device="cpu"), corpus_file.read_text().splitlines()
    np.testing.assert_allclose(rows, encode(model, texts, precision="bf16" if assumed else "fp32"), atol=1e-6)
    shown = CliRunner().invoke(app, [*arguments, "--precision", "fp32"])
    assert "Precision: fp32." in shown.output


def test_indexing_prints_its_precision(tiny_bert, corpus_file, tmp_path, assumed):
    pytest.importorskip("lancedb", reason="needs the extra 'search'")
    arguments = ["index", tiny_bert, str(corpus_file), "-o", str(tmp_path / "docs.index")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert precision_notice("auto", "bf16" if assumed else "fp32") in shown.output
