"""Guards: they watch what a loss curve does not show, and say what it means and what to do."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.objectives.geometry import effective_rank, mean_cosine, uniformity
from smoothcse.training.warnings import Notices
from smoothcse.views.embed import dropout_views

_INACTIVE_SHARE, _DROWNING_SHARE = 0.001, 0.99
_LOGS_BEFORE_JUDGING = 3  # a fresh head makes all outputs alike, and the in-batch negatives outweigh any noise
_COLLAPSED_COSINE = 0.95
_COLLAPSED_RANK = 3.0
_COLLAPSED_UNIFORMITY = -0.2


def require_two_views(model: SentenceTransformer, sentences: list[str], max_length: int) -> None:
    """Check that dropout makes two different views of a sentence.

    Raises:
        SmoothCSEError: if they are identical, when the loss says nothing about the encoder.
    """
    first, second = dropout_views(model, sentences[:8], max_length=max_length)
    if torch.equal(first, second):
        raise SmoothCSEError(
            "The two views of each sentence are identical, so dropout is not active in this model and there is "
            "nothing to learn; set dropout, e.g. --dropout 0.1, or start from another model."
        )


class NoiseShareGuard(TrainerCallback):
    """Warns when the noise does nothing, or everything.

    Args:
        notices: where to say so.
    """

    def __init__(self, notices: Notices) -> None:
        self.notices = notices
        self.recent: list[float] = []

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Look at the share of the last few log entries."""
        if logs.get("noise_share") is None:
            return
        self.recent = [*self.recent, logs["noise_share"]][-_LOGS_BEFORE_JUDGING:]
        if len(self.recent) < _LOGS_BEFORE_JUDGING:
            return
        if max(self.recent) < _INACTIVE_SHARE:
            self.notices.warn(
                f"Smoothing is not active: the noise is {max(self.recent):.2%} of the negative mass, as the sentences "
                "of a batch are far more similar to each other than to it. If that stays so, raise noise_weight or "
                "noise_count, or set noise_share; without, this is plain SimCSE.",
                about="inactive noise",
            )
        if min(self.recent) > _DROWNING_SHARE:
            self.notices.warn(
                f"The noise is {min(self.recent):.1%} of the negative mass: the sentences hardly push each other "
                "apart. Lower noise_weight or noise_count.",
                about="drowning noise",
            )


class CollapseGuard(TrainerCallback):
    """Warns when an evaluation finds the embeddings crowded into a corner or onto a few axes.

    Judged by the mean cosine, the uniformity and the effective rank (of the centred rows) of a sample; bad values
    count only where they are worse than those of the start, which may be no better.

    Args:
        model: being trained.
        sentences: the sample, at least two.
        notices: where to say so.
    """

    def __init__(self, model: SentenceTransformer, sentences: list[str], notices: Notices) -> None:
        self.model = model
        self.sentences = sentences
        self.notices = notices
        self.start: tuple[float, float, float] | None = None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Embed the sample and look."""
        now = self._shape()
        self.start = self.start or now
        cosine, uniform, rank = now
        signs = []
        if cosine > max(_COLLAPSED_COSINE, self.start[0]):
            signs.append(f"their mean cosine is {cosine:.2f}")
        if uniform > max(_COLLAPSED_UNIFORMITY, self.start[1]):
            signs.append(f"their uniformity is {uniform:.2f}")
        if rank < min(_COLLAPSED_RANK, self.start[2]):
            signs.append(f"they use {rank:.1f} axes")
        if signs:
            self.notices.warn(
                f"The embeddings are collapsing (step {state.global_step}): {', '.join(signs)}. Lower learning_rate "
                "or temperature, or raise batch_size; the model from before is kept in best/ if it scored higher.",
                about="collapse",
            )

    def _shape(self) -> tuple[float, float, float]:
        rows = torch.from_numpy(encode(self.model, self.sentences))
        return float(mean_cosine(rows)), float(uniformity(rows)), float(effective_rank(rows - rows.mean(dim=0)))
