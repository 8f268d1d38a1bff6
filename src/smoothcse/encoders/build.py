"""Building of encoders for training."""

from __future__ import annotations

from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import WordWeights
from torch import nn

from smoothcse._utils.choices import PoolingName
from smoothcse.encoders.assemble import assemble
from smoothcse.encoders.behaviour import require_distinct_embeddings, require_no_effect_of_padding
from smoothcse.encoders.bidirectional import attend_both_ways, reads_both_ways
from smoothcse.encoders.dropout_rate import dropout_settings
from smoothcse.encoders.length import check_length
from smoothcse.encoders.pooling import check_pooling, pooling_settings, with_pooling
from smoothcse.encoders.pretrained import load_pretrained, read_config, resolve_name
from smoothcse.encoders.projection import with_projection


def build_encoder(
    name_or_path: str | Path,
    pooling: PoolingName | None = None,
    projection: bool = True,
    dropout: float | None = None,
    max_length: int | None = 32,
    *,
    device: str | None = None,
    seed: int = 0,
    needs_dropout: bool = True,
    bidirectional: bool = False,
) -> SentenceTransformer:
    """Build an encoder that can be trained with two dropout views.

    Args:
        name_or_path: Hugging Face encoder or sentence-transformers model, as a folder or a hub name.
        pooling: How the token embeddings become one vector. ``cls`` (the raw [CLS] state, SimCSE's
            ``cls_before_pooler``), ``mean``, ``max``, ``lasttoken``, ``avg_first_last`` (mean over tokens of the
            average of the first and the last layer, the first being hidden state 1) or ``avg_top2`` (likewise, the
            last two layers). None keeps the pooling of a sentence-transformers model; other models use ``lasttoken``
            if they are causal, ``mean`` if they are causal by design and read in both directions, otherwise ``cls``.
        projection: Whether to add SimCSE's projection head, see :mod:`smoothcse.encoders.projection`.
        dropout: Rate for all of the encoder's dropout; None keeps the model's rates.
        max_length: Tokens per sentence, special tokens included. Longer sentences are truncated, by the saved model
            too. None keeps the model's limit, as :func:`smoothcse.train` does, which truncates in training only.
        device: Device, as torch names it; None for the best one available.
        seed: Seed of the head's initial weights.
        needs_dropout: Whether an encoder without dropout is refused; false if its views differ by their text, or by
            the dropout of adapters.
        bidirectional: Whether each token of a causal model attends to all tokens, as in LLM2Vec. The saved model
            does, too.

    Returns:
        A plain ``SentenceTransformer``; :func:`~smoothcse.encoders.projection.strip_projection` returns the model
        without its head.

    Raises:
        SmoothCSEError: If the model cannot be found or read, the pooling is unknown or does not suit the model, or no
            dropout is active (two views of a sentence would be identical and the loss constant), or the model cannot
            attend in both directions, or its embeddings depend on the padding.
    """
    check_pooling(pooling)
    name = resolve_name(name_or_path)
    config = read_config(name)
    rates = dropout_settings(config, dropout, name) if needs_dropout or dropout is not None else {}
    pretrained = load_pretrained(name, rates | pooling_settings(pooling), device)
    if bidirectional:
        attend_both_ways(pretrained, name)
    model = with_pooling(pretrained, name, pooling, default="mean" if reads_both_ways(pretrained) else "cls")
    require_distinct_embeddings(model, name)
    require_no_effect_of_padding(model, name)
    if projection:
        model = assemble(with_projection(list(model), seed), model)
    if max_length is not None:
        model.max_seq_length = check_length(max_length, model, name)
    _freeze_unused_parts(model)
    return model


def _freeze_unused_parts(model: SentenceTransformer) -> None:
    """Exclude a pretrained pooler and token weights from training.

    Pooling reads the raw states, so the pooler never receives a gradient. It stays in the model, so that the saved
    folder loads without a warning about missing weights.
    """
    for module in model:
        if isinstance(module, WordWeights):
            module.requires_grad_(False)
    pooler = getattr(getattr(model[0], "model", None), "pooler", None)
    if isinstance(pooler, nn.Module):
        pooler.requires_grad_(False)
