"""Sentence embeddings without labels: GS-InfoNCE, its control and its neighbours.

The public names below are imported when they are first used, so that ``import smoothcse`` and
``smoothcse --help`` stay instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from smoothcse.corpus import Corpus, load_sentences
    from smoothcse.corpus.documents import DocumentCorpus, load_documents
    from smoothcse.encoders.build import build_encoder
    from smoothcse.encoders.inference import encode
    from smoothcse.encoders.load import load_encoder
    from smoothcse.encoders.projection import strip_projection
    from smoothcse.errors import SmoothCSEError
    from smoothcse.evaluation.evaluate import evaluate
    from smoothcse.evaluation.results import Evaluation
    from smoothcse.experiments.adapt import Adaptation, adapt
    from smoothcse.methods import GSInfoNCELoss
    from smoothcse.methods.arccon import ArcCon
    from smoothcse.methods.conpvp import ConPVP
    from smoothcse.methods.debcse import DebCSE
    from smoothcse.methods.esimcse import ESimCSE
    from smoothcse.methods.is_cse import ISCSE
    from smoothcse.methods.promptbert import PromptBERT
    from smoothcse.methods.simcse import SimCSE
    from smoothcse.methods.simcse_pp import SimCSEPP
    from smoothcse.methods.sncse import SNCSE
    from smoothcse.objectives import GaussianNoise, HardNegatives, Noise, gs_info_nce, info_nce
    from smoothcse.search import Index
    from smoothcse.training import NoiseStep, TrainConfig, TrainResult, train

_HOMES = {
    "ArcCon": "methods.arccon",
    "ConPVP": "methods.conpvp",
    "DebCSE": "methods.debcse",
    "ESimCSE": "methods.esimcse",
    "ISCSE": "methods.is_cse",
    "PromptBERT": "methods.promptbert",
    "SNCSE": "methods.sncse",
    "SimCSE": "methods.simcse",
    "SimCSEPP": "methods.simcse_pp",
    "Corpus": "corpus",
    "load_sentences": "corpus",
    "DocumentCorpus": "corpus.documents",
    "load_documents": "corpus.documents",
    "build_encoder": "encoders.build",
    "load_encoder": "encoders.load",
    "strip_projection": "encoders.projection",
    "encode": "encoders.inference",
    "SmoothCSEError": "errors",
    "evaluate": "evaluation.evaluate",
    "Evaluation": "evaluation.results",
    "Adaptation": "experiments.adapt",
    "adapt": "experiments.adapt",
    "GSInfoNCELoss": "methods",
    "GaussianNoise": "objectives",
    "HardNegatives": "objectives",
    "Noise": "objectives",
    "gs_info_nce": "objectives",
    "info_nce": "objectives",
    "Index": "search",
    "NoiseStep": "training",
    "TrainConfig": "training",
    "TrainResult": "training",
    "train": "training",
}

__all__ = [
    "ISCSE",
    "SNCSE",
    "Adaptation",
    "ArcCon",
    "ConPVP",
    "Corpus",
    "DebCSE",
    "DocumentCorpus",
    "ESimCSE",
    "Evaluation",
    "GSInfoNCELoss",
    "GaussianNoise",
    "HardNegatives",
    "Index",
    "Noise",
    "NoiseStep",
    "PromptBERT",
    "SimCSE",
    "SimCSEPP",
    "SmoothCSEError",
    "TrainConfig",
    "TrainResult",
    "adapt",
    "build_encoder",
    "encode",
    "evaluate",
    "gs_info_nce",
    "info_nce",
    "load_documents",
    "load_encoder",
    "load_sentences",
    "strip_projection",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'smoothcse' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smoothcse.{_HOMES[name]}"), name)
