"""Inputs of a run, read before it locks its folder: the text, the encoder and the data that select the best step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentence_transformers import SentenceTransformer

from smoothcse.corpus import Corpus, load_sentences
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.config import TrainConfig
from smoothcse.training.parts import read_start
from smoothcse.training.plan import RunPlan
from smoothcse.training.selection import Criterion, choose_criterion
from smoothcse.views.choice import draws_text
from smoothcse.views.collator import view_prompts
from smoothcse.views.mixture import TextViews


@dataclass(frozen=True)
class RunInputs:
    """Inputs of a run.

    Attributes:
        corpus: Training text.
        model: Encoder to train, prepared for the method.
        criterion: Criterion that selects the best step.
        steps: Number of training steps.
        views: Views drawn from the text; None if the columns of the text are encoded as they are.
    """

    corpus: Corpus
    model: SentenceTransformer
    criterion: Criterion
    steps: int
    views: TextViews | None = None

    def texts(self, rows: Sequence[int]) -> list[list[str]]:
        """Return the columns of text that the encoder reads of some rows, in the first epoch."""
        return [*self.corpus.dataset[rows].values()] if self.views is None else self.views.draw(rows, epoch=0)

    @property
    def prompts(self) -> list[str]:
        """Prompt of each column of text, empty for none: views drawn from text have roles, other texts none."""
        if self.views is None:
            return [prompt_of(self.model)] * len(self.corpus.dataset.column_names)
        return view_prompts(self.model, self.views.weights)


def read_inputs(plan: RunPlan, criterion: Criterion | None = None) -> RunInputs:
    """Read the text, the encoder and the dev data of a plan.

    Args:
        plan: Plan of the run.
        criterion: Criterion that replaces the one that the configuration names.

    Raises:
        SmoothCSEError: If an input cannot be read, or the text is smaller than a batch.
    """
    config = plan.config
    corpus = _load_corpus(config)
    if config.batch_size > len(corpus):
        raise SmoothCSEError(
            f"batch_size {config.batch_size} is larger than the corpus of {len(corpus)} {corpus.report.unit}; "
            f"use more text or a batch_size of at most {len(corpus)}."
        )
    return RunInputs(
        corpus=corpus,
        model=read_start(plan),
        criterion=criterion or choose_criterion(config, corpus),
        steps=config.steps_over(len(corpus)),
        views=_text_views(config, corpus),
    )


def _load_corpus(config: TrainConfig) -> Corpus:
    if "title" not in config.views:
        return load_sentences(
            config.corpus, column=config.column, columns=config.columns, limit=config.limit, seed=config.seed
        )
    columns = [str(config.column), config.title_column]
    corpus = load_sentences(config.corpus, columns=columns, limit=config.limit, seed=config.seed)
    return replace(corpus, dataset=corpus.dataset.rename_column("positive", "title"))


def _text_views(config: TrainConfig, corpus: Corpus) -> TextViews | None:
    if not draws_text(config.views):
        return None
    return TextViews(
        corpus.dataset,
        config.views,
        config.seed,
        lengths=config.crop_length,
        deletion=config.crop_deletion,
        language=config.language,
    )
