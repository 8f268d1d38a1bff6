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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse._utils.extras import require
from smoothcse.encoders.prompts import prompt_of
from smoothcse.encoders.runtimes import openvino_runtime
from smoothcse.export.onnx import write_onnx


def write_openvino(model: SentenceTransformer, path: Path, calibration: Sequence[str] | None = None) -> None:
    """Write the graph of a model's transformer; the weights go to the ``.bin`` beside it.

    Args:
        model: as :func:`~smoothcse.export.onnx.write_onnx` takes it.
        path: of the ``.xml`` file; its folder is made.
        calibration: sentences whose activations set the ranges of the int8 form; None for float32.

    Raises:
        SmoothCSEError: if the extra ``openvino`` is missing, or the model cannot be written.
    """
    openvino, core = openvino_runtime()
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(model, Path(folder) / "model.onnx")
        graph = core.read_model(Path(folder) / "model.onnx")
        if calibration:
            graph = _quantized(graph, model, calibration)
        openvino.save_model(graph, path, compress_to_fp16=False)


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
