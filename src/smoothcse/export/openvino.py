"""Export of an encoder's transformer to OpenVINO, in float32 and int8.

The host's OpenVINO backend needs optimum-intel, which requires an older transformers release than the one that this
package is tested with. OpenVINO reads ONNX, so :mod:`smoothcse.export.onnx` writes the graph and this module converts
it to the layout of that backend: ``openvino/openvino_model.xml`` with the weights in the ``.bin`` beside it.
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
    """Write the graph of a model's transformer, with its weights in the ``.bin`` beside it.

    Args:
        model: Model, as in :func:`~smoothcse.export.onnx.write_onnx`.
        path: ``.xml`` file to write; its folder is created.
        calibration: Sentences to calibrate int8 quantisation with; None (default) writes float32.

    Raises:
        SmoothCSEError: If the extra ``openvino`` is not installed, or the model cannot be exported.
    """
    openvino, core = openvino_runtime()
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(model, Path(folder) / "model.onnx")
        graph = core.read_model(Path(folder) / "model.onnx")
        if calibration:
            graph = _quantized(graph, model, calibration)
        openvino.save_model(graph, path, compress_to_fp16=False)


def _quantized(graph: Any, model: SentenceTransformer, calibration: Sequence[str]) -> Any:
    """Apply static post-training quantisation, like the host's ``export_static_quantized_openvino_model``."""
    os.environ.setdefault("NNCF_CI", "1")  # no telemetry
    nncf = require("nncf", "openvino", "The format openvino")
    nncf.set_log_level(logging.ERROR)
    names = [node.get_any_name() for node in graph.inputs]
    batches = [model.preprocess([sentence], prompt=prompt_of(model)) for sentence in calibration]
    data = nncf.Dataset([{name: batch[name].cpu().numpy() for name in names} for batch in batches])
    with contextlib.redirect_stdout(sys.stderr):  # for its progress bars
        return nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches))
