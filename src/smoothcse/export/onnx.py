"""Export of an encoder's transformer to ONNX, in float32 and int8.

The host's ONNX backend needs optimum-onnx, which requires an older transformers release than the one that this package
is tested with. The graph is therefore written by torch, in the layout of that backend: ``onnx/model.onnx`` takes the
tokenizer's output, int64 ``(batch, sequence)``, and returns ``last_hidden_state``, float32 ``(batch, sequence, d)``.
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
_LARGEST = 2 * 2**30  # bytes, the limit of a protobuf file
_EXAMPLE = ["Two sentences of different lengths,", "since a length of one would be taken for a constant."]


def write_onnx(model: SentenceTransformer, path: Path) -> None:
    """Write the graph of a model's transformer, with its weights in the same file.

    Args:
        model: Model that starts with a transformer and uses only its last layer.
        path: ``.onnx`` file to write; its folder is created.

    Raises:
        SmoothCSEError: If the extra ``onnx`` is not installed, the model is too large, or torch cannot export it.
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
            f"torch cannot export this {network.config.model_type} model to ONNX ({first_line(error)}); use --format "
            "safetensors."
        ) from error


def quantize_onnx(source: Path, target: Path) -> None:
    """Quantise a graph to int8: weights per channel, activations dynamically.

    Weights are unsigned, since signed ones saturate on processors without int8 dot products (AVX2).

    Args:
        source: File written by :func:`write_onnx`.
        target: File to write.
    """
    quantization = require("onnxruntime.quantization", "onnx", "The format onnx")
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # hides the advice to optimise the graph first, which has no effect here
    try:
        quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QUInt8, per_channel=True)
    finally:
        root.setLevel(level)


class _LastHiddenState(nn.Module):
    """A transformer as a function of positional tensors, as a graph needs it."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: Tensor) -> Tensor:
        inputs = dict(zip(self.names, tensors, strict=True))
        states: Tensor = self.network(**inputs, return_dict=True).last_hidden_state
        return states


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's messages to its own developers."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
