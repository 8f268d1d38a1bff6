"""Inputs of a run, read before it locks its folder: the text, the encoder and the data that select the best step."""

from __future__ import annotations

from dataclasses import dataclass

from sentence_transformers import SentenceTransformer

from smoothcse.corpus import Corpus, load_sentences
from smoothcse.errors import SmoothCSEError
from smoothcse.training.parts import read_start
from smoothcse.training.plan import RunPlan
from smoothcse.training.selection import Criterion, choose_criterion


@dataclass(frozen=True)
class RunInputs:
    """Inputs of a run.

    Attributes:
        corpus: Training text.
        model: Encoder to train, prepared for the method.
        criterion: Criterion that selects the best step.
        steps: Number of training steps.
    """

    corpus: Corpus
    model: SentenceTransformer
    criterion: Criterion
    steps: int


def read_inputs(plan: RunPlan) -> RunInputs:
    """Read the text, the encoder and the dev data of a plan.

    Raises:
        SmoothCSEError: If an input cannot be read, or the text is smaller than a batch.
    """
    config = plan.config
    corpus = load_sentences(
        config.corpus, column=config.column, columns=config.columns, limit=config.limit, seed=config.seed
    )
    if config.batch_size > len(corpus):
        raise SmoothCSEError(
            f"batch_size {config.batch_size} is larger than the corpus of {len(corpus)} {corpus.report.unit}; "
            f"use more text or a batch_size of at most {len(corpus)}."
        )
    return RunInputs(corpus, read_start(plan), choose_criterion(config, corpus), config.steps_over(len(corpus)))
