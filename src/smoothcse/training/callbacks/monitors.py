"""Monitors: callbacks that warn about problems that the loss curve does not show."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.choices import Precision
from smoothcse.encoders.inference import encode
from smoothcse.encoders.sharding import is_sharded
from smoothcse.errors import SmoothCSEError
from smoothcse.objectives.geometry import effective_rank, mean_cosine, uniformity
from smoothcse.training.warnings import Warnings
from smoothcse.views.embed import dropout_views

_INACTIVE_SHARE, _DROWNING_SHARE = 0.001, 0.99
_LOGS_BEFORE_JUDGING = 3  # an untrained head makes all outputs similar, so that in-batch negatives outweigh any noise
_COLLAPSED_COSINE = 0.95
_COLLAPSED_RANK = 3.0
_COLLAPSED_UNIFORMITY = -0.2


def require_two_views(model: SentenceTransformer, sentences: list[str], max_length: int) -> None:
    """Check that dropout makes two different views of a sentence.

    Raises:
        SmoothCSEError: If the two views are identical, so that the encoder cannot learn from them.
    """
    if not views_differ(model, sentences, max_length):
        raise SmoothCSEError(
            "The two views of each sentence are identical, so dropout is not active in this model and the "
            "encoder cannot learn; set dropout, e.g. --dropout 0.1. If it is set, the architecture ignores it: use "
            "views drawn from the text, such as --views crops, or start from another model."
        )


def views_differ(model: SentenceTransformer, sentences: list[str], max_length: int) -> bool:
    """Return whether dropout makes the two views of some sentences differ."""
    first, second = dropout_views(model, sentences[:8], max_length=max_length)
    return not torch.equal(first, second)


class NoiseShareMonitor(TrainerCallback):
    """Callback that warns if the noise has almost no weight among the negatives, or almost all of it.

    Args:
        warnings: Warnings of the run.
    """

    def __init__(self, warnings: Warnings) -> None:
        self.warnings = warnings
        self.recent: list[float] = []

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Check the noise share of the last few log entries."""
        if logs.get("noise_share") is None:
            return
        self.recent = [*self.recent, logs["noise_share"]][-_LOGS_BEFORE_JUDGING:]
        if len(self.recent) < _LOGS_BEFORE_JUDGING:
            return
        if max(self.recent) < _INACTIVE_SHARE:
            self.warnings.warn(
                f"Smoothing is not active: the noise is {max(self.recent):.2%} of the negative mass, as the sentences "
                "of a batch are far more similar to each other than to the noise, so this is plain SimCSE; raise "
                "noise_weight or noise_count, or set noise_share.",
                start="Smoothing is not active",
            )
        if min(self.recent) > _DROWNING_SHARE:
            self.warnings.warn(
                f"The noise is {min(self.recent):.1%} of the negative mass: the in-batch negatives have "
                "almost no effect. Lower noise_weight or noise_count.",
                start="The noise is",
            )


class CollapseMonitor(TrainerCallback):
    """Callback that warns if the embeddings collapse: into a narrow cone, or onto a few axes.

    Checks the mean cosine, the uniformity and the effective rank (of the centred rows) of a sample at each evaluation.
    A bad value counts only if it is worse than that of the start, which may be bad too and is measured by
    :meth:`measure_start` before the first step, also of a resumed run.

    Args:
        model: Model being trained.
        sentences: Sample, at least two sentences.
        warnings: Warnings of the run.
    """

    def __init__(self, model: SentenceTransformer, sentences: list[str], warnings: Warnings) -> None:
        self.model = model
        self.sentences = sentences
        self.warnings = warnings
        self.start: tuple[float, float, float] | None = None

    def measure_start(self) -> None:
        """Measure the geometry of the start, which the model must still hold."""
        self.start = self._shape()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Embed the sample and check its geometry."""
        if self.start is None or not state.global_step:
            return
        cosine, uniform, rank = self._shape()
        signs = []
        if cosine > max(_COLLAPSED_COSINE, self.start[0]):
            signs.append(f"their mean cosine is {cosine:.2f}")
        if uniform > max(_COLLAPSED_UNIFORMITY, self.start[1]):
            signs.append(f"their uniformity is {uniform:.2f}")
        if rank < min(_COLLAPSED_RANK, self.start[2]):
            signs.append(f"they use {rank:.1f} axes")
        if signs:
            self.warnings.warn(
                f"The embeddings are collapsing (step {state.global_step}): {', '.join(signs)}. Lower learning_rate "
                "or temperature, or raise batch_size; best/ keeps an earlier model if it scored higher.",
                start="The embeddings are collapsing",
            )

    def _shape(self) -> tuple[float, float, float]:
        # Of a sharded model there can be no copy in bf16; it computes in the precision of its shards.
        precision: Precision = "fp32" if is_sharded(self.model) else "auto"
        rows = torch.from_numpy(encode(self.model, self.sentences, precision=precision))
        return float(mean_cosine(rows)), float(uniformity(rows)), float(effective_rank(rows - rows.mean(dim=0)))
