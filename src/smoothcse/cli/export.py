"""``smoothcse export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse._utils.choices import ExportChoice, ExportQuantisation
from smoothcse.cli.arguments import ModelArgument, PoolingOption
from smoothcse.errors import SmoothCSEError

_CHECK = "Verification"


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    format: Annotated[
        ExportChoice,
        typer.Option(help="Format of the exported model. fastest: measure them on this machine and keep the fastest."),
    ] = "onnx",
    quantize: Annotated[
        ExportQuantisation | None, typer.Option(help="int8: 8-bit weights and activations. [float32]")
    ] = None,
    pooling: PoolingOption = None,
    dev: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CHECK, help="Score both models on STS-B dev: a folder in SentEval's layout, or hub."
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CHECK,
            help="Sentences for comparison, timing and calibration, and documents that a static model learns from: "
            "any source that `smoothcse train` takes. [the text that the model was trained on, else python-docs]",
            show_default=False,
        ),
    ] = None,
    sentences: Annotated[int, typer.Option(min=2, rich_help_panel=_CHECK, help="Number of sentences.")] = 512,
) -> None:
    """Export a model to ONNX, OpenVINO, a static model or safetensors, and verify the result.

    Prints size, speed and STS-B dev score before and after. Writes nothing if the embeddings do not match. A static
    model (model2vec) is one vector per token; give the documents that you search with `--texts`.

    Example: `smoothcse export my-encoder --format onnx --quantize int8 -o my-encoder-onnx`
    """
    if format == "fastest" and quantize:
        raise SmoothCSEError("--format fastest measures int8 as well; leave out --quantize.")
    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.encoders.load import load_encoder
    from smoothcse.evaluation.data import sts_folder
    from smoothcse.evaluation.sts import load_task
    from smoothcse.export.comparison import Comparison
    from smoothcse.export.export_model import CALIBRATION, export_model
    from smoothcse.export.fastest import Measured, export_fastest
    from smoothcse.export.own_texts import comparison_texts
    from smoothcse.export.static import LEARNED_TEXTS
    from smoothcse.hub.model_card import require_card, write_model_card
    from smoothcse.runs.search_settings import find_search_settings, write_search_settings

    quiet_libraries()
    require_card(model)
    settings = find_search_settings(model)
    sts = load_task(sts_folder(dev), "STSBenchmark-dev") if dev else None
    limit = max(sentences, LEARNED_TEXTS) if format == "static" else sentences + CALIBRATION
    found = comparison_texts(model, texts, limit)
    encoder, compared = load_encoder(model, pooling, device="cpu"), found.texts[:sentences]
    calibration = found.texts[0 if format == "static" else sentences :]  # not compared, if there are enough
    comparison: Comparison | Measured
    if format == "fastest":
        comparison = export_fastest(encoder, output, compared, calibration=calibration, sts=sts, origin=found.kind)
    else:
        comparison = export_model(
            encoder, output, format, compared, quantize=quantize, calibration=calibration, sts=sts, origin=found.kind
        )
    write_model_card(output, source=model)
    if settings is not None:
        write_search_settings(output, settings)
    Console().print(comparison.table())
    typer.echo(f"The sentences are {found.origin}.")
    typer.echo(f"The model is in {output}.")
