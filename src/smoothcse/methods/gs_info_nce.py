"""GS-InfoNCE for ``SentenceTransformerTrainer``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from sentence_transformers import SentenceTransformer
from sentence_transformers.util import all_gather_with_grad
from torch import Tensor, distributed, nn

from smoothcse._utils.defaults import NOISE_COUNT
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.state import of_all_ranks
from smoothcse.objectives import (
    GaussianNoise,
    balance_noise,
    noise_share,
    own_positive_loss,
    similarity_logits,
    streamed_masses,
    with_own_logits,
)
from smoothcse.views.embed import Features, embed_views

NoiseMode = Literal["sampled", "expected"]

DENSE_LOGITS = 2**24
"""Above so many logits (64 MB of float32, of which the dense form needs several times as much) they are streamed."""


class GSInfoNCELoss(nn.Module):
    """Unsupervised SimCSE's InfoNCE with Gaussian vectors as extra negatives (Wu et al., COLING 2022).

    It takes a dataset with one text column, whose sentences are encoded as two dropout views in one forward of 2N
    rows; or (anchor, positive) columns; or (anchor, positive, hard negative) columns. With several ranks each one
    scores its own anchors against the positives of all, and the gradient is that of one process with the whole
    batch. ``noise_count=0`` is the control: plain SimCSE.

    Example::

        loss = GSInfoNCELoss(model)
        SentenceTransformerTrainer(model=model, args=args, train_dataset=dataset, loss=loss).train()

    The noise is a function of ``(seed, step)``. On its own the loss counts its training forwards; give the trainer
    ``callbacks=[NoiseStep(loss)]`` (:mod:`smoothcse.training`) to follow the optimiser's step instead, which is
    what makes a resumed run draw the noise of an uninterrupted one.

    Args:
        model: the encoder; its feature ``projection`` is read where there is one, else ``sentence_embedding``.
        noise_count: ``M``; by default as in the four published recipes.
        noise_ratio: ``M`` as a multiple of the effective batch instead (published: 3, or 1.5 at batch 128).
        noise_weight: ``λ > 0``, weight of the noise in the denominator.
        noise_mean: ``μ`` of the noise.
        noise_std: ``σ > 0`` of the noise; without effect at ``μ = 0``, as
            :class:`~smoothcse.objectives.GaussianNoise` explains.
        noise_mode: ``"sampled"``, or ``"expected"`` to put the noise's closed-form expectation in its place.
        noise_share: hold the noise share at this value by choosing ``λ`` anew for each anchor and step
            (:func:`~smoothcse.objectives.balance_noise`) instead of ``noise_weight``; None (default) not to.
        noise_per_anchor: draw other noise for each anchor, an experiment. Default False, as published.
        temperature: ``τ > 0``.
        hard_negative_log_weight: SimCSE's log-weight of each anchor's own hard negative (third column).
        seed: of the noise.

    The losses of related methods are subclasses that change one or more of :meth:`views`, :meth:`further_negatives`,
    :meth:`compute_loss_from_embeddings` and :meth:`remember`, so that the noise, several ranks and gradient caching
    are theirs, too.

    Attributes:
        step: the optimiser's step, when someone tells it; None to count forwards.
        progress: share of the training that is done, for schedules; 0 until someone tells it.
        last_noise_share: noise share of the last forward, a detached scalar tensor; with several ranks that of this
            one's anchors, see :meth:`batch_noise_share`.

    Raises:
        SmoothCSEError: for an argument out of its range.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        noise_count: int = NOISE_COUNT,
        noise_ratio: float | None = None,
        noise_weight: float = 1.0,
        noise_mean: float = 0.0,
        noise_std: float = 1.0,
        noise_mode: NoiseMode = "sampled",
        noise_share: float | None = None,
        noise_per_anchor: bool = False,
        temperature: float = 0.05,
        hard_negative_log_weight: float = 0.0,
        seed: int = 0,
        settings: Any = None,
        state: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.state = state
        self.noise_count = noise_count
        self.noise_ratio = noise_ratio
        self.noise_weight = noise_weight
        self.noise_mode = noise_mode
        self.noise_share = noise_share
        self.noise_per_anchor = noise_per_anchor
        self.temperature = temperature
        self.hard_negative_log_weight = hard_negative_log_weight
        self.noise = GaussianNoise(seed=seed, mean=noise_mean, std=noise_std)
        self.step: int | None = None
        self.progress = 0.0
        self.last_noise_share: Tensor | None = None
        self._forwards = 0
        self._check()

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of one batch, given one feature dict per text column (labels are not used)."""
        columns = self._views_of(sentence_features)
        loss = self._loss_of(columns)
        if self.training:
            self._forwards += 1
            self.remember(columns)
        return loss

    def loss_at(self, step: int, sentence_features: Iterable[Features]) -> Tensor:
        """Return the loss with the noise of a given step, counting and remembering nothing."""
        before, self.step = self.step, step
        try:
            return self._loss_of(self._views_of(sentence_features))
        finally:
            self.step = before

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the views to embed, given the text columns: here the same; a single one stands for two of dropout."""
        return columns

    def further_negatives(self) -> Tensor | None:
        """Return keys ``(H, d)`` that repel every anchor beside those of the batch, the same on all ranks."""
        return None

    def remember(self, columns: list[Features]) -> None:
        """Take what the method keeps of a step's views, once its loss is computed; here nothing."""

    def batch_noise_share(self) -> float | None:
        """Return the noise share of the last forward over the whole batch, or None before the first.

        Ranks exchange their shares, so all of them must ask together.
        """
        if self.last_noise_share is None:
            return None
        return float(of_all_ranks(self.last_noise_share.reshape(1)).mean())

    def _views_of(self, sentence_features: Iterable[Features]) -> list[Features]:
        columns = list(sentence_features)
        if not 1 <= len(columns) <= 3:
            raise SmoothCSEError(
                f"A batch has {len(columns)} columns of text; give one of sentences, or two or three: anchor, "
                "positive and hard negative."
            )
        return self.views(columns)

    def _loss_of(self, columns: list[Features]) -> Tensor:
        return self.compute_loss_from_embeddings(embed_views(self.model, columns))

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of this rank's ``[z1, z2]`` or ``[z1, z2, z3]``, each ``(N, d)``."""
        return self.contrast(*embeddings)

    def contrast(
        self, anchors: Tensor, positives: Tensor, hard_negatives: Tensor | None = None, own: Tensor | None = None
    ) -> Tensor:
        """Return the loss of this rank's anchors against the keys of all.

        Args:
            anchors: ``(N, d)``.
            positives: ``(N, d)``.
            hard_negatives: ``(N, d)``, or None.
            own: logits ``(N,)`` to put in the place of those of the anchors with their own positives.
        """
        positives, first_positive = across_ranks(positives)
        hard_negatives = None if hard_negatives is None else across_ranks(hard_negatives)[0]
        further = self.further_negatives()
        count = self.effective_noise_count(len(positives))
        if len(anchors) * (len(positives) + count) > DENSE_LOGITS:
            return self._streamed_loss(anchors, positives, hard_negatives, further, count, first_positive, own)
        sampled = self.noise_mode == "sampled"
        noise = self._draw(count, anchors, first_positive) if count and sampled else None
        logits = similarity_logits(
            anchors,
            positives,
            noise=noise,
            noise_weight=self.noise_weight,
            expected_noise_count=0 if sampled else count,
            hard_negatives=hard_negatives,
            hard_negative_log_weight=self.hard_negative_log_weight,
            further_negatives=further,
            temperature=self.temperature,
            first_positive=first_positive,
        )
        if own is not None:
            logits = with_own_logits(logits, own, first_positive)
        columns = count if sampled else min(count, 1)
        if self.noise_share is not None and columns:
            logits = balance_noise(logits, len(positives), columns, self.noise_share, first_positive=first_positive)
        self.last_noise_share = noise_share(logits, len(positives), columns, first_positive=first_positive)
        return own_positive_loss(logits, first_positive)

    def _streamed_loss(
        self,
        anchors: Tensor,
        positives: Tensor,
        hard_negatives: Tensor | None,
        further_negatives: Tensor | None,
        count: int,
        first_positive: int,
        own: Tensor | None,
    ) -> Tensor:
        if count and self.noise_per_anchor:
            raise SmoothCSEError(
                "noise_per_anchor is an experiment for small batches; lower batch_size or noise_count."
            )
        masses = streamed_masses(
            anchors,
            positives,
            noise=self.noise if self.noise_mode == "sampled" else None,
            noise_step=self._current_step(),
            noise_count=count,
            noise_weight=self.noise_weight,
            hard_negatives=hard_negatives,
            hard_negative_log_weight=self.hard_negative_log_weight,
            further_negatives=further_negatives,
            temperature=self.temperature,
            first_positive=first_positive,
        )
        if own is not None:
            masses = masses._replace(own=own)
        if self.noise_share is not None and count:
            masses = masses.balanced(self.noise_share)
        self.last_noise_share = masses.noise_share()
        return masses.loss()

    def effective_noise_count(self, effective_batch: int) -> int:
        """Return ``M`` for a batch of this many sentences over all ranks."""
        return self.noise_count if self.noise_ratio is None else round(self.noise_ratio * effective_batch)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings that the host writes into the model card."""
        return {
            "noise_count": self.noise_count,
            "noise_ratio": self.noise_ratio,
            "noise_weight": self.noise_weight,
            "noise_mode": self.noise_mode,
            "temperature": self.temperature,
        }

    @property
    def citation(self) -> str:
        """BibTeX entry, which the host puts into the model card."""
        return (
            "@inproceedings{wu-etal-2022-smoothed,\n"
            "  title = {Smoothed Contrastive Learning for Unsupervised Sentence Embedding},\n"
            "  author = {Wu, Xing and Gao, Chaochen and Su, Yipeng and Han, Jizhong and "
            "Wang, Zhongyuan and Hu, Songlin},\n"
            "  booktitle = {Proceedings of COLING},\n"
            "  year = {2022}\n"
            "}"
        )

    def _draw(self, count: int, like: Tensor, first: int) -> Tensor:
        step = self._current_step()
        if self.noise_per_anchor:
            return self.noise.draw_per_anchor(step, len(like), count, like.shape[1], first=first, device=like.device)
        return self.noise.draw(step, count, like.shape[1], device=like.device)

    def _current_step(self) -> int:
        return self._forwards if self.step is None else self.step

    def _check(self) -> None:
        positive = {
            "noise_weight": self.noise_weight,
            "temperature": self.temperature,
            "noise_std": self.noise.std,
        }
        for field, value in positive.items():
            if not value > 0:
                raise SmoothCSEError(f"{field} must be greater than 0, not {value}.")
        if self.noise_count < 0 or (self.noise_ratio is not None and self.noise_ratio < 0):
            raise SmoothCSEError("noise_count and noise_ratio must not be negative; 0 turns the noise off.")
        if self.noise_share is not None and (not 0 < self.noise_share < 1 or self.noise_weight != 1.0):
            raise SmoothCSEError("noise_share must lie between 0 and 1, and noise_weight be left at 1, which it sets.")
        if self.noise_mode not in get_args(NoiseMode):
            raise SmoothCSEError(f"noise_mode {self.noise_mode!r} is unknown; choose 'sampled' or 'expected'.")
        if self.noise_mode == "expected" and self.noise.mean:
            raise SmoothCSEError("noise_mode 'expected' has a closed form for noise_mean 0 only; use 'sampled'.")


def across_ranks(keys: Tensor) -> tuple[Tensor, int]:
    """Return the keys ``(N, d)`` of all ranks, with gradient, and where this rank's begin."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return keys, 0
    gathered: Tensor = all_gather_with_grad(keys)
    return gathered, distributed.get_rank() * len(keys)
