"""Loading of encoders for inference."""

from __future__ import annotations

import os
from pathlib import Path

from sentence_transformers import SentenceTransformer

from smoothcse._utils.choices import Backend, PoolingName
from smoothcse.encoders.behaviour import require_distinct_embeddings
from smoothcse.encoders.exported import choose_backend, load_exported
from smoothcse.encoders.pooling import check_pooling, pooling_settings, with_pooling
from smoothcse.encoders.pretrained import check_vocabulary, load_pretrained, read_config, resolve_name
from smoothcse.errors import SmoothCSEError

_MODELS = {"run.json": "best", "adapt.json": "model"}
"""Model folder in a run folder and in the folder of an adaptation, by the record that such a folder holds."""


def load_encoder(
    name_or_path: str | Path,
    pooling: PoolingName | None = None,
    *,
    device: str | None = None,
    backend: Backend | None = None,
) -> SentenceTransformer:
    """Load a model for inference: a run folder (its ``best``), a sentence-transformers or a Hugging Face model.

    Folders written by ``smoothcse export`` load like any other model. They run on the CPU, in the runtime that they
    were exported for. Weights saved in half precision are converted to fp32, so that the requested precision is the
    one that is used.

    Args:
        name_or_path: Folder or hub name.
        pooling: Pooling that replaces the model's own. A Hugging Face model without one uses ``lasttoken`` if it is
            causal, otherwise ``mean``.
        device: Device, as torch names it; None for the best one available.
        backend: Runtime, for a folder that holds files for several; None for the one that the folder was exported
            for, or torch.

    Raises:
        SmoothCSEError: If the model cannot be found or read, gives different sentences the same embedding, or the
            pooling is unknown, does not suit the model, or is set for an exported model, or the folder has no files
            for the backend.
    """
    check_pooling(pooling)
    name = model_source(name_or_path)
    read_config(name)
    if exported := choose_backend(name, backend):
        if pooling is not None:
            raise SmoothCSEError(f"{name} is exported with its pooling; give --pooling to export instead.")
        model = load_exported(Path(name), exported)
        check_vocabulary(model, name)
    else:
        pretrained = load_pretrained(name, pooling_settings(pooling), device)
        model = with_pooling(pretrained, name, pooling, default="mean")
    require_distinct_embeddings(model, name)
    return model


def model_source(name_or_path: str | Path) -> str:
    """Return the folder or hub name that :func:`load_encoder` reads.

    Args:
        name_or_path: Run folder (its ``best``), folder of an adaptation (its ``model``), model folder, hub name or
            ``packaged-minilm``.

    Raises:
        SmoothCSEError: The name is empty, or the packaged model is not installed.
    """
    path = Path(resolve_name(name_or_path))
    # os.path returns False where Path.is_file raises, for example for names that are too long.
    for record, model in _MODELS.items():
        if os.path.isfile(path / record) and os.path.isdir(path / model):
            return str(path / model)
    return str(path)


def holds_models(folder: Path) -> bool:
    """Return whether a folder is that of a run or of an adaptation, in which models are."""
    return any(os.path.isfile(folder / record) for record in _MODELS)
