"""What happens beside the training loop: noise step, guard, selection, metrics, progress."""

from __future__ import annotations

import time
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.errors import SmoothCSEError
from smoothcse.losses import GSInfoNCELoss
from smoothcse.objectives import GaussianNoise
from smoothcse.training.run_folder import RunFolder
from smoothcse.training.selection import DEV_SCORE


class NoiseStep(TrainerCallback):
    """Tells a loss the optimiser's step, so that its noise is the same after a resume and while accumulating.

    Args:
        loss: the trainer's loss.
    """

    def __init__(self, loss: GSInfoNCELoss) -> None:
        self.loss = loss

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the step."""
        self.loss.step = state.global_step


class FiniteLoss(TrainerCallback):
    """Stops a run whose loss or gradient is not finite, before a checkpoint of it is written.

    Both are watched on their device at each step; the host looks at the finding only where it logs, evaluates or
    saves, so that no step waits for the device.

    Args:
        loss: the trainer's loss module.
        folder: of the run, named in the message.
        gradients: whether to watch the gradient too; not under a loss scaler, which finds its scale by overflowing.
    """

    def __init__(self, loss: nn.Module, folder: RunFolder, *, gradients: bool = True) -> None:
        self.folder = folder
        self.gradients = gradients
        self.step = 0
        self.first_bad_step: Tensor | None = None
        loss.register_forward_hook(self._watch)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember the step that the coming losses belong to (counted from 1, as everywhere in logs)."""
        self.step = state.global_step + 1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the finding where the host stops to look anyway."""
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self._check()

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Watch the gradient: one that is not finite ruins the weights while the loss of the step still looks well."""
        if self.gradients and model is not None:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            self._note(nn.utils.get_total_norm(gradients))

    def _watch(self, module: nn.Module, inputs: Any, loss: Tensor) -> None:
        if module.training:
            self._note(loss.detach())

    def _note(self, value: Tensor) -> None:
        if self.first_bad_step is None:
            self.first_bad_step = torch.full((), -1, dtype=torch.long, device=value.device)
        is_first = ~torch.isfinite(value) & (self.first_bad_step < 0)
        self.first_bad_step = torch.where(is_first, self.step, self.first_bad_step)

    def _check(self) -> None:
        if self.first_bad_step is None or (step := int(self.first_bad_step)) < 0:
            return
        checkpoint = self.folder.latest_checkpoint()
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written yet"
        raise SmoothCSEError(
            f"The loss or its gradient is not a finite number at step {step}; {kept}. "
            "Lower learning_rate, raise temperature, or use precision fp32."
        )


class GradientNoise(TrainerCallback):
    """Adds isotropic Gaussian noise to the gradient: what GS-InfoNCE's noise does, without its direction.

    The noise has, in expectation, ``scale`` times the norm of the gradient. It depends on seed and step alone, so
    all ranks add the same and a resumed run goes on as it would have.

    Args:
        scale: norm of the noise in units of the gradient's.
        seed: of the run.
    """

    def __init__(self, scale: float, seed: int) -> None:
        self.scale = scale
        self.seed = seed

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Disturb the gradients, behind the clipping."""
        assert model is not None
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
        std = self.scale * norm / sum(gradient.numel() for gradient in gradients) ** 0.5
        source = GaussianNoise(self.seed)
        for number, gradient in enumerate(gradients):
            noise = source.draw(
                state.global_step * len(gradients) + number, 1, gradient.numel(), device=gradient.device
            )
            gradient.add_(noise.view_as(gradient) * std)


class Selection(TrainerCallback):
    """Keeps the model of the best evaluation, the one at step 0 included.

    Args:
        folder: of the run.
        model: being trained.
        writes: whether this process is the one that writes files.
    """

    def __init__(self, folder: RunFolder, model: SentenceTransformer, *, writes: bool) -> None:
        self.folder = folder
        self.model = model
        self.writes = writes
        note = folder.note_of(folder.best) or {}
        self.best_score: float | None = note.get("score")
        self.best_step: int = note.get("step", 0)
        self.last_score: float | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Have the last step evaluated too, whatever the interval."""
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
        """Save the model if its score is higher than every earlier one."""
        self.last_score = metrics[f"eval_{DEV_SCORE}"]
        if self.best_score is not None and not self.last_score > self.best_score:
            return
        self.best_score, self.best_step = self.last_score, state.global_step
        if self.writes:
            self.folder.save_model(self.model, self.folder.best, {"step": self.best_step, "score": self.best_score})


class Metrics(TrainerCallback):
    """Writes ``metrics.jsonl``.

    Args:
        folder: of the run.
        loss: whose noise share is logged beside the loss.
    """

    def __init__(self, folder: RunFolder, loss: GSInfoNCELoss) -> None:
        self.folder = folder
        self.loss = loss
        self.started = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Write one line, the noise share with each training loss."""
        if "loss" in logs and self.loss.last_noise_share is not None:
            logs["noise_share"] = float(self.loss.last_noise_share)
        seconds = round(time.perf_counter() - self.started, 3)
        self.folder.log({"step": state.global_step, **logs, "seconds": seconds})


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
        if not self.progress or "loss" not in logs:
            return
        share = f" noise share {logs['noise_share']:.1%}" if logs.get("noise_share") else ""
        best = f" best {self.selection.best_score:.2f}" if self.selection.best_score is not None else ""
        self.progress.update(self.task, status=f"loss {logs['loss']:.4f}{share}{best}")

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
