"""The terms of the loss of each anchor, on which all formulas of the family depend."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class LogSumExps(NamedTuple):
    """Terms of the loss of each anchor, all logarithms, ``(N,)``.

    Attributes:
        own: Logit of its own positive.
        negatives: Log-sum-exp over the other sentences and the hard negatives.
        noise: Log-sum-exp over the noise, including its weight; None without noise.
        hardest: Largest logit of another anchor's positive, without gradient; None if it is not needed.
    """

    own: Tensor
    negatives: Tensor
    noise: Tensor | None
    hardest: Tensor | None = None

    def balanced(self, share: float) -> LogSumExps:
        """Return the terms with the noise weighted as :func:`~smoothcse.objectives.balance_noise` does."""
        assert self.noise is not None
        negatives = self.negatives.clamp(min=torch.finfo(self.negatives.dtype).min)  # -inf if all of them are masked
        log_weight = math.log(share / (1 - share)) + (negatives - self.noise).detach()
        return self._replace(noise=self.noise + log_weight)

    def everything(self) -> Tensor:
        """Return the log-sum-exp over the negatives and the noise."""
        return self.negatives if self.noise is None else torch.logaddexp(self.negatives, self.noise)

    def loss(self) -> Tensor:
        """Return the scalar loss."""
        return functional.softplus(self.everything() - self.own).mean()

    def noise_share(self) -> Tensor:
        """Return the noise share, as :func:`~smoothcse.objectives.noise_share` does."""
        if self.noise is None:
            return self.own.new_zeros(())
        return torch.sigmoid(self.noise - self.negatives).mean().detach()
