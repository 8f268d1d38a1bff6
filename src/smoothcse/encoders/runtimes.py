"""The runtimes that run exported graphs: where their files lie in a model folder, and how they are opened."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from smoothcse._utils.extras import require
from smoothcse.errors import SmoothCSEError, first_line

ONNX_FILE = Path("onnx") / "model.onnx"
"""Where the host's ONNX backend looks for the graph in a model folder."""

OUTPUT = "last_hidden_state"

OPENVINO_FILE = Path("openvino") / "openvino_model.xml"
"""Where the host's OpenVINO backend looks for the graph in a model folder."""


def open_onnx(path: Path) -> Any:
    """Return a session of onnxruntime on the CPU with as many threads as torch has.

    Raises:
        SmoothCSEError: if the extra ``onnx`` is missing or the file is no graph.
    """
    onnxruntime = require("onnxruntime", "onnx", "The format onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common base but this one
        raise SmoothCSEError(f"{path} cannot be opened as an ONNX model: {first_line(error)}") from error


def open_openvino(path: Path) -> Any:
    """Return a compiled model on the CPU with as many threads as torch has, computing in float32 where it is float.

    Raises:
        SmoothCSEError: if the extra ``openvino`` is missing or the file is no graph.
    """
    _, core = openvino_runtime()
    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it, and the check would see that
    }
    try:
        return core.compile_model(path, "CPU", options)
    except RuntimeError as error:
        raise SmoothCSEError(f"{path} cannot be opened as an OpenVINO model: {first_line(error)}") from error


def openvino_runtime() -> tuple[Any, Any]:
    """Return the package and its one core.

    Raises:
        SmoothCSEError: If the extra ``openvino`` is missing.
    """
    with _no_usage_report():
        openvino = require("openvino", "openvino", "The format openvino")
    return openvino, _core(openvino)


@cache
def _core(openvino: Any) -> Any:
    """Return a core that lives as long as the process.

    The CPU plugin of each core replaces the signal stack of the thread that first uses it, and restores what it found
    when it goes. Two cores whose lives overlap leave a stack that is no longer mapped, and the next signal, a SIGTERM
    or Ctrl-C, ends the process with a segmentation fault.
    """
    return openvino.Core()


@contextlib.contextmanager
def _no_usage_report() -> Iterator[None]:
    """Import OpenVINO without the usage report that it sends to its makers unless it runs in a CI job."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
