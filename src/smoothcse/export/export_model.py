"""Export of a model to another format, verified by comparing embeddings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer, WeightedLayerPooling

from smoothcse._utils.atomic import explain_unwritable
from smoothcse._utils.choices import ExportFormat, ExportQuantisation
from smoothcse._utils.progress import progress_bar
from smoothcse.encoders.exported import is_exported, load_exported
from smoothcse.encoders.projection import strip_projection
from smoothcse.encoders.runtimes import ONNX_FILE, OPENVINO_FILE
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.sts import STSTask
from smoothcse.export.comparison import Comparison, compare
from smoothcse.export.onnx import quantize_onnx, write_onnx
from smoothcse.export.openvino import write_openvino
from smoothcse.export.static import LEARNED_TEXTS, write_static

LEAST_COSINE = 0.9999
"""Minimum cosine between the embeddings of each sentence before and after a change of format; measured: 1 - 1e-7."""

LEAST_INT8_COSINE = 0.95
"""Minimum mean cosine for int8; measured on all-MiniLM-L6-v2: 0.993 (ONNX) and 0.996 (OpenVINO)."""

LEAST_STATIC_COSINE = 0.5
"""Minimum mean cosine for a static model; measured on all-MiniLM-L6-v2: 0.986, on texts that it learned from."""

CALIBRATION = 300
"""Sentences to calibrate OpenVINO's int8 quantisation with, the same number as in the host."""

RECORD = "export.json"
"""File in the exported folder with the format and the comparison."""

UNWRITABLE = "free disk space, or give another --output"
"""Advice if the folder cannot be written."""

_GRAPHS: tuple[Literal["onnx"], Literal["openvino"]] = ("onnx", "openvino")


def export_model(
    model: SentenceTransformer,
    target: Path,
    format: ExportFormat,
    sentences: Sequence[str],
    *,
    quantize: ExportQuantisation | None = None,
    calibration: Sequence[str] | None = None,
    sts: STSTask | None = None,
    origin: str | None = None,
    console: Console | None = None,
) -> Comparison:
    """Write a model in another format, load it, and compare it with the original.

    The target folder appears only if the embeddings match. It has the layout of sentence-transformers:
    ``SentenceTransformer(target, backend=format)`` reads it if optimum is installed, and
    :func:`~smoothcse.encoders.load.load_encoder` reads it without.

    Args:
        model: Model on the CPU. Its projection head is not exported.
        target: Folder to write, which must not exist.
        format: ``onnx``, ``openvino``, ``static`` (see :mod:`smoothcse.export.static`) or ``safetensors`` (the plain
            sentence-transformers folder).
        sentences: Sentences to compare and time the models with.
        quantize: ``int8`` for 8-bit weights and activations, for onnx and openvino; None (default) keeps float32.
        calibration: Sentences to calibrate OpenVINO's int8 quantisation with, at most 300, or documents that a static
            model learns from, at most 10,000; None uses ``sentences``.
        sts: STS-B dev, to score both models; None (default) skips the scores.
        origin: Origin of the sentences in words, for the record.
        console: Console for the progress bar; None uses standard error.

    Returns:
        Size, speed and score of both models, also written to ``export.json`` in the folder.

    Raises:
        SmoothCSEError: If the target exists, the format does not support the model, an extra is not installed, or the
            embeddings do not match.
    """
    _check(model, target, format, quantize)
    model = strip_projection(model).eval()
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        with explain_unwritable(target, UNWRITABLE):
            with progress_bar(console) as progress:
                task = progress.add_task(f"writing {format}", total=1)
                files = _write(model, new, format, quantize, list(calibration or sentences))
                progress.advance(task)
                exported = (
                    load_exported(new, backend=format)
                    if format in _GRAPHS
                    else SentenceTransformer(str(new), device="cpu").float()
                )
                names = ("before: torch, float32", f"after: {format}, {quantize or 'float32'}")
                comparison = compare(model, exported, files, sentences, names=names, sts=sts, progress=progress)
            _require_match(comparison, format, quantize)
            record = {"format": format, "quantize": quantize, "sentences_from": origin, **comparison.as_dict()}
            (new / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return comparison


def require_new(target: Path) -> None:
    """Refuse a folder that exists.

    Raises:
        SmoothCSEError: If the target exists.
    """
    if target.exists():
        raise SmoothCSEError(f"{target} already exists; give the name of a new folder.")


def _check(model: SentenceTransformer, target: Path, format: str, quantize: str | None) -> None:
    if format not in get_args(ExportFormat):
        raise SmoothCSEError(f"The format {format!r} is unknown; choose one of {', '.join(get_args(ExportFormat))}.")
    if quantize not in (None, *get_args(ExportQuantisation)):
        raise SmoothCSEError(f"The quantisation {quantize!r} is unknown; choose int8.")
    if quantize and format not in _GRAPHS:
        raise SmoothCSEError(f"int8 is not available for {format}; choose onnx or openvino.")
    if is_exported(model):
        raise SmoothCSEError("The model is already exported and cannot be exported again; give the original model.")
    require_new(target)
    if format != "safetensors" and not isinstance(model[0], Transformer):
        raise SmoothCSEError(
            f"This model starts with a {type(model[0]).__name__}, not a transformer; use --format safetensors."
        )
    if format in _GRAPHS and any(isinstance(module, WeightedLayerPooling) for module in model):
        raise SmoothCSEError(
            f"This pooling averages several layers, and {format} files contain only the last one; "
            "give --pooling cls or mean, or --format safetensors."
        )


def _write(
    model: SentenceTransformer, folder: Path, format: ExportFormat, quantize: str | None, calibration: list[str]
) -> list[Path]:
    """Write the folder and return the files with the transformer's weights, or with what replaces them."""
    if format == "static":
        return write_static(model, folder, calibration[:LEARNED_TEXTS])
    model.save_pretrained(str(folder), create_model_card=False)
    weights = sorted(folder.glob("model*.safetensors"))
    if format == "safetensors":
        return weights
    for file in [*weights, *folder.glob("*.index.json")]:
        file.unlink()
    if format == "openvino":
        path = folder / OPENVINO_FILE
        write_openvino(model, path, calibration[:CALIBRATION] if quantize else None)
        return [path, path.with_suffix(".bin")]
    path = folder / ONNX_FILE
    write_onnx(model, path)
    if quantize:
        whole = path.rename(path.with_suffix(".float32"))
        quantize_onnx(whole, path)
        whole.unlink()
    return [path]


def _require_match(found: Comparison, format: str, quantize: str | None) -> None:
    cosine, least, remedy = found.min_cosine, LEAST_COSINE, "Use --format safetensors, and please report this."
    if format == "static":
        cosine, least, remedy = found.mean_cosine, LEAST_STATIC_COSINE, "Give more text, or use --format onnx."
    elif quantize:
        cosine, least, remedy = found.mean_cosine, LEAST_INT8_COSINE, "Export it without --quantize."
    if not cosine >= least:  # true for NaN, too
        raise SmoothCSEError(
            f"The exported model differs from the original: the cosine of their embeddings is {cosine:.4f}, and the "
            f"minimum is {least}; nothing was written. {remedy}"
        )
