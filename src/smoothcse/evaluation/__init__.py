"""Scores of a model: STS, transfer, geometry, and the published figures they are compared with."""

from __future__ import annotations
