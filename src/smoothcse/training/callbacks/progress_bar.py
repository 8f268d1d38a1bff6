"""Loss, noise share, best score and time left, in one line of a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.training.callbacks.best_step import Selection
from smoothcse.training.selection import DEV_SCORE


class ProgressBar(TrainerCallback):
    """Shows a bar with loss, noise share, best score and time left.

    Args:
        console: to draw on; where it is no terminal, each evaluation prints a line instead.
        selection: that knows the best score.
    """

    def __init__(self, console: Console, selection: Selection) -> None:
        self.console = console
        self.selection = selection
        self.progress: Progress | None = None
        self.figures = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        self.progress = Progress(  # fits a terminal of 80 columns with every figure in it
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            # In a notebook, printing flushes the streams, which would print again.
            redirect_stdout=not self.console.is_jupyter,
            redirect_stderr=not self.console.is_jupyter,
        )
        self.task = self.progress.add_task("training", total=state.max_steps, completed=state.global_step, status="")
        self.progress.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
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
        """Show the latest figures."""
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
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        if self.progress:
            self.progress.stop()
            self.progress = None

    def _show(self) -> None:
        if self.progress:
            best = f"best {self.selection.best_score:.2f}" if self.selection.best_score is not None else ""
            self.progress.update(self.task, status=" ".join(filter(None, (self.figures, best))))
