"""Whether two models are one: a digest of all that decides what a model computes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from smoothcse.encoders.prompts import has_prompts

_PROMPT_RULE = "queries and documents have prompts of their own"
"""Distinguishes indexes from those made when all texts got the default prompt, whose vectors cannot be compared."""

_SAYS_NOTHING = ("_name_or_path", "transformers_version", "architectures", "dtype")


def fingerprint(model: SentenceTransformer) -> str:
    """Return 32 hex digits that depend on what decides a model's embeddings, and not on where the model lies.

    These are its modules with their settings, its weights bit for bit, its tokenizer, its length limit and its
    prompts. Versions of libraries are left out: they may change the last bits of an embedding, no more.
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
    return {name: value for name, value in values.items() if name not in _SAYS_NOTHING}


def tokenizer_state(tokenizer: Any) -> Any:
    """Return what decides how a tokenizer cuts text, as plain values."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return [type(tokenizer).__name__, tokenizer.get_vocab()]
    state = json.loads(backend.to_str())
    return {name: value for name, value in state.items() if name not in ("padding", "truncation")}  # of its last use
