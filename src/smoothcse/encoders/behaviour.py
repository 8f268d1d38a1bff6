"""Checks that run a loaded model: whether it is causal, and whether it distinguishes sentences."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import PreTrainedTokenizerBase

from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError

# Both start with the same word, so a causal model that is read at its first token cannot distinguish them.
_PAIR = ("The cat sleeps on the warm windowsill.", "The price of oil rose sharply on Friday.")

# Relative to the largest component. Rounding differences between rows of a batch are smaller, those between texts far
# larger.
_SAME = 1e-5


# Relative to the largest component. Kernels of other shapes round differently; padding that is read changes far more.
_PADDING_EFFECT = 1e-2


def is_causal(transformer: Transformer, *, padded: bool = False) -> bool:
    """Return whether the states of a transformer are independent of later tokens, as in GPT-2 and Llama.

    Configurations do not record this reliably, so two inputs that differ in their last token are compared.

    Args:
        transformer: Transformer to run.
        padded: Whether the inputs are padded, which may select other kernels.
    """
    words = transformer.model.get_input_embeddings().weight.shape[0]
    first, second = words // 2, words // 3
    ids = torch.tensor([[first, second, first], [first, second, second]], device=transformer.model.device)
    ids = torch.nn.functional.pad(ids, (0, int(padded)))
    mask = torch.ones_like(ids)
    mask[:, 3:] = 0
    training = transformer.training
    transformer.eval()
    with torch.no_grad():
        states = transformer({"input_ids": ids, "attention_mask": mask})["token_embeddings"][:, 0]
    transformer.train(training)
    return _are_same(states)


def runs_decoder(transformer: Transformer) -> bool:
    """Return whether a transformer is an encoder-decoder that runs as a whole, such as BART (T5 loads its encoder)."""
    return "decoder_input_ids" in signature(transformer.model.forward).parameters


def require_distinct_embeddings(model: SentenceTransformer, name: str, texts: Sequence[str] = _PAIR) -> None:
    """Check that different texts get different embeddings. Texts with equal tokens count as one.

    Args:
        model: Any sentence-transformers model.
        name: Name of the model in messages.
        texts: At least two texts. Default: two English sentences.

    Raises:
        SmoothCSEError: If all embeddings are equal.
    """
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    tokens = tokenizer(list(texts), truncation=True, max_length=model.max_seq_length)["input_ids"]
    distinct = list({tuple(ids): text for ids, text in zip(tokens, texts, strict=True)}.values())
    if len(distinct) > 1 and _are_same(torch.from_numpy(encode(model, distinct))):
        raise SmoothCSEError(
            f"{name} gives different sentences the same embedding: it pools a token that does not depend on the "
            "sentence, or its prompt leaves no room for one. Choose another pooling, such as --pooling mean or "
            "--pooling lasttoken, or another model."
        )


def require_no_effect_of_padding(model: SentenceTransformer, name: str) -> None:
    """Check that the embedding of a text does not depend on the padding beside it.

    Args:
        model: Any sentence-transformers model.
        name: Name of the model in messages.

    Raises:
        SmoothCSEError: If it does.
    """
    if not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return
    short = _PAIR[0].split()[0]
    alone, padded = (torch.from_numpy(encode(model, texts)[-1:]) for texts in ([short], [_PAIR[1], short]))
    if (alone - padded).abs().max() > _PADDING_EFFECT * alone.abs().max():
        raise SmoothCSEError(
            f"{name} reads the padding of a batch as if it were text, so that the embedding of a sentence depends on "
            "its neighbours; start from an encoder whose architecture takes an attention mask."
        )


def _are_same(rows: torch.Tensor) -> bool:
    return bool((rows - rows[0]).abs().max() <= _SAME * rows.abs().max())  # False for NaN, which evaluation reports
