"""Each family of encoders trains on two dropout views, resumes exactly, and ships a plain model.

The table in docs/how-to/encoders.md consists of the rows that these tests make. If a row changes, the failing test
shows the new one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from interrupted import train_interrupted
from repository import REPOSITORY
from smoothcse.encoders.bidirectional import attend_both_ways
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.dropout_rate import dropout_settings
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.pooling import pooling_of
from smoothcse.encoders.projection import PROJECTION
from smoothcse.errors import SmoothCSEError
from smoothcse.export.export_model import export_model
from smoothcse.training import TrainConfig, train
from tiny import save_tiny_generator, save_tiny_model, sentences

PAGE = REPOSITORY / "docs" / "how-to" / "encoders.md"
QUIET = Console(quiet=True)
TEXTS = sentences(32)
ENCODERS = {
    "bert": "BERT, MiniLM, BGE, GTE",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-R, multilingual E5, BGE-M3",
    "distilbert": "DistilBERT",
    "mpnet": "MPNet",
    "electra": "ELECTRA",
    "albert": "ALBERT",
    "deberta-v2": "DeBERTa-v2 and -v3",
    "modernbert": "ModernBERT",
    "nomic_bert": "NomicBERT",
    "eurobert": "EuroBERT",
}
GENERATORS = {
    "t5": "T5 (its encoder)",
    "gpt2": "GPT-2",
    "gpt_neox": "GPT-NeoX, Pythia",
    "llama": "Llama, TinyLlama, SmolLM",
    "mistral": "Mistral, E5-Mistral",
    "qwen2": "Qwen2, GTE-Qwen2",
    "qwen3": "Qwen3, Qwen3-Embedding",
    "gemma": "Gemma",
    "gemma3_text": "Gemma 3, EmbeddingGemma",
    "phi3": "Phi-3",
}
FAMILIES = ENCODERS | GENERATORS


def save(folder, architecture):
    if architecture in ENCODERS:
        return save_tiny_model(folder, architecture)
    return save_tiny_generator(folder, architecture, pad_token="[PAD]")


def row(architecture, start, shipped):
    """Return the family's line of the table. The start is changed where it can attend in both directions."""
    config = shipped[0].config
    rates = ", ".join(f"`{field}`" for field in dropout_settings(config, 0.1, "it"))
    both = "" if architecture in ENCODERS else "yes"
    try:
        attend_both_ways(start, "it")
    except SmoothCSEError as error:
        both = "" if "is not causal" in str(error) else "no"
    return f"| {FAMILIES[architecture]} | `{config.model_type}` | {rates} | {pooling_of(shipped)} | {both} |"


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_family_trains_resumes_and_ships(architecture, tmp_path, monkeypatch):
    start = save(tmp_path / "start", architecture)
    (tmp_path / "text.txt").write_text("\n".join(TEXTS))
    model = build_encoder(start, dropout=0.1, device="cpu")
    pair = model.preprocess([TEXTS[0]] * 2)
    with torch.no_grad():
        assert not torch.allclose(*model.train()(dict(pair))[PROJECTION], atol=1e-3)
        assert torch.allclose(*model.eval()(dict(pair))[PROJECTION], atol=1e-6)

    config = TrainConfig(
        corpus=str(tmp_path / "text.txt"),
        model=start,
        dropout=0.1,
        batch_size=8,
        max_steps=3,
        eval_steps=2,
        log_steps=1,
        learning_rate=1e-3,
        dev="none",
        precision="fp32",
        output=str(tmp_path / "run"),
    )
    whole = train(config, console=QUIET).folder / "last"
    cut = train_interrupted(config.replace(output=str(tmp_path / "cut")), 3, monkeypatch).folder / "last"
    weights, resumed = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    assert weights.keys() == resumed.keys()
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)

    trained = load_encoder(whole, device="cpu")
    rows = encode(trained, TEXTS)
    assert not np.allclose(rows, encode(model, TEXTS), atol=1e-4)
    export_model(trained, tmp_path / "exported", "safetensors", TEXTS, console=QUIET)
    plain = SentenceTransformer(str(tmp_path / "exported"), device="cpu", trust_remote_code=False)
    np.testing.assert_allclose(plain.encode(TEXTS), rows, atol=1e-5)
    assert row(architecture, model, plain) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_table_has_a_row_for_each_family():
    _, _, following = PAGE.read_text(encoding="utf-8").partition("| family |")
    _, _, *rows = following.partition("\n\n")[0].splitlines()
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(FAMILIES.values())
