"""Encoders that read a sentence inside a template, at its [MASK] token.

Such an encoder is a plain sentence-transformers folder. Its tokenizer adds the template to each sentence like other
tokenizers add [CLS] and [SEP], so that sentences are truncated and the template never is. The host's ``WordWeights``
gives the mask token weight 1 and all other tokens weight 0, so that mean pooling returns the state of the mask.
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
    """Token ids of a template, special tokens included.

    Attributes:
        before: Ids before the sentence.
        after: Ids after the sentence.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def length(self) -> int:
        """Number of tokens of the template."""
        return len(self.before) + len(self.after)


def with_template(model: SentenceTransformer, template: str, new_tokens: Sequence[str] = ()) -> SentenceTransformer:
    """Return an encoder that reads each sentence at the mask of a template.

    Args:
        model: Encoder that starts with a transformer whose fast tokenizer has a mask token. The result shares its
            modules, except for the pooling, which is replaced. A projection head and a normalisation are kept.
        template: Template such as ``This sentence : "{sentence}" means {mask} .``, with one of each placeholder.
        new_tokens: Words of the template to be learned. They are added to the vocabulary if it lacks them. Their
            embeddings are drawn at random with the mean and standard deviation of the other embeddings, from a fixed
            seed.

    Raises:
        SmoothCSEError: If the model has no mask token, or no room for a sentence beside the template.
    """
    transformer = model[0]
    if not isinstance(transformer, Transformer):
        raise SmoothCSEError(
            f"A template needs a transformer, and this model starts with a {type(transformer).__name__}; "
            "start from another model."
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
    """Return the token ids of templates.

    The space before the sentence counts as part of the sentence: tokenizers that keep spaces add it there.

    Args:
        tokenizer: Tokenizer of the encoder.
        templates: Templates, each with one ``{sentence}`` and one ``{mask}``.
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
    """Validate a template in settings: it must contain ``{sentence}`` and ``{mask}`` once each."""
    if template.count(SENTENCE) != 1 or template.count(MASK) != 1:
        raise PydanticCustomError("template", "a template must contain {sentence} once and {mask} once")
    return template


def _own_tokenizer(tokenizer: Any, new_tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a copy of a tokenizer in the only class that loads its post-processor instead of building a new one."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or None in (
        tokenizer.mask_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    ):
        raise SmoothCSEError(
            "A template needs a fast tokenizer with mask, start and end tokens, which this encoder does not have; "
            "start from BERT, RoBERTa or another masked language model."
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
    # A space before a new token is not a token, even if the tokenizer keeps spaces.
    copy.add_tokens([AddedToken(token, lstrip=True, normalized=False, special=True) for token in new_tokens])
    backend = copy.backend_tokenizer
    backend.no_padding()  # settings of the last call would be saved
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
    """Extend the token embeddings by rows for the new tokens."""
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
