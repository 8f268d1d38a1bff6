"""The arithmetic a model computes in: a function of what it computes for and of the hardware, decided here alone.

=========  ==========================================================================================
purpose    what ``auto`` comes to
=========  ==========================================================================================
train      bf16 where the hardware computes in it, else fp32
encode     the same; a command that encodes or serves prints which of the two it was
measure    fp32 on every machine, so that a score depends on the model and the data alone
=========  ==========================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import nn

from smoothcse.errors import SmoothCSEError

Resolved = Literal["fp32", "bf16", "fp16"]
"""What is computed in; fp16 in training only."""

Purpose = Literal["train", "encode", "measure"]

ASSUME_BF16 = "SMOOTHCSE_ASSUME_BF16"
"""Environment variable for tests: 1 or 0 to take any hardware for one with or without instructions for bf16."""

_CHOICES: dict[Purpose, tuple[str, ...]] = {
    "train": ("auto", "fp32", "bf16", "fp16"),
    "encode": ("auto", "fp32", "bf16"),
    "measure": ("auto", "fp32", "bf16"),
}


def check_precision(precision: str, purpose: Purpose) -> None:
    """Raise a :class:`SmoothCSEError` for a precision that does not exist for this purpose."""
    if precision not in _CHOICES[purpose]:
        raise SmoothCSEError(f"precision {precision!r} is unknown; choose one of {', '.join(_CHOICES[purpose])}.")


def resolve_precision(precision: str, purpose: Purpose, device_type: str) -> Resolved:
    """Return what a precision comes to on a kind of device.

    Args:
        precision: ``auto``, ``fp32``, ``bf16``, or in training ``fp16``.
        purpose: What is computed.
        device_type: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        SmoothCSEError: If the precision is unknown, or does not exist on this device.
    """
    check_precision(precision, purpose)
    if precision == "fp16" and device_type != "cuda":
        raise SmoothCSEError("precision fp16 needs a CUDA device and there is none here; use auto, bf16 or fp32.")
    if precision != "auto":
        return cast(Resolved, precision)
    return "bf16" if purpose != "measure" and has_fast_bf16(device_type) else "fp32"


def has_fast_bf16(device_type: str) -> bool:
    """Whether this kind of device has instructions for bf16, so that it is faster there than fp32."""
    assumed = os.environ.get(ASSUME_BF16)
    if assumed:
        return assumed == "1"
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def precision_notice(precision: str, resolved: str) -> str:
    """Return the line in which a command says what it encodes in.

    Args:
        precision: What was asked for.
        resolved: What that came to.
    """
    if precision == "auto" and resolved == "bf16":
        return "Precision: bf16, which is fast on this hardware; fp32 avoids its rounding."
    return f"Precision: {resolved}."


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Let a model compute in its own arithmetic, also while it is being trained in another.

    A trainer puts autocast around the model's ``forward``, where it also reaches who only measures the model.

    Args:
        model: Whose ``forward`` may have been replaced on the instance.
    """
    replaced = model.__dict__.pop("forward", None)
    try:
        with torch.autocast(_device_type(model), enabled=False):
            yield
    finally:
        if replaced is not None:
            model.__dict__["forward"] = replaced


def _device_type(model: nn.Module) -> str:
    parameter = next(model.parameters(), None)
    return "cpu" if parameter is None else parameter.device.type
