"""A callback that saves the model of the best evaluation."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.encoders.sharding import gathered
from smoothcse.runs import model_folder
from smoothcse.runs.folder import RunFolder
from smoothcse.training.selection import DEV_SCORE


class Selection(TrainerCallback):
    """Callback that saves the model of the best evaluation, including the one at step 0.

    Args:
        folder: Run folder.
        model: Model being trained.
        writes: Whether this process writes files.
        keep_adapters: Whether to save adapters beside the merged model.
    """

    def __init__(
        self, folder: RunFolder, model: SentenceTransformer, *, writes: bool, keep_adapters: bool = False
    ) -> None:
        self.folder = folder
        self.model = model
        self.keep_adapters = keep_adapters
        self.writes = writes
        note = model_folder.read_note(folder.best) or {}
        self.best_score: float | None = note.get("score")
        self.best_step: int = note.get("step", 0)
        self.last_score: float | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Evaluate after the last step, regardless of the interval."""
        if state.global_step == state.max_steps:
            control.should_evaluate = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Save the model if its score is higher than all earlier scores."""
        self.last_score = metrics[f"eval_{DEV_SCORE}"]
        if self.best_score is not None and not self.last_score > self.best_score:
            return
        self.best_score, self.best_step = self.last_score, state.global_step
        note = {"step": self.best_step, "score": self.best_score}
        with gathered(self.model) as model:
            if self.writes:
                model_folder.save_model(model, self.folder.best, note, keep_adapters=self.keep_adapters)
