"""GS-InfoNCE for ``SentenceTransformerTrainer``: SimCSE's loss with Gaussian noise and flat arguments."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse._utils.defaults import NOISE_COUNT
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.objectives import GaussianNoise, Noise, NoiseMode


class GSInfoNCELoss(ContrastiveLoss):
    """Unsupervised SimCSE's InfoNCE with Gaussian vectors as extra negatives (Wu et al., COLING 2022).

    ``noise_count=0`` is the control, plain SimCSE. Inputs, ranks and steps are described at
    :class:`~smoothcse.methods.base.ContrastiveLoss`.

    Example::

        loss = GSInfoNCELoss(model)
        SentenceTransformerTrainer(model=model, args=args, train_dataset=dataset, loss=loss).train()

    Args:
        model: Encoder. Its feature ``projection`` is read if it has one, otherwise ``sentence_embedding``.
        noise_count: ``M``. Default 192, as in the four published recipes.
        noise_ratio: ``M`` as a multiple of the effective batch instead (published: 3, or 1.5 at batch 128).
        noise_weight: ``λ > 0``, weight of the noise in the denominator.
        noise_mean: ``μ`` of the noise.
        noise_std: ``σ > 0`` of the noise; without effect at ``μ = 0``, see
            :class:`~smoothcse.objectives.GaussianNoise`.
        noise_mode: ``"sampled"``, or ``"expected"`` to replace the noise by its closed-form expectation.
        noise_share: Noise share to hold by choosing ``λ`` for each anchor and step
            (:func:`~smoothcse.objectives.balance_noise`) instead of ``noise_weight``; None (default) for a fixed
            ``λ``.
        seed: Seed of the noise.
        **others: ``form``, ``temperature`` and ``hard_negative_log_weight`` of
            :class:`~smoothcse.methods.base.ContrastiveLoss`.

    Raises:
        SmoothCSEError: If an argument is out of range.
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
        seed: int = 0,
        **others: Any,
    ) -> None:
        noise = Noise(
            count=noise_count,
            ratio=noise_ratio,
            weight=noise_weight,
            share=noise_share,
            mode=noise_mode,
            source=GaussianNoise(seed=seed, mean=noise_mean, std=noise_std),
        )
        super().__init__(model, noise=noise, seed=seed, **others)

    @property
    def citation(self) -> str:
        """BibTeX entry for the model card of sentence-transformers."""
        return (
            "@inproceedings{wu-etal-2022-smoothed,\n"
            "  title = {Smoothed Contrastive Learning for Unsupervised Sentence Embedding},\n"
            "  author = {Wu, Xing and Gao, Chaochen and Su, Yipeng and Han, Jizhong and "
            "Wang, Zhongyuan and Hu, Songlin},\n"
            "  booktitle = {Proceedings of COLING},\n"
            "  year = {2022}\n"
            "}"
        )
