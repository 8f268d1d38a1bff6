"""A progress bar with loss, noise share, best score and time left."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import Progress
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.progress import progress_bar
from smoothcse.training.callbacks.best_step import Selection
from smoothcse.training.selection import DEV_SCORE


class ProgressBar(TrainerCallback):
    """Callback that shows a progress bar with loss, noise share, best score and time left.

    Args:
        console: Console to draw on. If it is no terminal, only a line per evaluation is printed.
        selection: Callback that keeps the best score.
    """

    def __init__(self, console: Console, selection: Selection) -> None:
        self.console = console
        self.selection = selection
        self.progress: Progress | None = None
        self.figures = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar."""
        self.progress = progress_bar(self.console)  # without a unit, all figures fit in 80 columns
        self.task = self.progress.add_task("", total=state.max_steps, completed=state.global_step)
        self.progress.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Advance the bar."""
        if self.progress:
            self.progress.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Show the latest loss and noise share."""
        if "loss" in logs:
            share = f" noise share {logs['noise_share']:.1%}" if logs.get("noise_share") else ""
            self.figures = f"loss {logs['loss']:.4f}{share}"
            self._show()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Print the evaluation above the bar."""
        mark = "  (best so far)" if self.selection.best_step == state.global_step else ""
        self.console.print(f"step {state.global_step:>6}  dev score {metrics[f'eval_{DEV_SCORE}']:.2f}{mark}")
        self._show()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the bar."""
        self.close()

    def close(self) -> None:
        """Stop the bar and release the terminal, also after an error."""
        if self.progress:
            self.progress.stop()
            self.progress = None

    def _show(self) -> None:
        if self.progress:
            best = f"best {self.selection.best_score:.2f}" if self.selection.best_score is not None else ""
            self.progress.update(self.task, status=" ".join(filter(None, (self.figures, best))))
