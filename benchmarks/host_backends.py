"""Encode with the ONNX and OpenVINO backends of sentence-transformers, for ``encoding_backends.py``.

This script imports nothing of this package and runs in an environment of its own, because the host's backends need
optimum, which needs an older transformers than this package is tested with. It prepares each backend by the host's own
recipe, prints one JSON object per backend, and then answers requests, one JSON object per line.

    PYTHON benchmarks/host_backends.py MODEL_FOLDER CALIBRATION_FOLDER OUTPUT_FOLDER THREADS
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NNCF_CI"] = "1"  # no telemetry

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, __version__
from sentence_transformers.backend import export_dynamic_quantized_onnx_model, export_static_quantized_openvino_model

INT8_FILES = {
    "onnx": "onnx/model_qint8_avx512_vnni.onnx",
    "openvino": "openvino/openvino_model_qint8_quantized.xml",
}


def main() -> None:
    """Prepare the backends, then answer requests ``{"backend": NAME, "texts": FILE, "embeddings": FILE}``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder")
    parser.add_argument("calibration", help="folder with the texts that calibrate int8")
    parser.add_argument("output", type=Path, help="folder for the exported models")
    parser.add_argument("threads", type=int, help="threads of each backend")
    arguments = parser.parse_args()
    model, calibration = arguments.model, arguments.calibration
    output, threads = arguments.output, arguments.threads
    answers, sys.stdout = sys.stdout, sys.stderr  # for the libraries that print

    def answer(found: dict[str, Any]) -> None:
        print(json.dumps(found), file=answers, flush=True)

    torch.set_num_threads(threads)
    models = {}
    for backend in INT8_FILES:
        folder = output / backend
        try:
            load(model, backend, threads, export=True).save_pretrained(str(folder))
            quantise(load(str(folder), backend, threads), backend, str(folder), calibration)  # changes that model
            models[f"{backend}, fp32"] = load(str(folder), backend, threads)
            models[f"{backend}, int8"] = load(str(folder), backend, threads, file_name=INT8_FILES[backend])
        except Exception as error:  # the other backend is still worth its time
            answer({"failed": backend, "reason": f"{type(error).__name__}: {str(error)[:200]}"})
    for name in models:
        backend, precision = name.split(", ")
        answer({"prepared": name, "megabytes": megabytes(output / backend / backend, precision == "int8")})
    answer({"ready": True, "version": __version__})
    for line in sys.stdin:
        request = json.loads(line)
        texts = json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
        np.save(request["embeddings"], models[request["backend"]].encode(texts, show_progress_bar=False))
        answer({})


def load(folder: str, backend: str, threads: int, **options: Any) -> SentenceTransformer:
    """Load a model with one of the host's backends, on the CPU with a number of threads."""
    if backend == "onnx":
        import onnxruntime

        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        options |= {"provider": "CPUExecutionProvider", "session_options": session}
    else:
        options |= {"ov_config": {"INFERENCE_NUM_THREADS": threads}}
    return SentenceTransformer(folder, backend=backend, device="cpu", model_kwargs=options)


def quantise(model: SentenceTransformer, backend: str, folder: str, calibration: str) -> None:
    """Quantise a model to int8 by the host's recipe, with local text in place of its data set on the hub."""
    if backend == "onnx":
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", folder)
        return
    export_static_quantized_openvino_model(
        model,
        None,
        folder,
        dataset_name=calibration,
        dataset_config_name="default",
        dataset_split="train",
        column_name="sentence",
    )


def megabytes(folder: Path, quantised: bool) -> float:
    """Return the size of the graph in a folder, quantised or not, in 10⁶ bytes."""
    files = [file for file in folder.iterdir() if ("qint8" in file.name) == quantised]
    return sum(file.stat().st_size for file in files) / 1e6


if __name__ == "__main__":
    main()
