"""Settings of LoRA's adapters; unlike :mod:`smoothcse.encoders.lora`, without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smoothcse._utils.defaults import LORA_DROPOUT


@dataclass(frozen=True)
class LoRA:
    """Settings of the adapters.

    Attributes:
        rank: ``r``, at least 1.
        alpha: ``α``; None for ``2 r``.
        dropout: Dropout of the adapters' input, 0 <= p < 1.
        targets: Last parts of the names of the adapted layers, such as ``query``; None for all linear layers.
    """

    rank: int
    alpha: float | None = None
    dropout: float = LORA_DROPOUT
    targets: Sequence[str] | None = None

    @property
    def scale(self) -> float:
        """``α`` as used."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    def describe(self) -> str:
        """Return the settings in a few words."""
        layers = "all linear layers" if self.targets is None else f"the layers {', '.join(self.targets)}"
        return f"LoRA adapters of rank {self.rank} (alpha {self.scale:g}, dropout {self.dropout:g}) on {layers}"
