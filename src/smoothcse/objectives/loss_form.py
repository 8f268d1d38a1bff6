r"""One family of losses: what a formula makes of an anchor's positive, negatives and noise.

With the masses ``P`` of the positive, ``N`` of the negatives and ``C`` of the noise of an anchor, all as ``exp s``:

================  =======================================================================
InfoNCE           ``log(1 + (N + C) / P)``; with ``C`` it is GS-InfoNCE
additive margin   ``log(1 + (N + C) e^(m/τ) / P)``
decoupled         ``log((N + C) / P)`` (DCL: Yeh et al., ECCV 2022)
debiased          ``N'`` of :mod:`~smoothcse.objectives.debiased` instead of ``N``
ratio             the gradient of :mod:`~smoothcse.objectives.ratio`, the value of the loss
================  =======================================================================

A held noise share ``s`` and the ratio ``r = 1 / (1 - s)`` have gradients of the same direction; if the ratio has the
margin ``τ log r``, too, the gradients are equal up to the factor ``r``. A share whose weight had a gradient would be
the margin ``τ log r``, of ratio 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from smoothcse.errors import SmoothCSEError
from smoothcse.objectives.debiased import debiased_negatives
from smoothcse.objectives.keys import Keys
from smoothcse.objectives.log_sum_exps import LogSumExps
from smoothcse.objectives.noise import Noise
from smoothcse.objectives.ratio import with_ratio, within_margin

KeyGradient = Literal["all", "positives", "none"]


class Contrast(NamedTuple):
    """The result of scoring a batch.

    Attributes:
        loss: Scalar, in float32 (float64 for float64 input).
        noise_share: Detached scalar in [0, 1]; see :func:`~smoothcse.objectives.noise_share`.
    """

    loss: Tensor
    noise_share: Tensor


@dataclass(frozen=True, kw_only=True)
class LossForm:
    """Formula of a contrastive loss.

    Attributes:
        ratio: ``r > 0``, ratio of the pull of the positive to the push of the negatives; None for that of the loss.
        hinge: Learn equally from all anchors whose positive leads their hardest negative by less than this cosine, and
            not from the others. Belongs to ``ratio``; None for the dissipation of the loss.
        margin: ``m``, cosine by which a positive must lead.
        decoupled: Whether the positive is left out of the denominator.
        positive_prior: ``t``, probability that a negative drawn at random is a positive; None for no correction.
        adaptive_temperature: ``α`` of :func:`~smoothcse.objectives.macl.adaptive_temperature`, or None.
        key_gradient: Keys that get a gradient: ``"all"``, each anchor's own of the ``"positives"``, or ``"none"``.
        false_negative_threshold: ``φ`` of :class:`~smoothcse.objectives.FalseNegatives`, or None.

    Raises:
        SmoothCSEError: If a value is out of range.
    """

    ratio: float | None = None
    hinge: float | None = None
    margin: float = 0.0
    decoupled: bool = False
    positive_prior: float | None = None
    adaptive_temperature: float | None = None
    key_gradient: KeyGradient = "all"
    false_negative_threshold: float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("ratio", "hinge", "adaptive_temperature"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SmoothCSEError(f"{name} must be greater than 0, not {value}.")
        for name in ("positive_prior", "false_negative_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise SmoothCSEError(f"{name} must lie between 0 and 1, not {value}.")
        if self.hinge is not None and self.ratio is None:
            raise SmoothCSEError("hinge belongs to ratio; give a ratio, 1 for that of InfoNCE.")
        if self.key_gradient not in get_args(KeyGradient):
            raise SmoothCSEError(
                f"key_gradient {self.key_gradient!r} is unknown; choose 'all', 'positives' or 'none'."
            )

    def changes(self) -> dict[str, Any]:
        """Return the attributes that differ from InfoNCE's."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    @property
    def changes_formula(self) -> bool:
        """Whether the loss of an anchor is another function of its logits than InfoNCE."""
        return self.ratio is not None or self.margin != 0 or self.decoupled or self.positive_prior is not None


INFO_NCE = LossForm()
"""InfoNCE, with noise GS-InfoNCE."""


def contrast_of(terms: LogSumExps, keys: Keys, noise: Noise, form: LossForm, *, temperature: float) -> Contrast:
    """Return the loss of a batch and its noise share.

    Args:
        terms: Terms of the loss of each anchor, with the noise at its own weight; with ``hardest`` for a hinge.
        keys: Vectors that the anchors were scored against.
        noise: Gaussian negatives, whose share is applied here.
        form: Formula of the loss.
        temperature: ``τ`` of the terms.
    """
    if form.positive_prior is not None:
        corrected = debiased_negatives(
            terms.own,
            terms.negatives,
            prior=form.positive_prior,
            count=keys.drawn_negatives(),
            temperature=temperature,
        )
        terms = terms._replace(negatives=corrected)
    if noise.share is not None and terms.noise is not None:
        terms = terms.balanced(noise.share)
    return Contrast(_losses(terms, form, temperature).mean(), terms.noise_share())


def _losses(terms: LogSumExps, form: LossForm, temperature: float) -> Tensor:
    """Return the loss of each anchor; 0 for one without negatives, from which nothing is learned."""
    own, everything = terms.own - form.margin / temperature, terms.everything()
    alone = everything < torch.finfo(everything.dtype).min / 2
    everything = torch.where(alone, own.detach(), everything)
    losses = everything - own if form.decoupled else functional.softplus(everything - own)
    if form.ratio is not None:
        losses = with_ratio(
            losses, own, everything, _dissipation(own, everything, terms, form, temperature), form.ratio
        )
    return torch.where(alone, torch.zeros_like(losses), losses)


def _dissipation(own: Tensor, everything: Tensor, terms: LogSumExps, form: LossForm, temperature: float) -> Tensor:
    """Return how much is learned from each anchor, ``(N,)`` in [0, 1]."""
    if form.hinge is not None:
        assert terms.hardest is not None
        return within_margin(terms.own, terms.hardest, form.hinge, temperature)
    return torch.ones_like(own) if form.decoupled else torch.sigmoid(everything - own)
