"""A callback that saves the state that a method keeps between steps, and keeps it equal on all ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import distributed, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_FILE = "method_state.safetensors"


class MethodState(TrainerCallback):
    """Callback that saves a method's state with each checkpoint, before the callback that writes the checksums.

    Args:
        state: State of the method, equal on all ranks.
        folder: Folder of the checkpoints.
        writes: Whether this process writes files.
    """

    def __init__(self, state: nn.Module, folder: Path, *, writes: bool) -> None:
        self.state = state
        self.folder = folder
        self.writes = writes

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the state to the new checkpoint."""
        if self.writes:
            tensors = {name: value.contiguous().cpu() for name, value in self.state.state_dict().items()}
            save_file(tensors, self.folder / f"checkpoint-{state.global_step}" / _FILE)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Average the gradients of the state over the ranks; the trainer does so for the encoder only."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        for parameter in self.state.parameters():
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= distributed.get_world_size()

    def restore(self, checkpoint: Path) -> None:
        """Restore the state from a checkpoint."""
        self.state.load_state_dict(load_file(checkpoint / _FILE))
