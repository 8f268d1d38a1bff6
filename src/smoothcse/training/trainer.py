"""The sentence-transformers trainer, built from the parts of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from smoothcse.encoders.lora import has_adapters, restore_adapters
from smoothcse.encoders.sharding import gathered, is_sharded
from smoothcse.fastpath.token_ids import tokenised_once
from smoothcse.methods import ContrastiveLoss
from smoothcse.runs.folder import TENSORBOARD
from smoothcse.training.callbacks import ViewEpoch
from smoothcse.training.inputs import RunInputs
from smoothcse.training.selection import CriterionEvaluator
from smoothcse.views.collator import CollateViews, rows_of

if TYPE_CHECKING:
    from datasets import Dataset


class _Trainer(SentenceTransformerTrainer):
    """Trainer that writes no model cards in checkpoints; `best` and `last` get our own."""

    is_fsdp_enabled: bool

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Do nothing: the callback would encode samples of the corpus first."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model of a checkpoint; the trainer adds its own state."""
        with gathered(self.model) as model:
            if self.args.should_save:
                model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)

    def create_accelerator_and_postprocess(self) -> None:
        """Create the accelerator; let it know of sharding on CPUs, too, where accelerate ignores the plugin."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            self.accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            for state in (self.accelerator.state, PartialState()):  # the latter is copied into each new state
                state.distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True

    def _load_from_checkpoint(self, checkpoint_path: str, model: nn.Module | None = None) -> None:
        """Restore the model of a checkpoint; one of adapters holds nothing else, one of shards a file for them."""
        if is_sharded(self.model):
            Trainer._load_from_checkpoint(self, checkpoint_path, model)  # the nearer class knows no shards
        elif has_adapters(self.model):
            restore_adapters(self.model, Path(checkpoint_path))
        else:
            super()._load_from_checkpoint(checkpoint_path)


def make_trainer(
    inputs: RunInputs,
    max_length: int,
    loss: ContrastiveLoss,
    evaluator: CriterionEvaluator,
    arguments: SentenceTransformerTrainingArguments,
    callbacks: list[TrainerCallback],
) -> SentenceTransformerTrainer:
    """Return the trainer.

    Args:
        inputs: Text and encoder.
        max_length: Tokens per sentence.
        loss: Loss of the run.
        evaluator: Evaluator of the criterion.
        arguments: Arguments of the trainer.
        callbacks: Callbacks, in calling order.
    """
    dataset, collate = _batches(inputs, max_length)
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
    trainer.remove_callback(PrinterCallback)  # the progress bar and metrics.jsonl replace it
    _report_last(trainer)
    return trainer


def _report_last(trainer: SentenceTransformerTrainer) -> None:
    """Move the callbacks of ``report_to`` behind those that add to a log entry, such as the noise share."""
    for kind in get_reporting_integration_callbacks(trainer.args.report_to):
        reporter = trainer.pop_callback(kind)
        if isinstance(reporter, TensorBoardCallback) and reporter.logging_dir is None:
            # the host's own place is among the checkpoints, which end with the run
            reporter.logging_dir = str(Path(trainer.args.output_dir).with_name(TENSORBOARD))
        trainer.add_callback(reporter)


def _batches(inputs: RunInputs, max_length: int) -> tuple[Dataset, Callable[[list[dict[str, Any]]], dict[str, Any]]]:
    """Return the dataset that the trainer reads, and the collator that makes batches of its rows."""
    if inputs.views is None:
        return tokenised_once(inputs.corpus.dataset, inputs.model, max_length)
    return rows_of(inputs.views), CollateViews(inputs.views, inputs.model, max_length)
