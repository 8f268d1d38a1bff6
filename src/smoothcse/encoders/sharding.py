"""Sharding: each rank holds a part of every weight, of its gradient and of the optimizer's state (PyTorch's FSDP2).

A layer is gathered when it runs and released afterwards, so that no device ever holds the whole encoder. Each forward
pass is shared by all ranks, which must therefore make the same number of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from smoothcse.encoders.layers import layers_of

_SKELETON = "skeleton"


def shard(model: SentenceTransformer, name: str, device_type: str, dtype: torch.dtype | None) -> None:
    """Divide the weights of an encoder among the ranks, layer by layer, and move this rank's part to its device.

    Args:
        model: Encoder to train, on the CPU; changed in place.
        name: Name of the model in messages.
        device_type: ``cpu`` or ``cuda``.
        dtype: Dtype in which the layers compute, with fp32 weights between the steps; None for fp32.

    Raises:
        SmoothCSEError: If the layers of the encoder cannot be found.
    """
    layers = layers_of(model, name, "shard")
    vars(model)[_SKELETON] = _without_weights(model)  # past Module.__setattr__: it is no part of the model
    mesh = init_device_mesh(device_type, (distributed.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=MixedPrecisionPolicy(dtype, torch.float32))
    fully_shard(
        model,
        mesh=mesh,
        reshard_after_forward=True,
        mp_policy=MixedPrecisionPolicy(dtype, torch.float32, torch.float32),
    )
    # Room for the gathered weights, made now: made by ``encode``, in inference mode, no later pass could fill it.
    for module in (*layers, model):
        module.unshard()
        module.reshard()


def is_sharded(model: nn.Module) -> bool:
    """Return whether the weights of an encoder are divided among the ranks."""
    return isinstance(model, FSDPModule)


@contextmanager
def gathered(model: SentenceTransformer) -> Iterator[SentenceTransformer]:
    """Give the main process the whole of a sharded encoder, on the CPU; all ranks must take part.

    Args:
        model: Encoder. One that is not sharded is given as it is.

    Yields:
        Encoder with its weights; on other ranks than the main process one without, if the encoder is sharded.
    """
    if not is_sharded(model):
        yield model
        return
    skeleton: SentenceTransformer = vars(model)[_SKELETON]
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found: dict[str, Any] = get_model_state_dict(model, options=options)
    weights = {name: _alone(tensor) for name, tensor in found.items()}
    try:
        if weights:
            skeleton.load_state_dict(weights, assign=True)
        yield skeleton
    finally:
        if weights:
            skeleton.load_state_dict({name: one.to("meta") for name, one in weights.items()}, assign=True)


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor that is divided among the ranks as a whole; all ranks must take part."""
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole


def _alone(tensor: Tensor) -> Tensor:
    """Return a tensor that is all of its storage, as safetensors wants; a gathered one may end in padding."""
    return tensor if tensor.nbytes == tensor.untyped_storage().nbytes() else tensor.clone()


def _without_weights(model: SentenceTransformer) -> SentenceTransformer:
    """Return a copy whose weights take no memory; it shares the tokenizer and the buffers."""
    memo: dict[int, Any] = {id(one): one for one in (model[0].processor, model.model_card_data, *model.buffers())}
    memo |= {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo)
