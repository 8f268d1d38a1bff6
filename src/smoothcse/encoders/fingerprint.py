"""Fingerprint of a model: a digest of everything that determines its embeddings."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from smoothcse.encoders.prompts import has_prompts

_PROMPT_RULE = "queries and documents have prompts of their own"
"""Distinguishes these indexes from old ones, in which all texts had the default prompt. They are not comparable."""

_IRRELEVANT = ("_name_or_path", "transformers_version", "architectures", "dtype")


def fingerprint(model: SentenceTransformer) -> str:
    """Return a fingerprint of a model, which is independent of the model's location.

    It covers the modules with their settings, the weights bit for bit, the tokenizer, the length limit and the
    prompts. It does not cover the versions of libraries, which may change only the last bits of an embedding.

    Args:
        model: Any sentence-transformers model.

    Returns:
        32 hex digits.
    """
    settings = {
        "modules": [[type(module).__name__, module.get_config_dict()] for module in model],
        "configuration": _configuration(model),
        "tokenizer": tokenizer_state(model.tokenizer),
        "max_seq_length": model.max_seq_length,
        "prompts": [model.prompts, model.default_prompt_name, *([_PROMPT_RULE] if has_prompts(model) else [])],
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _configuration(model: SentenceTransformer) -> dict[str, Any]:
    config: Any = getattr(model[0], "config", None)
    values: dict[str, Any] = config.to_dict() if hasattr(config, "to_dict") else {}
    return {name: value for name, value in values.items() if name not in _IRRELEVANT}


def tokenizer_state(tokenizer: Any) -> Any:
    """Return everything that determines how a tokenizer splits text, as plain values."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return [type(tokenizer).__name__, tokenizer.get_vocab()]
    state = json.loads(backend.to_str())
    return {name: value for name, value in state.items() if name not in ("padding", "truncation")}  # set by each call
