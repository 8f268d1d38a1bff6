"""``trainer_args``: further arguments of sentence-transformers' trainer, checked against the guarantees of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from smoothcse.errors import SmoothCSEError, did_you_mean

HostScalar = bool | int | float | str | None
HostValue = HostScalar | list[HostScalar] | dict[str, HostScalar]
"""Value of an argument: any value of JSON or YAML."""

ACCUMULATION = "gradient_accumulation_steps"

OUR_FIELDS = {
    "output_dir": "output",
    "per_device_train_batch_size": "batch_size",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_steps": "warmup_ratio",
    "warmup_ratio": "warmup_ratio",
    "weight_decay": "weight_decay",
    "adam_epsilon": "adam_epsilon",
    "max_grad_norm": "max_grad_norm",
    "bf16": "precision",
    "fp16": "precision",
    "seed": "seed",
    "data_seed": "seed",
    "full_determinism": "deterministic",
    "dataloader_num_workers": "workers",
    "eval_steps": "eval_steps",
    "save_steps": "eval_steps",
    "logging_steps": "log_steps",
    "gradient_checkpointing": "gradient_checkpointing",
    "fsdp": "shard",
    "fsdp_config": "shard",
    "activation_checkpointing": "gradient_checkpointing",
}
"""Arguments of the trainer that a configuration field sets, and that field."""

_REFUSED = {
    "the run selects its best step by dev and keeps it in best/": (
        "load_best_model_at_end metric_for_best_model greater_is_better"
    ),
    "the run sets its own evaluation, logging and saving steps, on which resuming depends": (
        "eval_strategy eval_delay eval_on_start logging_strategy logging_nan_inf_filter disable_tqdm save_strategy "
        "save_total_limit save_only_model save_on_each_node enable_jit_checkpoint ignore_data_skip "
        "restore_callback_states_from_checkpoint resume_from_checkpoint do_train do_eval do_predict"
    ),
    "the batches of a run depend on the corpus, batch_size and seed only": (
        "remove_unused_columns dataloader_drop_last batch_sampler multi_dataset_batch_sampler auto_find_batch_size "
        "train_sampling_strategy prompts router_mapping label_names accelerator_config"
    ),
    "workers that outlive an epoch change the order of the random numbers": "dataloader_persistent_workers",
    "the losses take no labels": "label_smoothing_factor",
    "several devices share a batch by DistributedDataParallel, which `smoothcse train --devices` sets up": (
        "ddp_find_unused_parameters ddp_broadcast_buffers ddp_static_graph deepspeed parallelism_config local_rank"
    ),
    "the field gradient_checkpointing keeps the dropout of each view, which other variants do not": (
        "gradient_checkpointing_kwargs activation_checkpointing_kwargs"
    ),
    "set the environment variable SMOOTHCSE_CPU=1 instead": "use_cpu",
    "`smoothcse push` uploads a model": (
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision"
    ),
}
REFUSALS = {name: reason for reason, names in _REFUSED.items() for name in names.split()}
"""Arguments of the trainer that would break a guarantee, and the reason."""


def check_trainer_args(given: Mapping[str, HostValue]) -> None:
    """Check that each argument exists and breaks no guarantee of a run.

    Raises:
        SmoothCSEError: If an argument is not allowed; the message says what to do instead.
    """
    known = set(_host_arguments())
    for name in given:
        if name in OUR_FIELDS:
            raise SmoothCSEError(f"trainer_args sets {name}, which the field {OUR_FIELDS[name]} sets; use that field.")
        if name in REFUSALS:
            raise SmoothCSEError(f"trainer_args cannot set {name}: {REFUSALS[name]}.")
        if name not in known:
            raise SmoothCSEError(
                f"trainer_args sets {name!r}, which is no argument of sentence-transformers' trainer."
                f"{did_you_mean(name, sorted(known - set(OUR_FIELDS) - set(REFUSALS)))}"
            )
    steps = given.get(ACCUMULATION, 1)
    if type(steps) is not int or steps < 1:
        raise SmoothCSEError(f"trainer_args: {ACCUMULATION} is {steps!r}, but must be a whole number of at least 1.")


def accumulated_batches(given: Mapping[str, HostValue]) -> int:
    """Return the number of batches per step, given checked arguments."""
    steps = given.get(ACCUMULATION, 1)
    return steps if isinstance(steps, int) else 1


def broken_promises(given: Mapping[str, HostValue], batch_size: int) -> Iterator[str]:
    """Yield a warning for each allowed argument that weakens a guarantee of a run."""
    steps = accumulated_batches(given)
    if steps > 1:
        yield (
            f"{ACCUMULATION} {steps} adds no in-batch negatives: a step averages the losses of {steps} batches "
            f"of {batch_size}, whose sentences are not negatives of each other. For more negatives, raise batch_size, "
            "with mini_batch if the memory does not suffice."
        )
    if given.get("torch_compile"):
        yield "torch_compile changes rounding: equal configurations give equal results only if both set it."


def _host_arguments() -> list[str]:
    from sentence_transformers import SentenceTransformerTrainingArguments  # loads torch

    return [field.name for field in dataclasses.fields(SentenceTransformerTrainingArguments)]
