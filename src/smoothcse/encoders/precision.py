"""The precision that a model computes in. All decisions between fp32, bf16 and fp16 are made here.

=========  ==========================================================================================
purpose    meaning of ``auto``
=========  ==========================================================================================
train      bf16 on hardware with bf16 instructions, else fp32
encode     the same; commands that encode or serve print the choice
measure    fp32 on every machine, so that a score depends only on the model and the data
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
"""Precision in use; fp16 in training only."""

Purpose = Literal["train", "encode", "measure"]

ASSUME_BF16 = "SMOOTHCSE_ASSUME_BF16"
"""Environment variable for tests: 1 or 0 to assume hardware with or without bf16 instructions."""

_CHOICES: dict[Purpose, tuple[str, ...]] = {
    "train": ("auto", "fp32", "bf16", "fp16"),
    "encode": ("auto", "fp32", "bf16"),
    "measure": ("auto", "fp32", "bf16"),
}


def check_precision(precision: str, purpose: Purpose) -> None:
    """Raise a :class:`SmoothCSEError` if a precision does not exist for a purpose."""
    if precision not in _CHOICES[purpose]:
        raise SmoothCSEError(f"precision {precision!r} is unknown; choose one of {', '.join(_CHOICES[purpose])}.")


def resolve_precision(precision: str, purpose: Purpose, device_type: str) -> Resolved:
    """Return the precision to use on a type of device.

    Args:
        precision: Requested precision: ``auto``, ``fp32``, ``bf16``, or ``fp16`` in training.
        purpose: Purpose of the computation.
        device_type: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        SmoothCSEError: If the precision is unknown, or not available on this device.
    """
    check_precision(precision, purpose)
    if precision == "fp16" and device_type != "cuda":
        raise SmoothCSEError("precision fp16 needs a CUDA device and there is none here; use auto, bf16 or fp32.")
    if precision != "auto":
        return cast(Resolved, precision)
    return "bf16" if purpose != "measure" and has_fast_bf16(device_type) else "fp32"


def has_fast_bf16(device_type: str) -> bool:
    """Return whether a type of device has bf16 instructions, so that bf16 is faster than fp32."""
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
    """Return the line with which a command reports its precision.

    Args:
        precision: Requested precision.
        resolved: Precision in use.
    """
    if precision == "auto" and resolved == "bf16":
        return "Precision: bf16, which is fast on this hardware; fp32 avoids its rounding."
    return f"Precision: {resolved}."


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Run a model without autocast, even while it is being trained under autocast.

    The trainer wraps the model's ``forward`` in autocast, which would also affect evaluation during training.

    Args:
        model: Model whose ``forward`` may have been replaced on the instance.
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
