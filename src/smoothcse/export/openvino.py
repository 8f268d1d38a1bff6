"""The transformer of an encoder as an OpenVINO graph, and its int8 form.

The host's own OpenVINO backend needs optimum-intel, which asks for a transformers release older than the one that
this package is tested with. OpenVINO reads ONNX, so :mod:`smoothcse.export.onnx` writes the graph and it is converted
here, to the layout of that backend: ``openvino/openvino_model.xml`` with the weights in the ``.bin`` beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from smoothcse._utils.extras import require
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.export.onnx import write_onnx

OPENVINO_FILE = Path("openvino") / "openvino_model.xml"
"""Where the host's OpenVINO backend looks for the graph in a model folder."""


def write_openvino(model: SentenceTransformer, path: Path, calibration: Sequence[str] | None = None) -> None:
    """Write the graph of a model's transformer; the weights go to the ``.bin`` beside it.

    Args:
        model: as :func:`~smoothcse.export.onnx.write_onnx` takes it.
        path: of the ``.xml`` file; its folder is made.
        calibration: sentences whose activations set the ranges of the int8 form; None for float32.

    Raises:
        SmoothCSEError: if the extra ``openvino`` is missing, or the model cannot be written.
    """
    openvino, core = _runtime()
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(model, Path(folder) / "model.onnx")
        graph = core.read_model(Path(folder) / "model.onnx")
        if calibration:
            graph = _quantized(graph, model, calibration)
        openvino.save_model(graph, path, compress_to_fp16=False)


def open_openvino(path: Path) -> Any:
    """Return a compiled model on the CPU with as many threads as torch has, computing in float32 where it is float.

    Raises:
        SmoothCSEError: if the extra ``openvino`` is missing or the file is no graph.
    """
    _, core = _runtime()
    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it, and the check would see that
    }
    try:
        return core.compile_model(path, "CPU", options)
    except RuntimeError as error:
        raise SmoothCSEError(f"{path} cannot be opened as an OpenVINO model: {first_line(error)}") from error


def _runtime() -> tuple[Any, Any]:
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


def _quantized(graph: Any, model: SentenceTransformer, calibration: Sequence[str]) -> Any:
    """Quantise weights and activations after training, as the host's ``export_static_quantized_openvino_model``."""
    os.environ.setdefault("NNCF_CI", "1")  # it would report its use to its makers over the network
    nncf = require("nncf", "openvino", "The format openvino")
    nncf.set_log_level(logging.ERROR)
    names = [node.get_any_name() for node in graph.inputs]
    batches = [model.preprocess([sentence], prompt=prompt_of(model)) for sentence in calibration]
    data = nncf.Dataset([{name: batch[name].cpu().numpy() for name in names} for batch in batches])
    with contextlib.redirect_stdout(sys.stderr):  # where its progress bars belong
        return nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches))
