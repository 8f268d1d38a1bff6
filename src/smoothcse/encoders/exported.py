"""Exported models, loaded as ordinary sentence-transformers models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from copy import copy, deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from smoothcse._utils.choices import Backend
from smoothcse.encoders.runtimes import ONNX_FILE, OPENVINO_FILE, OUTPUT, open_onnx, open_openvino
from smoothcse.errors import SmoothCSEError, first_line

Exported = Literal["onnx", "openvino"]
"""Runtimes other than torch."""

_FILES: dict[Exported, Path] = {"onnx": ONNX_FILE, "openvino": OPENVINO_FILE}


def backend_of(folder: str | Path) -> Exported | None:
    """Return the runtime that a model folder was exported for; None if torch can read it or it does not exist.

    Args:
        folder: Model folder.
    """
    folder = Path(folder)
    if any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin")):
        return None
    return next((backend for backend, file in _FILES.items() if (folder / file).is_file()), None)


def choose_backend(folder: str | Path, wanted: Backend | None) -> Exported | None:
    """Return the runtime to load a model with; None for torch.

    Args:
        folder: Model folder or hub name.
        wanted: Runtime asked for; None takes the one that the folder was exported for, or torch.

    Raises:
        SmoothCSEError: If the runtime is unknown, or the folder has no files for it.
    """
    if wanted not in (None, *get_args(Backend)):
        raise SmoothCSEError(f"The backend {wanted!r} is unknown; choose one of {', '.join(get_args(Backend))}.")
    found = backend_of(folder)
    if wanted is None or wanted == found:
        return found
    if wanted == "torch":
        if found:
            raise SmoothCSEError(
                f"{folder} is exported to {found} and holds no weights for torch; give the original model, or "
                "leave out --backend."
            )
        return None
    if not (Path(folder) / _FILES[wanted]).is_file():
        raise SmoothCSEError(
            f"{folder} has no {_FILES[wanted]}, which --backend {wanted} needs; write it with `smoothcse export` and "
            f"--format {wanted}, and give the new folder."
        )
    return wanted


def is_exported(model: SentenceTransformer) -> bool:
    """Return whether a runtime other than torch runs the model."""
    return isinstance(model[0], _ExportedTransformer)


def with_bf16_graph(model: SentenceTransformer) -> SentenceTransformer:
    """Return a copy of an exported model whose OpenVINO graph computes in bf16; with ONNX, the model itself.

    The graph is compiled once for all copies of a model, and a copy is returned as it is. It returns fp32, so that
    pooling does not round.

    Args:
        model: Exported model, which is not changed. The copy shares everything with it except the compiled graph.
    """
    network = cast("_Network", model[0].model)
    if network.backend == "onnx" or network.precision == "bf16":
        return model
    shared: list[Any] = [*list(model)[1:], model[0].processor, model.model_card_data]
    memo: dict[int, Any] = {id(one): one for one in shared}
    return deepcopy(model, memo | {id(network): network.in_bf16})


def load_exported(folder: Path, backend: Exported) -> SentenceTransformer:
    """Load a model written by :func:`~smoothcse.export.export_model.export_model`, to run on the CPU.

    The other runtime runs the transformer; pooling and everything after it stay in torch.

    sentence-transformers has no public way to replace the class of a module, and its own backends need libraries that
    cannot be installed with its newest transformers. This function therefore uses two private names of the host,
    ``SentenceTransformer._load_with_module_classes`` and ``Transformer._load_model``. A test,
    ``test_the_host_has_the_private_names_that_exported_models_use``, fails if they change.

    Args:
        folder: Model folder.
        backend: Runtime of the folder, see :func:`backend_of`.

    Raises:
        SmoothCSEError: If the runtime's extra is not installed, or the folder is damaged.
    """
    try:
        reference = json.loads((folder / "modules.json").read_text(encoding="utf-8"))[0]["type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SmoothCSEError(f"{folder / 'modules.json'} cannot be read; export the model again.") from error
    try:
        return SentenceTransformer._load_with_module_classes(
            str(folder), {reference: _ExportedTransformer}, backend=backend, device="cpu"
        )
    except SmoothCSEError:
        raise
    except Exception as error:  # each library has exceptions of its own for a damaged file
        raise SmoothCSEError(f"The model {folder} cannot be loaded ({first_line(error)}); export it again.") from error


class _Network(nn.Module):
    """An exported graph with the interface of a Hugging Face model.

    Args:
        folder: Model folder.
        backend: Runtime of the graph.
        config: Configuration of the Hugging Face model.
    """

    device = torch.device("cpu")

    def __init__(self, folder: Path, backend: Exported, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.backend = backend
        self.precision: Literal["f32", "bf16"] = "f32"
        self.path = folder / _FILES[backend]
        # Part of the state, so that fingerprints distinguish graphs.
        self.register_buffer("digest", _digest(self.path))
        self.run: Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]]
        if backend == "onnx":
            session = open_onnx(self.path)
            self.names = [node.name for node in session.get_inputs()]
            self.run = lambda inputs: session.run([OUTPUT], inputs)[0]
        else:
            compiled = open_openvino(self.path)
            self.names = [node.get_any_name() for node in compiled.inputs]
            self.run = lambda inputs: compiled(inputs)[OUTPUT]

    @cached_property
    def in_bf16(self) -> _Network:
        """The same OpenVINO graph, computed in bf16."""
        network, compiled = copy(self), open_openvino(self.path, "bf16")
        network.precision = "bf16"
        network.run = lambda inputs: compiled(inputs)[OUTPUT]
        return network

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
    ) -> BaseModelOutput:
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": types}
        states = self.run({name: given[name].cpu().numpy() for name in self.names})
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


def _digest(path: Path) -> Tensor:
    """Return the SHA-256 of a graph and of the weights beside it, uint8 ``(32,)``."""
    digest = hashlib.sha256()
    for file in sorted(path.parent.glob(f"{path.stem}.*")):
        digest.update(file.read_bytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


class _ExportedTransformer(Transformer):
    """The host's module with its tokenizer and settings, run by another runtime."""

    def _load_model(
        self,
        model_name_or_path: str,
        transformer_task: str,
        config: PretrainedConfig,
        backend: Exported,
        *_: Any,
        **__: Any,
    ) -> nn.Module:
        return _Network(Path(model_name_or_path), backend, config)
