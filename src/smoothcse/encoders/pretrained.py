"""Pretrained models, read through sentence-transformers after they have been checked."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from smoothcse._utils.paths import local_path
from smoothcse.encoders.length import positions_of
from smoothcse.encoders.packaged import PACKAGED_MINILM, packaged_minilm_folder
from smoothcse.encoders.safety import SAFE_WEIGHTS, require_safe_folder, require_safe_repository
from smoothcse.encoders.static_inference import is_static
from smoothcse.errors import SmoothCSEError, first_line


class _StaticConfig(PretrainedConfig):
    """Settings of a static model of model2vec, so that transformers knows the architecture."""

    model_type = "model2vec"


AutoConfig.register(_StaticConfig.model_type, _StaticConfig, exist_ok=True)

_LARGEST_LENGTH = 2**31 - 1  # of a model without positions; tokenizers cannot count to 10^30


def resolve_name(name_or_path: str | Path) -> str:
    """Return the folder or hub name of a model, as the host accepts it.

    Args:
        name_or_path: Folder, hub name or ``packaged-minilm``.

    Raises:
        SmoothCSEError: If the name is empty, or the packaged model is not installed.
    """
    if not str(name_or_path):  # an empty path would mean the working directory
        raise SmoothCSEError("The name of the model is empty; give a folder or a hub name.")
    if str(name_or_path) != PACKAGED_MINILM:
        return str(name_or_path)
    return str(packaged_minilm_folder())


def read_config(name: str) -> PretrainedConfig:
    """Read the Hugging Face configuration of a model, and check that the model is safe to load.

    Args:
        name: Folder or hub name.

    Raises:
        SmoothCSEError: If the model does not exist, cannot be downloaded, or is refused as unsafe.
    """
    folder = local_path(name)
    if os.path.isfile(folder):
        raise SmoothCSEError(f"The model {name} is a file; give a folder or a hub name.")
    if os.path.isdir(folder):
        if not (folder / "config.json").is_file():
            raise SmoothCSEError(
                f"{name} contains no config.json, so it is not a transformer model; give the folder of a saved model."
            )
        require_safe_folder(folder)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise SmoothCSEError(
            f"The model {name} is neither a folder on this machine nor available from the hub; check the name and the "
            f"network, or give the path of a downloaded model ({first_line(error)})"
        ) from error
    if not os.path.isdir(folder):
        require_safe_repository(name)
    return config


def load_pretrained(name: str, config_kwargs: dict[str, Any], device: str | None) -> SentenceTransformer:
    """Load a model in fp32, with a tokenizer that fits its weights and can pad.

    Args:
        name: Folder or hub name, checked by :func:`read_config`.
        config_kwargs: Configuration entries to change.
        device: Device, as torch names it; None for the best one available.

    Raises:
        SmoothCSEError: If the model is damaged, or its tokenizer is missing or belongs to another model.
    """
    # The host warns that a bare Hugging Face model has no pooling and gets one. That is intended here.
    host_log = logging.getLogger("sentence_transformers.base.model")
    level = host_log.level
    host_log.setLevel(logging.ERROR)
    try:
        model = SentenceTransformer(
            name, device=device, model_kwargs=dict(SAFE_WEIGHTS), config_kwargs=config_kwargs, trust_remote_code=False
        )
    except Exception as error:  # each library that reads a damaged file raises its own class
        reason = first_line(error)
        if "ignore_mismatched_sizes" in reason:  # following this advice would leave weights randomly initialised
            reason = "its weights have other shapes than its config.json says; copy the whole folder again."
        raise SmoothCSEError(f"The model {name} cannot be loaded: {reason}") from error
    finally:
        host_log.setLevel(level)
    check_vocabulary(model, name)
    _require_padding(model, name)
    _limit_length(model)
    return model.float()  # fp32 master weights, also for a checkpoint saved in half precision


def _limit_length(model: SentenceTransformer) -> None:
    """Cut the length limit to the positions of the model; a tokenizer without a limit of its own names 10^30."""
    if is_static(model):  # its tokenizer truncates
        return
    positions, own = positions_of(model), model.max_seq_length
    limit = positions if own is None else min(own, positions or _LARGEST_LENGTH)
    if limit != own:
        model.max_seq_length = limit


def check_vocabulary(model: SentenceTransformer, name: str) -> None:
    """Refuse a tokenizer of another model. Without tokenizer files the host creates one with an empty vocabulary."""
    tokenizer, rows = model.tokenizer, getattr(getattr(model[0], "config", None), "vocab_size", None)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise SmoothCSEError(f"The model {name} has no vocabulary; copy the tokenizer's files into the folder too.")
    if isinstance(rows, int) and len(tokenizer) > rows:
        raise SmoothCSEError(
            f"The model {name} has a tokenizer of {len(tokenizer):,} tokens and weights for {rows:,}, so the two do "
            "not belong together; copy the whole folder again."
        )


def _require_padding(model: SentenceTransformer, name: str) -> None:
    """Let a tokenizer without a padding token, such as Llama's, pad with its end token, which is masked."""
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token_id is not None:
        return
    if tokenizer.eos_token_id is None:
        raise SmoothCSEError(
            f"The tokenizer of {name} has neither a padding token nor an end token, so sentences of different lengths "
            "cannot be encoded together; set its pad_token and save it again."
        )
    tokenizer.pad_token = tokenizer.eos_token
