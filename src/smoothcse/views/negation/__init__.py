"""Soft negatives of SNCSE (Wang et al., arXiv 2201.05979): the negation of each sentence."""

from __future__ import annotations

from smoothcse.views.negation.negations import NegationBy, negations

__all__ = ["NegationBy", "negations"]
