"""ESimCSE; its formulas are in :mod:`smoothcse.objectives.esimcse`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from smoothcse._utils.validation import CHECKED
from smoothcse.encoders.projection import PROJECTION, head_of
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.ranks import of_all_ranks
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.state import MomentumEncoder, VectorQueue
from smoothcse.methods.table import Method
from smoothcse.objectives.esimcse import repeat_subwords
from smoothcse.views.embed import Features, in_pieces


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class ESimCSE(MethodSettings):
    """Settings of ESimCSE; the defaults are the published values for BERT-base."""

    name: Literal["esimcse"] = "esimcse"
    repetition_rate: Annotated[
        float, Field(ge=0, le=1, description="Maximum share of a sentence's sub-words that its second view repeats.")
    ] = 0.32
    queue_size: Annotated[
        int, Field(ge=0, description="Earlier sentences used as negatives; published: 2.5 batches.")
    ] = 160
    momentum: Annotated[float, Field(ge=0, le=1, description="m, momentum of the encoder that embeds the queue.")] = (
        0.995
    )


class ESimCSEState(nn.Module):
    """State of ESimCSE: the queue, and the momentum encoder that fills it."""

    def __init__(self, model: SentenceTransformer, settings: ESimCSE) -> None:
        super().__init__()
        self.queue = VectorQueue(settings.queue_size, model.get_embedding_dimension() or 0)
        self.momentum = MomentumEncoder(model, settings.momentum)


class ESimCSELoss(ContrastiveLoss):
    """ESimCSE (Wu et al., COLING 2022).

    The momentum encoder starts from the pretrained weights. The released code starts it from random weights
    by mistake, so that its first negatives are close to random vectors.

    Args:
        model: Encoder.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    state: ESimCSEState
    settings: ESimCSE

    def __init__(self, model: SentenceTransformer, *, settings: ESimCSE | None = None, **others: Any) -> None:
        super().__init__(model, settings=settings or ESimCSE(), **others)
        self.state = ESimCSEState(model, self.settings).to(model.device)
        self.special = torch.tensor(model.tokenizer.all_special_ids)
        self.longest = model.max_seq_length or 512

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the sentences and a copy with repeated sub-words; labelled pairs are not changed."""
        if len(columns) > 1:
            return columns
        ids, mask = columns[0]["input_ids"], columns[0]["attention_mask"]
        self.special = self.special.to(ids.device)  # once, since a copy in each step would wait for the device
        prompt = columns[0].get("prompt_length", 0)  # unchanged, since poolings may skip this number of tokens
        words = mask.bool() & ~torch.isin(ids, self.special) & (mask.cumsum(dim=1) > prompt)
        repeated, present = repeat_subwords(
            ids,
            mask,
            words,
            rate=self.settings.repetition_rate,
            seed=self.seed,
            step=self.current_step(),
            longest=self.longest,
        )
        others = {key: value for key, value in columns[0].items() if not isinstance(value, Tensor)}
        return [columns[0], {**others, "input_ids": repeated, "attention_mask": present}]

    def further_negatives(self) -> Tensor | None:
        """Return the queue."""
        return self.state.queue.newest if len(self.state.queue) else None

    def remember(self, columns: list[Features]) -> None:
        """Update the momentum encoder, and add its embeddings of the sentences of this step to the queue."""
        if not self.settings.queue_size:
            return
        self.state.momentum.follow(self.model)
        head = head_of(self.model)
        with torch.no_grad():
            keys = in_pieces(self.state.momentum, columns[0])
            keys = keys if head is None else head({"sentence_embedding": keys})[PROJECTION]
        self.state.queue.push(of_all_ranks(keys))


METHOD = Method(
    title="ESimCSE (Wu et al., COLING 2022)",
    about="Repeats sub-words in the second view, so that length does not identify positives, and adds a queue of "
    "earlier sentences, embedded by a momentum encoder, as negatives.",
    loss=ESimCSELoss,
    settings=ESimCSE,
    encodes=3.0,
    reads_weights=True,
    pairs=True,
)
