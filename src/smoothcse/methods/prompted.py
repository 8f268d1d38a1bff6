"""Base class of the methods with templates, which subtract the state of the bare template."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import PretrainedConfig

from smoothcse.encoders.projection import PROJECTION, head_of
from smoothcse.encoders.templates import read_prompts
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.objectives.promptbert import one_of_each
from smoothcse.objectives.templates import Templates, move_sentences, template_places
from smoothcse.views.embed import READ, Features, Reader, run

OF_TEMPLATE = "of_template"
"""Key in a view's features of the mask of its template tokens, long ``(N, L)``."""


class PromptedLoss(ContrastiveLoss):
    """Loss whose views are one sentence in several templates.

    Args:
        model: Encoder with the first template.
        templates: Templates of the views, the template of the encoder first.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.

    Raises:
        SmoothCSEError: If the encoder has another template or no template.
    """

    def __init__(self, model: SentenceTransformer, *, templates: Sequence[str], **others: Any) -> None:
        super().__init__(model, **others)
        prompts = read_prompts(model.tokenizer, templates)
        before, after = prompts[0]
        if model.tokenizer("")["input_ids"] != [*before, *after]:
            raise SmoothCSEError(
                f"This encoder does not use the template {templates[0]!r}; prepare it with the `prepare` function of "
                "the method, as `smoothcse.train` does."
            )
        self.source = (len(before), len(after))
        self.templates = Templates(prompts)
        self.pad = model.tokenizer.pad_token_id
        self.longest = model.max_seq_length or 512
        self.first_position = _first_position(model[0].config)

    def in_template(self, column: Features, chosen: int | Tensor, reader: Reader | None = None) -> Features:
        """Move the sentences of a column from the encoder's template to other templates.

        Args:
            column: Features of N rows.
            chosen: Number of the template, one for all rows or long ``(N,)``.
            reader: Reader of the view, which finds the template mask under ``OF_TEMPLATE``; None for the default.
        """
        ids, mask = column["input_ids"], column["attention_mask"]
        moved, present, of_template = move_sentences(
            ids,
            mask,
            self.source,
            self.templates.to(ids.device),
            torch.as_tensor(chosen, device=ids.device).expand(len(ids)),
            pad=self.pad,
            longest=self.longest,
        )
        others = {key: value for key, value in column.items() if not isinstance(value, Tensor)}
        view = {**others, "input_ids": moved, "attention_mask": present}
        return view if reader is None else {**view, READ: reader, OF_TEMPLATE: of_template}

    def without_template(self, shared: bool) -> Reader:
        """Return a reader that subtracts the state of the template without the sentence.

        Args:
            shared: Whether rows with the same template and length share that state, including its dropout.
        """
        return partial(_read_denoised, size=self.templates.longest, offset=self.first_position, shared=shared)


def _read_denoised(model: nn.Module, features: Features, *, size: int, offset: int | None, shared: bool) -> Tensor:
    features = dict(features)
    of_template = features.pop(OF_TEMPLATE)
    states = _mask_states(model, features)
    alone = {key: value for key, value in features.items() if isinstance(value, Tensor)}
    alone["attention_mask"] = of_template
    kinds = None
    if shared:
        firsts, kinds = one_of_each(of_template)
        alone = {key: value[firsts] for key, value in alone.items()}
    if offset is not None:
        places = template_places(alone["attention_mask"], size)
        rows = torch.arange(len(places), device=places.device).unsqueeze(1)
        alone = {key: value[rows, places] for key, value in alone.items()}
        alone["position_ids"] = places + offset
    noise = _mask_states(model, {**features, **alone})
    denoised = states - (noise if kinds is None else noise[kinds])
    head = head_of(model)
    return denoised if head is None else head({"sentence_embedding": denoised})[PROJECTION]


def _mask_states(model: nn.Module, features: Features) -> Tensor:
    """Return the state of the mask token, ``(N, d)``, before any normalisation."""
    output = run(model, features)
    states: Tensor = output["token_embeddings"].sum(dim=1) / output["token_weights_sum"].unsqueeze(1)
    return states


def _first_position(config: PretrainedConfig) -> int | None:
    """Return the position id of the first token if the encoder has absolute positions only, otherwise None."""
    if config.model_type in ("bert", "electra", "distilbert"):
        return 0
    return int(config.pad_token_id) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else None
