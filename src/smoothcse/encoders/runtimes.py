"""Runtimes of exported graphs: file locations in a model folder, and opening of the files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from smoothcse._utils.extras import require
from smoothcse.errors import SmoothCSEError, first_line

ONNX_FILE = Path("onnx") / "model.onnx"
"""Path of the graph in a model folder for the host's ONNX backend."""

OUTPUT = "last_hidden_state"

OPENVINO_FILE = Path("openvino") / "openvino_model.xml"
"""Path of the graph in a model folder for the host's OpenVINO backend."""


def open_onnx(path: Path) -> Any:
    """Return an onnxruntime session on the CPU with as many threads as torch uses.

    Args:
        path: ``.onnx`` file.

    Raises:
        SmoothCSEError: If the extra ``onnx`` is not installed, or the file is not an ONNX graph.
    """
    onnxruntime = require("onnxruntime", "onnx", "The format onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no other common base class
        raise SmoothCSEError(f"{path} cannot be opened as an ONNX model: {first_line(error)}") from error


def open_openvino(path: Path, precision: Literal["f32", "bf16"] = "f32") -> Any:
    """Return a compiled OpenVINO model on the CPU with as many threads as torch uses.

    Args:
        path: ``.xml`` file.
        precision: Arithmetic of floats, OpenVINO's name. Its own default may be bf16, which the check of an export
            would reject.

    Raises:
        SmoothCSEError: If the extra ``openvino`` is not installed, or the file is not an OpenVINO graph.
    """
    _, core = openvino_runtime()
    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": precision,
    }
    try:
        return core.compile_model(path, "CPU", options)
    except RuntimeError as error:
        raise SmoothCSEError(f"{path} cannot be opened as an OpenVINO model: {first_line(error)}") from error


def openvino_runtime() -> tuple[Any, Any]:
    """Return the package and its only core.

    Raises:
        SmoothCSEError: If the extra ``openvino`` is not installed.
    """
    with _no_usage_report():
        openvino = require("openvino", "openvino", "The format openvino")
    return openvino, _core(openvino)


@cache
def _core(openvino: Any) -> Any:
    """Return a core that lives as long as the process.

    The CPU plugin of each core replaces the signal stack of the thread that first uses it, and restores the previous
    one when the core is destroyed. Two cores with overlapping lifetimes leave a signal stack that is no longer mapped,
    and the next signal, such as SIGTERM or Ctrl-C, ends the process with a segmentation fault.
    """
    return openvino.Core()


@contextlib.contextmanager
def _no_usage_report() -> Iterator[None]:
    """Suppress the telemetry that OpenVINO sends when it is imported outside of CI jobs."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
