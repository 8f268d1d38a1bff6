"""Defaults that several rooms share."""

from __future__ import annotations

NOISE_COUNT = 192
"""M, the Gaussian negatives per step, as in the four published recipes of GS-InfoNCE."""

BATCH_TEXTS = 128
"""Texts of different requests that the service encodes together, at most."""

LORA_DROPOUT = 0.05
"""Dropout of LoRA's adapters, as in the recipe of LLM2Vec (BehnamGhader et al., COLM 2024) for SimCSE."""
