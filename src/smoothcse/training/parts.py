"""Parts of a run for the trainer, built from a plan: the encoder, the loss and the trainer's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import set_seed
from transformers.integrations import get_available_reporting_integrations

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.gradient_checkpointing import checkpoint_gradients
from smoothcse.encoders.last_layers import train_last_layers
from smoothcse.encoders.length import check_length, require_room
from smoothcse.encoders.lora import add_lora
from smoothcse.errors import SmoothCSEError, first_line, some_of
from smoothcse.methods import ContrastiveLoss, with_gradient_caching
from smoothcse.methods.matryoshka import with_matryoshka
from smoothcse.training.mini_batch import mini_batch_tokens
from smoothcse.training.plan import RunPlan
from smoothcse.views.choice import draws_text
from smoothcse.views.collator import view_prompts

_FSDP = {
    "fsdp": True,
    # The encoder is already sharded; see `encoders/sharding.py`.
    "fsdp_config": {"version": 2, "auto_wrap_policy": "NO_WRAP", "state_dict_type": "FULL_STATE_DICT"},
}


def read_start(plan: RunPlan) -> SentenceTransformer:
    """Return the encoder to train."""
    config, on_cpu = plan.config, plan.hardware.device_type == "cpu"
    set_seed(config.seed)
    model = build_encoder(
        config.model,
        config.pooling,
        config.projection,
        config.dropout,
        max_length=None,  # truncate in training only; the saved model keeps the limit of the start model
        device="cpu" if on_cpu or config.shard else None,  # a rank moves its part alone to its device
        seed=config.seed,
        needs_dropout=plan.needs_dropout,
        bidirectional=config.bidirectional,
    )
    check_length(config.max_length, model, config.model)
    if plan.method.prepare:
        model = plan.method.prepare(model, plan.settings)
    prompts = view_prompts(model, config.views) if draws_text(config.views) else None
    require_room(model, config.max_length, prompts)
    if config.gradient_checkpointing:
        checkpoint_gradients(model, config.model)
    if config.train_layers is not None:
        train_last_layers(model, config.train_layers, config.model)
    if plan.lora:
        add_lora(model, plan.lora, config.model, seed=config.seed)
    return model


def make_loss(plan: RunPlan, model: SentenceTransformer) -> ContrastiveLoss:
    """Return the loss of the method, with gradient caching if the batch is large."""
    config, method = plan.config, plan.method
    tokens = None
    if not (config.gradient_checkpointing or config.shard):
        tokens = mini_batch_tokens(
            config.mini_batch,
            model,
            sentences=plan.rank_batch,
            max_length=config.max_length,
            precision=plan.hardware.precision,
        )
    plain = method.loss if config.matryoshka is None else with_matryoshka(method.loss)
    kind: Callable[..., ContrastiveLoss] = plain
    further: dict[str, Any] = {} if config.matryoshka is None else {"dimensions": config.matryoshka}
    if tokens is not None:
        kind, further["mini_batch_tokens"] = with_gradient_caching(plain), tokens
    loss = kind(
        model,
        settings=plan.settings,
        noise=plan.noise,
        form=plan.form,
        temperature=config.temperature,
        hard_negative_log_weight=config.hard_negative_log_weight,
        symmetric=config.symmetric,
        seed=config.seed,
        **further,
    )
    if loss.state is not None:
        _require_shared_steps(plan, loss.state)
    return loss


def _require_shared_steps(plan: RunPlan, state: nn.Module) -> None:
    """Reject trained weights beside the encoder in fp16 on several devices: ranks skip steps independently."""
    trained = any(parameter.requires_grad for parameter in state.parameters())
    if trained and plan.hardware.precision == "fp16" and plan.hardware.world_size > 1:
        raise SmoothCSEError(
            f"The method {plan.settings.name} trains weights beside the encoder, which fp16 cannot keep equal "
            "on several devices; use precision bf16 or fp32."
        )


def host_arguments(plan: RunPlan) -> SentenceTransformerTrainingArguments:
    """Return the trainer's arguments for a plan.

    Raises:
        SmoothCSEError: If sentence-transformers rejects a value of ``trainer_args``.
    """
    try:
        arguments = SentenceTransformerTrainingArguments(**(_own_arguments(plan) | plan.config.trainer_args))
    except (ValueError, TypeError, ImportError) as error:
        if not plan.config.trainer_args:
            raise
        raise SmoothCSEError(f"sentence-transformers rejects the trainer_args: {first_line(error)}") from error
    missing = set(arguments.report_to) - set(get_available_reporting_integrations())
    if missing:
        raise SmoothCSEError(
            f"trainer_args: report_to names {some_of(sorted(missing))}, which is not installed or not known to "
            "transformers; install it, or remove it."
        )
    return arguments


def _own_arguments(plan: RunPlan) -> dict[str, Any]:
    config, hardware = plan.config, plan.hardware
    return {
        "output_dir": str(plan.folder.checkpoints),
        "per_device_train_batch_size": plan.rank_batch,
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "lr_scheduler_type": "constant_with_warmup" if config.lr_scheduler == "constant" else config.lr_scheduler,
        "warmup_steps": config.warmup_ratio,
        "weight_decay": config.weight_decay,
        "adam_epsilon": config.adam_epsilon,
        "max_grad_norm": config.max_grad_norm,
        "bf16": hardware.precision == "bf16",
        "fp16": hardware.precision == "fp16",
        "use_cpu": hardware.device_type == "cpu",
        "seed": config.seed,
        "data_seed": config.seed,  # else the data order would depend on the dropout stream of each rank
        **(_FSDP if config.shard else {}),
        "ddp_broadcast_buffers": False,  # buffers are constant; with caching, forward passes differ by rank
        "ddp_find_unused_parameters": False,  # there are none; the search forbids two forward passes
        "dataloader_num_workers": config.workers,
        "dataloader_drop_last": True,  # a last batch of one sentence would have no negatives
        "eval_strategy": "steps",
        "eval_steps": config.eval_steps,
        "save_strategy": "steps",
        "save_steps": config.eval_steps,
        "save_total_limit": 2,
        "logging_steps": config.log_steps,
        "logging_nan_inf_filter": False,  # the filter would hide the values that FiniteLoss looks for
        "disable_tqdm": True,
        "report_to": "none",
    }
