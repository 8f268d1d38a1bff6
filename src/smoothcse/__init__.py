"""Sentence embeddings without labels: GS-InfoNCE, its control and its neighbours."""

from __future__ import annotations

__version__ = "0.1.0"
