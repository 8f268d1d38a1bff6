"""Encoders that read a sentence inside a template, at its [MASK] token.

Such an encoder is a plain sentence-transformers folder. Its tokenizer puts the template around each sentence, as other
tokenizers put [CLS] and [SEP], so that a sentence that is too long is cut and the template never is. The host's
``WordWeights`` gives the mask token weight 1 and all others 0, so that the mean that follows is the mask's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from pydantic_core import PydanticCustomError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Pooling,
    Transformer,
    WeightedLayerPooling,
    WordWeights,
)
from tokenizers import AddedToken, Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import PreTrainedTokenizerFast

from smoothcse.encoders.assemble import assemble
from smoothcse.encoders.length import require_room
from smoothcse.errors import SmoothCSEError

SENTENCE, MASK = "{sentence}", "{mask}"


class Prompt(NamedTuple):
    """A template in a tokenizer's ids, what stands before the sentence and after it, special tokens included."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of the template."""
        return len(self.before) + len(self.after)


def with_template(model: SentenceTransformer, template: str, new_tokens: Sequence[str] = ()) -> SentenceTransformer:
    """Return an encoder that reads each sentence at the mask of a template.

    Args:
        model: starts with a transformer whose tokenizer is a fast one with a mask token. Its modules are shared, and
            its own pooling is left out; a training head and a normalisation stay.
        template: such as ``This sentence : "{sentence}" means {mask} .``, which holds each of the two once.
        new_tokens: words of the template to be learned. They join the vocabulary, unless they are there already; their
            vectors start as random ones of the mean and the spread of all the others, the same ones each time.

    Raises:
        SmoothCSEError: if the model has no mask token to read, or no room for a sentence beside the template.
    """
    transformer = model[0]
    if not isinstance(transformer, Transformer):
        raise SmoothCSEError(
            f"A template needs a transformer, and this model starts with a {type(transformer).__name__}; "
            "start from another."
        )
    tokenizer = _own_tokenizer(transformer.tokenizer, new_tokens)
    _add_rows(transformer, len(tokenizer), len(new_tokens))
    [prompt] = read_prompts(tokenizer, [template])
    _write_template(tokenizer.backend_tokenizer, prompt)
    transformer.processor = tokenizer
    others = [
        module for module in list(model)[1:] if not isinstance(module, Pooling | WordWeights | WeightedLayerPooling)
    ]
    prompted = assemble([transformer, *_reading_mask(transformer, tokenizer), *others], model)
    require_room(prompted, tokenizer.model_max_length)
    return prompted


def read_prompts(tokenizer: PreTrainedTokenizerFast, templates: Sequence[str]) -> list[Prompt]:
    """Return templates in a tokenizer's ids.

    The blank before the sentence belongs to the sentence: tokenizers that keep blanks are made to put one there.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    _set_prefix_space(backend, False)

    def ids(text: str) -> list[int]:
        return list(backend.encode(text, add_special_tokens=False).ids)

    prompts = []
    for template in templates:
        before, after = template.replace(MASK, str(tokenizer.mask_token)).split(SENTENCE)
        before_ids = [tokenizer.cls_token_id, *ids(before.rstrip())]
        prompts.append(Prompt(tuple(before_ids), (*ids(after), tokenizer.sep_token_id)))
    return prompts


def check_template(template: str) -> str:
    """Return a template that holds the sentence and the mask once each; for settings."""
    if template.count(SENTENCE) != 1 or template.count(MASK) != 1:
        raise PydanticCustomError("template", "a template holds {sentence} once and {mask} once")
    return template


def _own_tokenizer(tokenizer: Any, new_tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a copy of a tokenizer, of the one class that loads its post-processor instead of making a new one."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or None in (
        tokenizer.mask_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    ):
        raise SmoothCSEError(
            "This encoder has no fast tokenizer with mask, start and end tokens, so that no template can be read at "
            "its mask; start from a BERT, a RoBERTa or another masked language model."
        )
    copy = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
        padding_side="right",
        truncation_side=tokenizer.truncation_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
        **tokenizer.special_tokens_map,
    )
    # A blank before one of them is no token, whatever the tokenizer makes of blanks.
    copy.add_tokens([AddedToken(token, lstrip=True, normalized=False, special=True) for token in new_tokens])
    backend = copy.backend_tokenizer
    backend.no_padding()  # what the last call has left would be saved
    backend.no_truncation()
    _set_prefix_space(backend, True)
    return copy


def _set_prefix_space(backend: Tokenizer, value: bool) -> None:
    splitter = backend.pre_tokenizer
    if isinstance(splitter, ByteLevel):
        splitter.add_prefix_space = value
        backend.pre_tokenizer = splitter


def _write_template(backend: Tokenizer, prompt: Prompt) -> None:
    parts = {"before": prompt.before, "after": prompt.after}
    backend.post_processor = TemplateProcessing(
        single=["before", "$A", "after"],
        pair=["before", "$A", "$B", "after"],
        special_tokens=[
            {"id": name, "ids": list(ids), "tokens": [str(backend.id_to_token(token)) for token in ids]}
            for name, ids in parts.items()
        ],
    )


def _add_rows(transformer: Transformer, words: int, new: int) -> None:
    """Make the table of word vectors long enough, with rows of their own for the new words."""
    table = transformer.model.get_input_embeddings().weight
    if not new or words <= len(table):
        return
    old = len(table)
    mean, spread = table.detach().mean(dim=0), table.detach().std(dim=0)
    draws = torch.randn(words - old, table.shape[1], generator=torch.Generator().manual_seed(0)).to(mean)
    transformer.model.resize_token_embeddings(words, mean_resizing=False)
    with torch.no_grad():
        transformer.model.get_input_embeddings().weight[old:] = mean + spread * draws


def _reading_mask(transformer: Transformer, tokenizer: PreTrainedTokenizerFast) -> list[nn.Module]:
    vocabulary = [token or "" for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    weights = WordWeights(vocabulary, {str(tokenizer.mask_token): 1.0}, unknown_word_weight=0.0)
    return [weights.requires_grad_(False), Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")]
