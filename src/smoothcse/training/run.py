"""Train an encoder: from a configuration to a finished run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from smoothcse.encoders.sharding import shard
from smoothcse.errors import SmoothCSEError
from smoothcse.fastpath import accelerate
from smoothcse.runs.checkpoints import step_of
from smoothcse.runs.config import TrainConfig, make_config
from smoothcse.runs.disk import explain_failed_writes, require_space
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest
from smoothcse.runs.provenance import running_manifest
from smoothcse.runs.result import TrainResult, read_result
from smoothcse.runs.start import finished_run, take_folder
from smoothcse.training.determinism import deterministic_kernels
from smoothcse.training.execution import Execution
from smoothcse.training.full_memory import explain_full_memory
from smoothcse.training.inputs import RunInputs, read_inputs
from smoothcse.training.launch import is_main_process, launch, wants_launch
from smoothcse.training.parts import host_arguments
from smoothcse.training.plan import RunPlan, plan_run
from smoothcse.training.selection import Criterion
from smoothcse.training.texts import with_texts

if TYPE_CHECKING:
    from typing import Unpack

    from smoothcse.runs.options import TrainOptions


def train(
    config: TrainConfig | str | PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    devices: int | None = None,
    criterion: Criterion | None = None,
    start_metrics: Mapping[str, float] | None = None,
    console: Console | None = None,
    **fields: Unpack[TrainOptions],
) -> TrainResult:
    """Train an encoder and select its best step.

    Example::

        smoothcse.train("text.txt", model="bert-base-uncased", output="runs/first", noise_share=0.4)

    Args:
        config: Configuration, or the text to learn from; the run is written to the folder ``output``.
        resume: Whether to resume the run in that folder; the result equals that of a run never interrupted.
        overwrite: Whether to replace the run in that folder.
        devices: Processes to share each batch, one per GPU (or on the CPU); None: every visible GPU, else one process.
        criterion: Criterion that selects the best step, in place of the one that ``dev`` names; for one device.
        start_metrics: Metrics of the untrained encoder, if another run from the same start has computed them (the
            metrics of step 0); None to compute them.
        console: Console to print on; None for standard error.
        **fields: Fields of :class:`~smoothcse.runs.config.TrainConfig`, which replace those of a configuration.

    Returns:
        Scores and folders.

    Raises:
        SmoothCSEError: If the user can fix the error; the message says how.
    """
    config = _as_config(config, fields)
    console = (console or Console(stderr=True)) if is_main_process() else Console(quiet=True)
    if resume and (finished := finished_run(RunFolder(config.output), config.as_dict())):
        sentence = f"The run in {config.output} is finished; nothing was changed. {finished.verdict()}"
        console.print(sentence, highlight=False, markup=False)
        return finished
    if wants_launch(devices):
        if criterion is not None:
            raise SmoothCSEError(
                "A criterion given in Python is computed in one process, but several devices are visible or "
                "requested; set CUDA_VISIBLE_DEVICES=0 to use one GPU."
            )
        launch(config, resume=resume, overwrite=overwrite, devices=devices)
        return read_result(config.output)
    plan = plan_run(config)
    inputs = read_inputs(plan, criterion)
    manifest = _first_manifest(plan, inputs) if is_main_process() else None
    require_space(plan.folder.path, inputs.model)
    with (
        explain_failed_writes(plan.folder.path),
        explain_full_memory(plan.folder),
        deterministic_kernels(config.deterministic),
        _taken(plan.folder, manifest, resume=resume, overwrite=overwrite, console=console) as (checkpoint, earlier),
        accelerate(inputs.model, parts=plan.fast_parts, precision=plan.hardware.precision) as slow,
    ):
        arguments = host_arguments(plan)  # connects the ranks
        inputs = with_texts(plan, inputs, manifest, console)
        if config.shard:
            shard(inputs.model, config.model, plan.hardware.device_type, plan.hardware.autocast_dtype)
        run = Execution(plan, inputs, arguments, None if checkpoint else start_metrics, console)
        return run.execute(manifest, checkpoint, warnings=slow, earlier=earlier)


def _as_config(given: TrainConfig | str | PathLike[str], fields: TrainOptions) -> TrainConfig:
    if isinstance(given, TrainConfig):
        return given.replace(**fields) if fields else given
    return make_config({"corpus": given, **fields})


def _first_manifest(plan: RunPlan, inputs: RunInputs) -> Manifest:
    return running_manifest(plan.config, inputs.corpus, plan.hardware, inputs.model, inputs.criterion.fingerprint)


@contextmanager
def _taken(
    folder: RunFolder, manifest: Manifest | None, *, resume: bool, overwrite: bool, console: Console
) -> Iterator[tuple[Path | None, Sequence[str]]]:
    """Lock the folder, on one rank for all, and print where a resumed run continues; yield that and its warnings."""
    if manifest is None:
        yield folder.latest_checkpoint() if resume else None, ()
        return
    with take_folder(folder, manifest, resume=resume, overwrite=overwrite) as (checkpoint, skipped, warnings):
        for sentence in skipped:
            console.print(sentence, style="yellow", markup=False)
        if resume:
            place = f"after step {step_of(checkpoint)}" if checkpoint else "from the start: it has no checkpoint yet"
            console.print(f"Resuming the run in {folder.path} {place}.", highlight=False, markup=False, soft_wrap=True)
        yield checkpoint, warnings
