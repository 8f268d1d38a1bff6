"""The parts of a run that the host needs, made of a configuration: the encoder, the loss, and the host's settings."""

from __future__ import annotations

from functools import partial

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import set_seed

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.hardware import Hardware
from smoothcse.encoders.length import check_length, require_room
from smoothcse.errors import SmoothCSEError
from smoothcse.methods import ContrastiveLoss, with_gradient_caching
from smoothcse.methods.table import find_method, make_settings
from smoothcse.objectives import GaussianNoise, Noise
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.training.mini_batch import mini_batch_tokens


def read_start(config: TrainConfig, hardware: Hardware) -> SentenceTransformer:
    """Return the encoder to train."""
    set_seed(config.seed)
    model = build_encoder(
        config.model,
        config.pooling,
        config.projection,
        config.dropout,
        max_length=None,  # sentences are cut in training only; the shipped model keeps the start's own limit
        device="cpu" if hardware.device_type == "cpu" else None,
        seed=config.seed,
    )
    check_length(config.max_length, model[0].config, config.model)
    method = find_method(config.method)
    if method.prepare:
        model = method.prepare(model, make_settings(config.method, config.settings or {}))
    require_room(model, config.max_length)
    return model


def make_loss(model: SentenceTransformer, config: TrainConfig, hardware: Hardware) -> ContrastiveLoss:
    """Return the loss of the method, cached if the batch needs it."""
    method = find_method(config.method)
    tokens = mini_batch_tokens(config, model, hardware.world_size)
    kind = method.loss if tokens is None else partial(with_gradient_caching(method.loss), mini_batch_tokens=tokens)
    loss = kind(
        model,
        settings=make_settings(config.method, config.settings or {}),
        noise=noise_of(config),
        temperature=config.temperature,
        hard_negative_log_weight=config.hard_negative_log_weight,
        seed=config.seed,
    )
    if loss.state is not None:
        _require_shared_steps(config, hardware, loss.state)
    return loss


def noise_of(config: TrainConfig) -> Noise:
    """Return the Gaussian negatives of a configuration."""
    return Noise(
        count=config.noise_for(config.batch_size),
        weight=config.noise_weight,
        share=config.noise_share,
        mode=config.noise_mode,
        source=GaussianNoise(config.seed, config.noise_mean, config.noise_std),
    )


def _require_shared_steps(config: TrainConfig, hardware: Hardware, state: nn.Module) -> None:
    """Refuse what would drift apart: in fp16 each rank skips steps of its own for what the host does not know of."""
    trained = any(parameter.requires_grad for parameter in state.parameters())
    if trained and hardware.precision == "fp16" and hardware.world_size > 1:
        raise SmoothCSEError(
            f"The method {config.method} trains weights beside the encoder, which several devices cannot share in "
            "fp16; use precision bf16 or fp32."
        )


def host_arguments(config: TrainConfig, folder: RunFolder, hardware: Hardware) -> SentenceTransformerTrainingArguments:
    """Translate our fields into the host's."""
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=config.batch_size // hardware.world_size,
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        lr_scheduler_type="constant_with_warmup" if config.lr_scheduler == "constant" else config.lr_scheduler,
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
        bf16=hardware.precision == "bf16",
        fp16=hardware.precision == "fp16",
        use_cpu=hardware.device_type == "cpu",
        seed=config.seed,
        data_seed=config.seed,  # else the order of the data would follow the dropout stream of each rank
        ddp_broadcast_buffers=False,  # encoders' never change; with caching, ranks make different numbers of forwards
        ddp_find_unused_parameters=False,  # build_encoder leaves none; the search would forbid two forwards a step
        dataloader_num_workers=config.workers,
        dataloader_drop_last=True,  # a last batch of one sentence has no negatives
        eval_strategy="steps",
        eval_steps=config.eval_steps,
        save_strategy="steps",
        save_steps=config.eval_steps,
        save_total_limit=2,
        logging_steps=config.log_steps,
        logging_nan_inf_filter=False,  # the host would hide what FiniteLoss looks for
        disable_tqdm=True,
        report_to="none",
    )
