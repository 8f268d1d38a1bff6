"""The transformer of an encoder as an ONNX graph, and its int8 form.

The host's own ONNX backend needs optimum-onnx, which asks for a transformers release older than the one that this
package is tested with. So the graph is written by torch itself, in the layout of that backend:
``onnx/model.onnx`` takes what the tokenizer gives, int64 ``(batch, sequence)``, and returns ``last_hidden_state``,
float32 ``(batch, sequence, d)``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from smoothcse._utils.extras import require
from smoothcse.encoders.runtimes import OUTPUT
from smoothcse.errors import SmoothCSEError, first_line

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LARGEST = 2 * 2**30  # a protobuf file holds no more
_EXAMPLE = ["Two sentences of different lengths,", "since a length of one would be taken for a constant."]


def write_onnx(model: SentenceTransformer, path: Path) -> None:
    """Write the graph of a model's transformer, with its weights in the same file.

    Args:
        model: starts with a transformer and needs nothing but its last layer.
        path: of the ``.onnx`` file; its folder is made.

    Raises:
        SmoothCSEError: if the extra ``onnx`` is missing, or torch cannot write this model.
    """
    require("onnxscript", "onnx", "The format onnx")
    network = model[0].model
    if sum(p.numel() * p.element_size() for p in network.parameters()) >= _LARGEST:
        raise SmoothCSEError("A model of 2 GB or more does not fit into one ONNX file; use --format safetensors.")
    features = model.preprocess(_EXAMPLE)
    names = [name for name in _INPUTS if name in features]
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                _LastHiddenState(network, names).eval(),
                tuple(features[name].to(model.device) for name in names),
                str(path),
                input_names=names,
                output_names=[OUTPUT],
                dynamic_shapes=(tuple(shape for _ in names),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise SmoothCSEError(
            f"torch cannot write this {network.config.model_type} model as ONNX: {first_line(error)}"
        ) from error


def quantize_onnx(source: Path, target: Path) -> None:
    """Write the int8 form of a graph: weights quantised once per channel, activations while it runs.

    Weights are unsigned: with signed ones, processors without int8 dot products (AVX2) saturate.

    Args:
        source: from :func:`write_onnx`.
        target: another file.
    """
    quantization = require("onnxruntime.quantization", "onnx", "The format onnx")
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it advises a preparation that changes nothing for a graph optimised already
    try:
        quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QUInt8, per_channel=True)
    finally:
        root.setLevel(level)


class _LastHiddenState(nn.Module):
    """A transformer as a function of positional tensors: what a graph is."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: Tensor) -> Tensor:
        inputs = dict(zip(self.names, tensors, strict=True))
        states: Tensor = self.network(**inputs, return_dict=True).last_hidden_state
        return states


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to its own developers from the user."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
