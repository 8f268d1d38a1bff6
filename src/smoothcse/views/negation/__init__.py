"""Soft negatives: each sentence negated, as SNCSE does it (Wang et al., arXiv 2201.05979)."""

from __future__ import annotations

from smoothcse.views.negation.negations import NegationBy, negations

__all__ = ["NegationBy", "negations"]
