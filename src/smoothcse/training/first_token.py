"""The last layer of a [CLS] encoder, computed for the one token that is read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from smoothcse.losses.views import wants_every_token

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LAYERS = BertLayer | RobertaLayer | XLMRobertaLayer


def use_first_token(model: SentenceTransformer) -> None:
    """Let the last layer of an encoder that is read at [CLS] compute that token alone, in training mode.

    The queries, the output of attention and the feed-forward network of all other tokens reach no loss: in a layer
    with a feed-forward network of ``4 d`` these are ten twelfths of the products. Values and gradients of the
    sentence embedding stay what they are. Models of other families, and ones with another pooling, are left alone.

    Args:
        model: an encoder to train; nothing that is saved changes, and neither does evaluation.
    """
    if not isinstance(model[0], Transformer) or not any(_reads_first_token(module) for module in model):
        return
    layers = getattr(getattr(model[0].model, "encoder", None), "layer", None)
    if layers and isinstance(layers[-1], _LAYERS) and not model[0].model.config.is_decoder:
        layers[-1].forward = partial(_forward, layers[-1])  # a bound method could not be pickled, as workers may want


def _reads_first_token(module: Any) -> bool:
    return isinstance(module, Pooling) and module.pooling_mode in ("cls", ("cls",), ["cls"])


def _forward(
    layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **options: Any
) -> Tensor:
    """Return ``(B, 1, d)`` in training, of which pooling reads the first row, else the layer's own ``(B, L, d)``.

    Packed rows have their first tokens in the midst of the one long row, and a mask of other than (B, heads, queries,
    keys) belongs to a kernel that is not used here: both are left to the layer.
    """
    fits = attention_mask is None or attention_mask.ndim == 4
    if not layer.training or "cu_seq_lens_q" in options or not fits or wants_every_token():
        return type(layer).forward(layer, hidden_states, attention_mask, *others, **options)  # type: ignore[no-any-return]
    attention = layer.attention.self
    first = hidden_states[:, :1]
    queries, keys, values = (
        projected.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for projected in (attention.query(first), attention.key(hidden_states), attention.value(hidden_states))
    )
    context = scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        dropout_p=attention.dropout.p,
        scale=attention.scaling,
    )
    attended = layer.attention.output(context.transpose(1, 2).flatten(2), first)
    computed: Tensor = layer.feed_forward_chunk(attended)
    return computed
