"""Safety checks of the JSON files of a model: a model may only choose among known classes and local files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from smoothcse.errors import SmoothCSEError, first_line

# Modules that contain numbers only. Modules whose settings name classes to import or addresses to download from
# (Router, WordEmbeddings, CLIPModel) are left out, and so are modules that are not used for encoding.
_MODULES = frozenset(
    [
        "Transformer",
        "Pooling",
        "WeightedLayerPooling",
        "WordWeights",
        "Dense",
        "Normalize",
        "LayerNorm",
        "Dropout",
        "CNN",
        "LSTM",
        "StaticEmbedding",
    ]
)
_ACTIVATION = r"torch\.nn\.(modules\.(activation|linear)\.)?[A-Z]\w*"

# Arguments that a saved Transformer module may pass to the loader of its weights. Other arguments of this loader allow
# pickles, adapters, or kernels from the hub.
_WEIGHT_ARGUMENTS = frozenset({"dtype", "torch_dtype", "attn_implementation", "add_pooling_layer"})
_ARGUMENT_GROUPS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

_LONGEST_DESCRIPTION = 16 << 20  # bytes; the longest JSON files in use contain a few thousand label names
_MOST_LAYERS = 10_000
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")

Find = Callable[[str], Path | None]
"""Function that returns the path of a file of the model, given its relative path, or None if it does not exist."""


def require_safe_settings(model: str, find: Find) -> None:
    """Refuse a model whose JSON files name unknown classes, other locations, pickles or code.

    Args:
        model: Name of the model in messages.
        find: Function that locates the files of the model.

    Raises:
        SmoothCSEError: If a file is damaged or not safe.
    """
    for name in ("config.json", "tokenizer_config.json", "config_sentence_transformers.json"):
        _read(model, find, name)
    config = _read(model, find, "config.json")
    _require_known_architecture(model, config)
    _require_no_kernel(model, config)
    modules = _parse(model, find, "modules.json")
    if modules is None:
        return
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise SmoothCSEError(f"{model}: modules.json must list the model's modules; get the model again.")
    for module in modules:
        _require_known_module(model, find, *_part(model, module))


def _read(model: str, find: Find, name: str) -> dict[str, Any]:
    """Return the settings in a JSON file; empty if the file does not exist."""
    settings = _parse(model, find, name)
    if not isinstance(settings, dict | None):
        raise SmoothCSEError(f"{model}: {name} must be a JSON object; get the model again.")
    return settings or {}


def _parse(model: str, find: Find, name: str) -> Any:
    path = find(name)
    if path is None:
        return None
    try:
        if path.stat().st_size > _LONGEST_DESCRIPTION:
            raise SmoothCSEError(
                f"{model}: {name} is larger than {_LONGEST_DESCRIPTION >> 20} MB; get the model again."
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SmoothCSEError(
            f"{model}: {name} cannot be read as JSON ({first_line(error)}); get the model again."
        ) from error


def _require_known_module(model: str, find: Find, folder: PurePosixPath, kind: str) -> None:
    if kind == "Transformer":
        _require_no_kernel(model, _read(model, find, str(folder / "config.json")))
        for name in _TRANSFORMER_FILES:
            file = str(folder / name)
            _check_transformer(model, file, _read(model, find, file))
    elif find(str(folder / "pytorch_model.bin")) and not find(str(folder / "model.safetensors")):
        raise SmoothCSEError(f"{model}: {folder} contains pickled weights; get the model as safetensors.")
    if kind == "Dense":
        _check_dense(model, _read(model, find, str(folder / "config.json")))


def _part(model: str, module: dict[str, Any]) -> tuple[PurePosixPath, str]:
    """Return the folder and the class of a module."""
    kind, path = module.get("type"), module.get("path")
    if not isinstance(kind, str) or not isinstance(path, str) or not isinstance(module.get("name"), str):
        raise SmoothCSEError(
            f"{model}: each entry of modules.json needs a name, a path and a type; get the model again."
        )
    name = kind.rpartition(".")[2]
    if not kind.startswith("sentence_transformers.") or name not in _MODULES:
        raise SmoothCSEError(
            f"{model}: modules.json asks for the class {kind!r}, and only classes of sentence-transformers "
            f"({', '.join(sorted(_MODULES))}) are loaded; use a model that consists of these."
        )
    folder = PurePosixPath(path.replace("\\", "/"))
    if folder.is_absolute() or ".." in folder.parts or ":" in path:
        raise SmoothCSEError(
            f"{model}: modules.json names the folder {path!r}, which is outside of the model's folder; get the model "
            "again."
        )
    return folder, name


def _check_transformer(model: str, file: str, settings: dict[str, Any]) -> None:
    for group in _ARGUMENT_GROUPS:
        arguments = settings.get(group) or {}
        if not isinstance(arguments, dict):
            raise SmoothCSEError(f"{model}: {group} in {file} must be a JSON object; get the model again.")
        for name, value in arguments.items():
            foreign = group.startswith("model_") and name not in _WEIGHT_ARGUMENTS
            if foreign or (isinstance(value, str) and "/" in value):
                raise SmoothCSEError(
                    f"{model}: {file} sets {group}.{name} to {value!r}, which could change from where or how the "
                    "model is loaded; remove this setting if you trust the model without it."
                )


def _check_dense(model: str, settings: dict[str, Any]) -> None:
    activation = settings.get("activation_function")
    # For a class that it does not trust, the host would silently use another activation, which changes the model.
    if activation is not None and not re.fullmatch(_ACTIVATION, str(activation)):
        raise SmoothCSEError(
            f"{model}: a Dense module asks for the activation {activation!r}, and only activations of torch are "
            "loaded; use another model."
        )


def _require_known_architecture(model: str, config: dict[str, Any]) -> None:
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind is not None and kind not in CONFIG_MAPPING.keys():  # noqa: SIM118 - a key may fail to import
        raise SmoothCSEError(
            f"{model} has the architecture {kind!r}, which transformers does not include. Code in model "
            "folders is never run; use a model with a known architecture."
        )


def _require_no_kernel(model: str, config: dict[str, Any]) -> None:
    for name, value in config.items():
        if name.endswith(("attn_implementation", "experts_implementation")) and "/" in json.dumps(value):
            raise SmoothCSEError(f"{model}: config.json asks for a kernel from the hub, {value!r}; remove {name}.")


def require_plausible_size(file: Path) -> None:
    """Refuse settings that would allocate far more memory than the weights beside them can fill.

    Args:
        file: ``config.json`` of a model or module.

    Raises:
        SmoothCSEError: If the settings describe a much larger model than the weights.
    """
    size = sum(weights.stat().st_size for weights in file.parent.glob("*.safetensors"))
    config = _read(str(file.parent), lambda name: file, file.name)
    numbers = {name: value for name, value in config.items() if isinstance(value, int)}
    width = next((numbers[name] for name in _WIDTHS if name in numbers), 1)
    layers = max((value for name, value in numbers.items() if name.endswith(("layers", "n_layer"))), default=0)
    words = numbers.get("vocab_size", 0) * min(width, numbers.get("embedding_size", width))
    inner = width * max(width, numbers.get("intermediate_size", 0))
    positions = numbers.get("max_position_embeddings", 0) * width // 8  # most models compute them and store none
    # Each number takes at least half a byte.
    if size and (layers > _MOST_LAYERS or max(words, inner, positions) > 2 * size):
        raise SmoothCSEError(f"{file} describes a larger model than its weights can fill; get the model again.")
