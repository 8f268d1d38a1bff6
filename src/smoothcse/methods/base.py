"""Base class of all losses for ``SentenceTransformerTrainer``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from smoothcse.errors import SmoothCSEError
from smoothcse.methods.negative_judge import NegativeJudge
from smoothcse.methods.ranks import across_ranks, of_all_ranks
from smoothcse.objectives import (
    INFO_NCE,
    NO_NOISE,
    HardNegatives,
    Keys,
    LossForm,
    Noise,
    dense_contrast,
    streamed_contrast,
)
from smoothcse.objectives.macl import adaptive_temperature
from smoothcse.objectives.rows import pair_logits
from smoothcse.views.embed import Features, embed_views

DENSE_LOGITS = 2**24
"""Number of logits (64 MB of float32) above which they are streamed; the dense form needs several times the memory."""


class ContrastiveLoss(nn.Module):
    """InfoNCE over the views of a batch, with optional Gaussian noise and hard negatives.

    The dataset has one text column, whose sentences are encoded as two dropout views in one forward pass of 2N rows,
    or (anchor, positive) columns, or (anchor, positive, hard negative) columns. With several ranks, each rank compares
    its own anchors with the positives of all ranks, and the gradient equals that of one process with the whole batch.

    A method is a subclass that overrides one or more of :meth:`views`, :meth:`further_negatives`,
    :meth:`compute_loss_from_embeddings` and :meth:`remember`, and sets :attr:`state` if it keeps state between steps.
    Noise, several ranks and gradient caching work for all methods.

    Noise and random views are functions of the seed and the step. By default a loss counts its training forward
    passes. Pass ``callbacks=[NoiseStep(loss)]`` (:mod:`smoothcse.training`) to the trainer to use the optimiser's step
    instead, so that a resumed run repeats the draws of an uninterrupted one.

    Args:
        model: Encoder. Its feature ``projection`` is read if it has one, otherwise ``sentence_embedding``.
        noise: Gaussian negatives. Default: none.
        form: Formula of the loss. Default: InfoNCE.
        temperature: ``τ > 0``.
        hard_negative_log_weight: SimCSE's log-weight of each anchor's own hard negative (third column).
        symmetric: Whether each positive chooses among the anchors, too, and the contrast is the mean of both
            directions. Hard negatives repel the anchors only, which they contradict. Default false.
        seed: Seed of the random views of a method.
        settings: Settings of the method.

    Attributes:
        state: Module that the method keeps between steps and that is saved with each checkpoint, or None.
        step: Optimiser step, if a callback sets it; None to count forward passes.
        progress: Completed fraction of the training, for schedules; 0 until a callback sets it.
        last_noise_share: Noise share of the last forward pass, a detached scalar tensor. With several ranks, the share
            of this rank's anchors; see :meth:`batch_noise_share`.

    Raises:
        SmoothCSEError: If an argument is out of range.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        noise: Noise = NO_NOISE,
        form: LossForm = INFO_NCE,
        temperature: float = 0.05,
        hard_negative_log_weight: float = 0.0,
        symmetric: bool = False,
        seed: int = 0,
        settings: Any = None,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise SmoothCSEError(f"temperature must be greater than 0, not {temperature}.")
        self.model = model
        self.noise = noise
        self.form = form
        self.temperature = temperature
        self.hard_negative_log_weight = hard_negative_log_weight
        self.symmetric = symmetric
        self.seed = seed
        self.settings = settings
        self.state: nn.Module | None = None
        threshold = form.false_negative_threshold
        self.judge = None if threshold is None else NegativeJudge(model, threshold)
        self.step: int | None = None
        self.progress = 0.0
        self.last_noise_share: Tensor | None = None
        self._forwards = 0

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of one batch, given one feature dict per text column (labels are not used)."""
        columns = self._views_of(sentence_features)
        loss = self._loss_of(columns)
        if self.training:
            self._forwards += 1
            self.remember(columns)
        return loss

    def loss_at(self, step: int, sentence_features: Iterable[Features]) -> Tensor:
        """Return the loss with the noise of a given step, without counting the step or updating the state."""
        before, self.step = self.step, step
        try:
            return self._loss_of(self._views_of(sentence_features))
        finally:
            self.step = before

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the views to embed, by default the text columns. A single column is embedded twice."""
        return columns

    def further_negatives(self) -> Tensor | None:
        """Return further negatives ``(F, d)`` of every anchor, the same on all ranks, or None."""
        return None

    def remember(self, columns: list[Features]) -> None:
        """Update the state from the views of a step, after its loss is computed. Does nothing by default."""

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of this rank's ``[z1, z2]`` or ``[z1, z2, z3]``, each ``(N, d)``."""
        return self.contrast(*embeddings)

    def contrast(
        self, anchors: Tensor, positives: Tensor, hard_negatives: Tensor | None = None, own: Tensor | None = None
    ) -> Tensor:
        """Return the loss of this rank's anchors against the keys of all ranks, and store the noise share.

        In the symmetric form it is the mean of this loss and of that of the positives against the anchors.

        Args:
            anchors: Anchors ``(N, d)``.
            positives: Positives ``(N, d)``.
            hard_negatives: Hard negatives ``(N, d)``, or None.
            own: Logits ``(N,)`` that replace those of the anchors with their own positives, or None.
        """
        if hard_negatives is not None and self.form.positive_prior is not None:
            raise SmoothCSEError(
                "positive_prior corrects negatives drawn at random, not the hard negatives that this method or the "
                "third of the columns gives; leave it out, or train without them."
            )
        temperature = self._temperature_of(anchors, positives)
        loss = self._contrast_one_way(anchors, positives, hard_negatives, own, temperature)
        if not self.symmetric:
            return loss
        return (loss + self._contrast_one_way(positives, anchors, None, own, temperature, reverse=True)) / 2

    def _temperature_of(self, anchors: Tensor, positives: Tensor) -> float:
        """Return the temperature of a batch, the same on all ranks."""
        if self.form.adaptive_temperature is None:
            return self.temperature
        cosines = of_all_ranks(pair_logits(anchors, positives, temperature=1.0))
        return adaptive_temperature(cosines, self.temperature, self.form.adaptive_temperature)

    def _contrast_one_way(
        self,
        anchors: Tensor,
        positives: Tensor,
        hard_negatives: Tensor | None,
        own: Tensor | None,
        temperature: float,
        *,
        reverse: bool = False,
    ) -> Tensor:
        if self.form.key_gradient != "all":
            if self.form.key_gradient == "positives" and own is None:
                own = pair_logits(anchors, positives, temperature=temperature)
            positives = positives.detach()
            hard_negatives = None if hard_negatives is None else hard_negatives.detach()
        keys = self._keys(positives, hard_negatives, reverse)
        total = len(keys.positives)
        streamed = len(anchors) * (total + self.noise.count_for(total)) > DENSE_LOGITS
        engine = streamed_contrast if streamed else dense_contrast
        loss, self.last_noise_share = engine(
            anchors, keys, self.noise, self.form, temperature=temperature, step=self.current_step(), own=own
        )
        return loss

    def batch_noise_share(self) -> float | None:
        """Return the noise share of the last forward pass over the whole batch; None before the first pass.

        Ranks exchange their shares, so all of them must call this method.
        """
        if self.last_noise_share is None:
            return None
        return float(of_all_ranks(self.last_noise_share.reshape(1)).mean())

    def batch_masked_share(self) -> float | None:
        """Return the share of the negatives of the last batch that the judge masked; None without a judge or batch.

        Ranks exchange their counts, so all of them must call this method.
        """
        return None if self.judge is None else self.judge.masked_share()

    def current_step(self) -> int:
        """Return the step for which noise and views are drawn."""
        return self._forwards if self.step is None else self.step

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card of sentence-transformers."""
        return {
            "noise_count": self.noise.count,
            "noise_ratio": self.noise.ratio,
            "noise_weight": self.noise.weight,
            "noise_mode": self.noise.mode,
            "temperature": self.temperature,
            **self.form.changes(),
        }

    def _views_of(self, sentence_features: Iterable[Features]) -> list[Features]:
        columns = list(sentence_features)
        if not 1 <= len(columns) <= 3:
            raise SmoothCSEError(
                f"A batch has {len(columns)} columns of text; give one column of sentences, or two or three columns: "
                "anchor, positive and hard negative."
            )
        if self.judge is not None:
            self.judge.look_at(columns)
        return self.views(columns)

    def _loss_of(self, columns: list[Features]) -> Tensor:
        return self.compute_loss_from_embeddings(embed_views(self.model, columns))

    def _keys(self, positives: Tensor, hard_negatives: Tensor | None, reverse: bool) -> Keys:
        everywhere, first = across_ranks(positives)
        hard = None
        if hard_negatives is not None:
            hard = HardNegatives(across_ranks(hard_negatives)[0], self.hard_negative_log_weight)
        further = self.further_negatives()
        if further is not None:
            further = further[:, : positives.shape[1]]  # Matryoshka training truncates the views
        judged = None if self.judge is None else self.judge.false_negatives(reverse=reverse)
        return Keys(everywhere, hard, further, first, judged)
