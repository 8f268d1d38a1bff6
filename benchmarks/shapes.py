"""Encoders of published shapes with random weights, and the arithmetic of a training step."""

from __future__ import annotations

from pathlib import Path

import torch
from harness import tensor_device
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, BertConfig, BertModel

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.pretrained import resolve_name

MAX_LENGTH = 32
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
SHAPES: dict[str, dict[str, int]] = {"MiniLM": MINILM, "bert-base": {}, "bert-large": LARGE}


def encoder_of(name: str, model: str, folder: Path, quick: bool = False) -> str:
    """Return the folder or name of an encoder to measure.

    Args:
        name: ``MiniLM`` for ``model`` itself; another key of :data:`SHAPES` for random weights of that shape.
        model: Model folder or hub name. A folder without weights is a tokenizer; MiniLM has random weights then.
        folder: Folder for new models.
        quick: Whether a new model is tiny.
    """
    source = str(resolve_name(model))
    if name == "MiniLM" and not (Path(source).is_dir() and not list(Path(source).glob("*.safetensors"))):
        return source
    return random_bert(folder / name, TINY if quick else SHAPES[name], source)


def random_bert(folder: Path, shape: dict[str, int], tokenizer: str) -> str:
    """Save a BERT of a published shape with random weights and another model's tokenizer; return its folder."""
    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(tokenizer)
    with torch.device(tensor_device()):
        model = BertModel(BertConfig(vocab_size=max(30522, len(words)), **shape))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def useful_gflop(model: str, sentences: list[str]) -> float:
    """Return the GFLOP of two views of a batch without padding: 6 FLOP per token and non-embedding weight."""
    encoder: SentenceTransformer = build_encoder(model, "cls", max_length=MAX_LENGTH)
    layers = sum(p.numel() for name, p in encoder[0].named_parameters() if ".encoder." in name or ".layer." in name)
    tokens = 2 * int(encoder.preprocess(sentences)["attention_mask"].sum())
    return 6 * layers * tokens / 1e9
