"""Layers in bf16 in place of autocast: states stay bf16 between them, and weights are cast once per step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers.models.bert.modeling_bert import BertEncoder
from transformers.models.roberta.modeling_roberta import RobertaEncoder
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEncoder

from smoothcse.encoders.lora import has_adapters
from smoothcse.fastpath.patches import Patches

STACKS = (BertEncoder, RobertaEncoder, XLMRobertaEncoder)
"""Stacks of layers of the families that the fast path knows."""


class Bf16Weights:
    """bf16 copies of a linear layer's weights, renewed when an optimizer has made a step or a weight has changed."""

    steps = 0  # of all optimizers of this process, since some write to weights without counting a new version

    def __init__(self) -> None:
        self._made_from: tuple[int, ...] = ()
        self._copies: tuple[Tensor, Tensor | None]

    def of(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Return the bf16 weight and bias of a layer, without gradient."""
        weight, bias = layer.weight, layer.bias
        now = (Bf16Weights.steps, weight.data_ptr(), weight._version, 0 if bias is None else bias._version)
        if now != self._made_from:
            self._copies = weight.detach().bfloat16(), None if bias is None else bias.detach().bfloat16()
            self._made_from = now
        return self._copies


def patch_layers(model: nn.Module, patches: Patches) -> None:
    """Make the layers of an encoder compute in bf16 where autocast asks for it.

    Under autocast, the states between layers are fp32: each product casts them again, and each pass casts each weight.
    Here, states are bf16 from the embeddings to the output of the last layer, which is fp32 again. The trained weights
    stay fp32: autograd gives them fp32 gradients, the optimizer updates them, and they are saved. Norms and softmax
    compute in fp32. Without autocast to bf16, the layers compute as they are.

    Models of other families, with adapters, or that return the states of all layers are not changed.

    Args:
        model: Encoder to train on a CPU.
        patches: Changes of the model.
    """
    encoder = getattr(next(model.children(), None), "model", None)
    stack: Any = getattr(encoder, "encoder", None)
    if type(stack) not in STACKS or has_adapters(model) or not _computes_states_alone(stack.config):
        return
    patches.replace(stack, _forward)
    for module in stack.modules():
        if type(module) is nn.Linear:
            patches.replace(module, _linear, Bf16Weights())


@contextmanager
def counted_steps() -> Iterator[None]:
    """Count the steps of all optimizers while the context is open."""

    def count(*given: Any) -> None:
        Bf16Weights.steps += 1

    handle = register_optimizer_step_post_hook(count)
    try:
        yield
    finally:
        handle.remove()
        count()  # a later context cannot know what has happened in between


def _computes_states_alone(config: Any) -> bool:
    return not (config.is_decoder or config.output_hidden_states or config.output_attentions)


def _forward(
    stack: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **options: Any
) -> Any:
    """Compute the stack's output in bf16 and return it in fp32; a mask of numbers, not bools, is left to autocast."""
    fits = attention_mask is None or attention_mask.dtype == torch.bool
    if not (fits and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16):
        return type(stack).forward(stack, hidden_states, attention_mask, *others, **options)
    with torch.autocast("cpu", enabled=False):
        output = type(stack).forward(stack, hidden_states.bfloat16(), attention_mask, *others, **options)
        output.last_hidden_state = output.last_hidden_state.float()
    return output


def _linear(layer: nn.Linear, copies: Bf16Weights, states: Tensor) -> Tensor:
    if states.dtype != torch.bfloat16:
        return linear(states, layer.weight, layer.bias)
    computed: Tensor = _Linear.apply(states, layer.weight, layer.bias, *copies.of(layer))  # type: ignore[no-untyped-call]
    return computed


class _Linear(torch.autograd.Function):
    """``y = x Wᵀ + b`` in bf16, with gradients in fp32 for fp32 weights."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, weight_copy: Tensor, bias_copy: Tensor | None
    ) -> Tensor:
        rows = states.flatten(0, -2)  # of matrices of more dimensions, torch would multiply each by itself
        ctx.save_for_backward(rows)
        ctx.weight, ctx.shape = weight_copy, states.shape
        return linear(rows, weight_copy, bias_copy).view(*states.shape[:-1], len(weight_copy))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (states,), rows = ctx.saved_tensors, gradients[0].flatten(0, -2)
        of_states, of_weight, of_bias = ctx.needs_input_grad[:3]
        return (
            (rows @ ctx.weight).view(ctx.shape) if of_states else None,
            _product(rows, states).float() if of_weight else None,
            rows.sum(dim=0).float() if of_bias else None,  # torch adds in fp32, and would copy the rows for dtype=
            None,
            None,
        )


def _product(rows: Tensor, states: Tensor) -> Tensor:
    """Return ``rowsᵀ states``; a transposed copy of narrow rows costs less than it saves in the product."""
    transposed = rows.t()
    return (transposed.contiguous() if rows.shape[1] < states.shape[1] else transposed) @ states
