"""The host's trainer, put together from the parts of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, TrainerCallback

from smoothcse.fastpath.token_ids import tokenised_once
from smoothcse.methods import ContrastiveLoss
from smoothcse.training.callbacks import ViewEpoch
from smoothcse.training.inputs import RunInputs
from smoothcse.training.plan import RunPlan
from smoothcse.training.selection import CriterionEvaluator
from smoothcse.views.collator import CollateViews, rows_of

if TYPE_CHECKING:
    from datasets import Dataset


class _Trainer(SentenceTransformerTrainer):
    """The host's trainer without its model cards, which nobody reads in a checkpoint: `best` and `last` get ours."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none: it would first encode samples of the corpus."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a checkpoint's model; the trainer adds its own state."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)


def make_trainer(
    plan: RunPlan,
    inputs: RunInputs,
    loss: ContrastiveLoss,
    evaluator: CriterionEvaluator,
    arguments: SentenceTransformerTrainingArguments,
    callbacks: list[TrainerCallback],
) -> SentenceTransformerTrainer:
    """Return the trainer.

    Args:
        plan: Plan of the run.
        inputs: Text and encoder.
        loss: Loss of the run.
        evaluator: What scores the encoder.
        arguments: Arguments for the host.
        callbacks: Callbacks in the order in which they are called.
    """
    dataset, collate = _batches(plan, inputs)
    follow = [ViewEpoch(collate)] if isinstance(collate, CollateViews) else []
    trainer = _Trainer(
        model=inputs.model,
        args=arguments,
        train_dataset=dataset,
        loss=loss,
        data_collator=collate,
        evaluator=evaluator,
        callbacks=[*follow, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)  # our bar and metrics.jsonl say it better
    return trainer


def _batches(plan: RunPlan, inputs: RunInputs) -> tuple[Dataset, Callable[[list[dict[str, Any]]], dict[str, Any]]]:
    """Return the dataset that the trainer reads, and the collator that makes batches of its rows."""
    if inputs.views is None:
        return tokenised_once(inputs.corpus.dataset, inputs.model, plan.config.max_length)
    return rows_of(inputs.views), CollateViews(inputs.views, inputs.model, plan.config.max_length)
