"""SimCSE, with the options of its published script: the symmetric form and masked language modelling."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.validation import CHECKED
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.masked_lm import TARGETS, MaskedLMHead
from smoothcse.methods.ranks import of_all_ranks
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.objectives.masked_lm import mask_tokens
from smoothcse.views.embed import READ, Features


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class SimCSE(MethodSettings):
    """Settings of SimCSE's optional parts, off by default as in the published runs."""

    name: Literal["simcse"] = "simcse"
    symmetric: Annotated[
        bool, Field(description="Also contrast each positive with all anchors, and average both losses.")
    ] = False
    mlm_weight: Annotated[
        float, Field(ge=0, description="Weight of an additional masked-language loss; published: 0.1.")
    ] = 0.0
    mlm_probability: Annotated[
        float, Field(gt=0, lt=1, description="Share of the tokens that are masked for this loss.")
    ] = 0.15


class SimCSELoss(ContrastiveLoss):
    """SimCSE (Gao et al., EMNLP 2021), unsupervised or on pairs and triplets, with its optional parts.

    With noise it is GS-InfoNCE.

    Args:
        model: Encoder.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    state: MaskedLMHead | None
    settings: SimCSE

    def __init__(self, model: SentenceTransformer, *, settings: SimCSE | None = None, **others: Any) -> None:
        settings = settings or SimCSE()
        super().__init__(model, settings=settings, **others)
        self.symmetric = self.symmetric or settings.symmetric
        if self.settings.mlm_weight:
            self.state = MaskedLMHead(model).to(model.device)
            self.special = torch.tensor(model.tokenizer.all_special_ids)
            ids = torch.arange(len(self.state.bias))
            self.vocabulary = ids[~torch.isin(ids, self.special)]
            self.mask_id: int = model.tokenizer.mask_token_id

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the texts, preceded by masked copies if there is a masked-language loss.

        The copies come first because gradient caching synchronises ranks at the last view, which must reach every
        weight.
        """
        if self.state is None:
            return columns
        whole = columns if len(columns) > 1 else columns * 2
        return [*(self._masked(column) for column in columns), *whole]

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of this rank's views: contrastive loss, and masked-language loss if there is one."""
        copies = 0 if self.state is None else max(1, len(embeddings) // 2)
        masked, (anchors, positives, *hard) = embeddings[:copies], embeddings[copies:]
        loss = self.contrast(anchors, positives, *hard)
        return loss + self.settings.mlm_weight * _mean_over_ranks(torch.cat(masked)) if masked else loss

    def _masked(self, column: Features) -> Features:
        assert self.state is not None
        ids, mask = column["input_ids"], column["attention_mask"]
        masked, targets = mask_tokens(
            ids,
            mask,
            mask.bool() & ~torch.isin(ids, self.special.to(ids.device)),
            probability=self.settings.mlm_probability,
            mask_id=self.mask_id,
            vocabulary=self.vocabulary.to(ids.device),
            seed=self.seed,
            step=self.current_step(),
        )
        return {**column, "input_ids": masked, TARGETS: targets, READ: self.state.read}


def _mean_over_ranks(sums_and_counts: Tensor) -> Tensor:
    """Return this rank's part of the loss, so that the mean over ranks is the mean over all masked tokens."""
    total, count = sums_and_counts.sum(dim=0)
    counts = of_all_ranks(count.reshape(1))
    mean: Tensor = total * len(counts) / counts.sum().clamp(min=1)
    return mean


METHOD = Method(
    title="SimCSE (Gao et al., EMNLP 2021); with noise GS-InfoNCE (Wu et al., COLING 2022)",
    about="Two dropout views of each sentence, or labelled pairs, attract each other; all other sentences of the "
    "batch repel them.",
    loss=SimCSELoss,
    settings=SimCSE,
    pairs=True,
)
