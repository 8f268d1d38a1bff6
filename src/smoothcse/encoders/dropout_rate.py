"""The dropout rate of a Hugging Face model, set through its configuration."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from smoothcse.errors import SmoothCSEError

# Names under which Hugging Face configurations store the dropout rates of the encoder's layers. Those of task heads
# (classifier_dropout, ...) are not changed, since no task head runs here.
_DROPOUT_FIELDS = (
    "hidden_dropout_prob",  # BERT, RoBERTa, XLM-R, MPNet, ALBERT, ELECTRA, DeBERTa
    "attention_probs_dropout_prob",
    "dropout",  # DistilBERT, XLM, XLNet, OPT
    "attention_dropout",  # DistilBERT, ModernBERT, GPT-NeoX; the only one of Llama, Mistral, Qwen, Gemma, EuroBERT
    "embedding_dropout",  # ModernBERT, StarCoder2
    "mlp_dropout",  # ModernBERT
    "hidden_dropout",  # GPT-NeoX, BLOOM, Falcon
    "activation_dropout",
    "residual_dropout",  # StarCoder2
    "resid_pdrop",  # GPT-2, Phi
    "embd_pdrop",
    "attn_pdrop",
    "resid_dropout",  # GPT-Neo
    "embed_dropout",
    "dropout_rate",  # T5
)


def dropout_settings(config: PretrainedConfig, dropout: float | None, name: str) -> dict[str, Any]:
    """Return the configuration entries that set the dropout rate.

    Args:
        config: Configuration of the model.
        dropout: Rate for all of the encoder's dropout; None keeps the model's rates.
        name: Name of the model in messages.

    Raises:
        SmoothCSEError: If the rate is not between 0 and 1, or the model has no active dropout: the two dropout views
            of a sentence would be identical.
    """
    fields = [field for field in _DROPOUT_FIELDS if isinstance(getattr(config, field, None), float | int)]
    if not fields:
        raise SmoothCSEError(
            f"{name} (a {config.model_type} model) has no known dropout setting, and without dropout the two views of "
            "a sentence are identical; use views drawn from the text, such as --views crops, or start from another "
            "encoder."
        )
    if dropout is not None and not 0.0 < dropout < 1.0:
        raise SmoothCSEError(f"dropout must lie between 0 and 1 (both excluded), not {dropout}.")
    if dropout is None and not any(getattr(config, field) > 0 for field in fields):
        raise SmoothCSEError(
            f"{name} has dropout 0 everywhere ({', '.join(fields)}), so the two views of a sentence would be "
            "identical; set a rate, for example dropout 0.1."
        )
    return {} if dropout is None else dict.fromkeys(fields, dropout)
