"""Evaluation of encoders: STS, transfer, retrieval and geometry, and published results to compare with."""

from __future__ import annotations
