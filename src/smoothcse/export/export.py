"""A trained model in another format, proven to be the same model before it is handed over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer, WeightedLayerPooling

from smoothcse._utils.choices import ExportFormat, ExportQuantisation
from smoothcse.encoders.exported import is_exported, load_exported
from smoothcse.encoders.projection import strip_projection
from smoothcse.encoders.runtimes import ONNX_FILE, OPENVINO_FILE
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.sts import STSTask
from smoothcse.export.comparison import Comparison, compare
from smoothcse.export.onnx import quantize_onnx, write_onnx
from smoothcse.export.openvino import write_openvino

LEAST_COSINE = 0.9999
"""Between the embeddings of each sentence before and after a change of format alone; measured: 1 - 1e-7."""

LEAST_INT8_COSINE = 0.95
"""Likewise for int8, on average; measured on all-MiniLM-L6-v2: 0.993 (ONNX) and 0.996 (OpenVINO)."""

CALIBRATION = 300
"""Sentences that set the ranges of OpenVINO's int8 form; the host takes as many."""

RECORD = "export.json"


def export(
    model: SentenceTransformer,
    target: Path,
    format: ExportFormat,
    sentences: Sequence[str],
    *,
    quantize: ExportQuantisation | None = None,
    calibration: Sequence[str] | None = None,
    sts: STSTask | None = None,
    console: Console | None = None,
) -> Comparison:
    """Write a model in a format, load it from there and compare it with the original.

    The folder appears only when its embeddings match. It is in the host's layout: ``SentenceTransformer(target,
    backend=format)`` reads it where optimum is installed, :func:`~smoothcse.encoders.load.load_encoder` without.

    Args:
        model: on the CPU; a training head is left out.
        target: a folder that does not exist yet.
        format: ``onnx``, ``openvino`` or ``safetensors`` (the plain sentence-transformers folder).
        sentences: to compare and to time by.
        quantize: ``int8`` for weights and activations of 8 bits; None keeps float32. Not for safetensors.
        calibration: sentences that set the ranges of OpenVINO's int8 form, up to 300; None for those compared.
        sts: STS-B dev, to score both; None to leave it out.
        console: where the progress is drawn; None for standard error.

    Returns:
        Both models' size, speed and score, also in the folder's ``export.json``.

    Raises:
        SmoothCSEError: if the target exists, the format cannot hold the model, an extra is missing, or the
            embeddings do not match.
    """
    _check(model, target, format, quantize)
    model = strip_projection(model).eval()
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        with _bar(console) as progress:
            task = progress.add_task(f"writing {format}", total=1)
            files = _write(model, new, format, quantize, list(calibration or sentences)[:CALIBRATION])
            progress.advance(task)
            exported = (
                SentenceTransformer(str(new), device="cpu")
                if format == "safetensors"
                else load_exported(new, backend=format)
            )
            names = ("before: torch, float32", f"after: {format}, {quantize or 'float32'}")
            comparison = compare(model, exported, files, sentences, names=names, sts=sts, progress=progress)
        _require_match(comparison, quantize)
        record = {"format": format, "quantize": quantize, **comparison.as_dict()}
        (new / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        new.rename(target)
    except OSError as error:
        raise SmoothCSEError(
            f"{target} cannot be written ({error.strerror or error}): make room, or give another --output."
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return comparison


def _check(model: SentenceTransformer, target: Path, format: str, quantize: str | None) -> None:
    if format not in get_args(ExportFormat):
        raise SmoothCSEError(f"The format {format!r} is unknown; choose one of {', '.join(get_args(ExportFormat))}.")
    if quantize not in (None, *get_args(ExportQuantisation)):
        raise SmoothCSEError(f"The quantization {quantize!r} is unknown; there is int8.")
    if quantize and format == "safetensors":
        raise SmoothCSEError("int8 weights in safetensors are read by no plain loader; choose onnx or openvino.")
    if is_exported(model):
        raise SmoothCSEError("The model is exported already, and cannot be turned back; give the one it came from.")
    if target.exists():
        raise SmoothCSEError(f"{target} exists; give the name of a new folder.")
    if format != "safetensors" and not isinstance(model[0], Transformer):
        raise SmoothCSEError(
            f"This model starts with a {type(model[0]).__name__}, not a transformer; use safetensors."
        )
    if format != "safetensors" and any(isinstance(module, WeightedLayerPooling) for module in model):
        raise SmoothCSEError(
            f"This pooling averages several layers, and {format} files hold the last one alone; "
            "give --pooling cls or mean, or --format safetensors."
        )


def _write(
    model: SentenceTransformer, folder: Path, format: ExportFormat, quantize: str | None, calibration: list[str]
) -> list[Path]:
    """Write the folder and return the files that hold the transformer's weights."""
    model.save_pretrained(str(folder), create_model_card=False)
    weights = sorted(folder.glob("model*.safetensors"))
    if format == "safetensors":
        return weights
    for file in [*weights, *folder.glob("*.index.json")]:
        file.unlink()
    if format == "openvino":
        path = folder / OPENVINO_FILE
        write_openvino(model, path, calibration if quantize else None)
        return [path, path.with_suffix(".bin")]
    path = folder / ONNX_FILE
    write_onnx(model, path)
    if quantize:
        whole = path.rename(path.with_suffix(".float32"))
        quantize_onnx(whole, path)
        whole.unlink()
    return [path]


def _require_match(found: Comparison, quantize: str | None) -> None:
    cosine, least = (found.mean_cosine, LEAST_INT8_COSINE) if quantize else (found.min_cosine, LEAST_COSINE)
    if not cosine >= least:  # a NaN does not match either
        raise SmoothCSEError(
            f"The exported model is another one: its embeddings have a cosine of {cosine:.4f} with the original's, "
            f"where {least} is the least; nothing was written. "
            + ("Export it without --quantize." if quantize else "Use --format safetensors, and please report this.")
        )


def _bar(console: Console | None) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
    )
