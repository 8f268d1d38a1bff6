"""``smoothcse export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    format: Annotated[str, typer.Option(help="onnx, openvino or safetensors.")] = "onnx",
    quantize: Annotated[str | None, typer.Option(help="int8: weights and activations of 8 bits. [float32]")] = None,
    pooling: PoolingOption = None,
    dev: Annotated[
        str | None, typer.Option(help="Score both on STS-B dev: a folder in SentEval's layout, or hub.")
    ] = None,
    texts: Annotated[
        str, typer.Option(help="Sentences to compare, time and calibrate by; whatever `train` takes.")
    ] = "python-docs",
    sentences: Annotated[int, typer.Option(min=2, help="How many of them.")] = 512,
) -> None:
    """Write a model as ONNX, OpenVINO or safetensors, checked against the original.

    Prints size, speed and STS-B dev before and after. Nothing is written if the embeddings do not match.
    """
    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.corpus import load_sentences
    from smoothcse.encoders.load import load_encoder
    from smoothcse.evaluation.data import sts_folder
    from smoothcse.evaluation.sts import load_task
    from smoothcse.export.export_model import CALIBRATION, export_model
    from smoothcse.hub.model_card import require_card, write_model_card

    quiet_libraries()
    require_card(model)
    sts = load_task(sts_folder(dev), "STSBenchmark-dev") if dev else None
    found = load_sentences(texts, limit=sentences + CALIBRATION).dataset["sentence"][:]
    encoder = load_encoder(model, pooling, device="cpu")  # type: ignore[arg-type]
    comparison = export_model(
        encoder,
        output,
        format,  # type: ignore[arg-type]
        found[:sentences],
        quantize=quantize,  # type: ignore[arg-type]
        calibration=found[sentences:],  # those that are not compared, where there are enough
        sts=sts,
    )
    write_model_card(output, source=model)
    Console().print(comparison.table())
    typer.echo(f"The model is in {output}.")
