"""Masked-language head of an encoder, trained with it but not saved in its models."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from smoothcse.encoders.projection import unwrapped
from smoothcse.encoders.safety import SAFE_WEIGHTS
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.objectives.masked_lm import IGNORE_INDEX
from smoothcse.views.embed import Features, run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TARGETS = "mlm_targets"
"""Key in a view's features of its targets, long ``(N, L)``."""


class MaskedLMHead(nn.Module):
    """Masked-language head of the encoder's model family, from token states to logits over the vocabulary.

    The weights come from the pretrained checkpoint if it has a head; otherwise they are new, and the same on all
    ranks. The output layer shares the word embeddings of the encoder.

    Args:
        model: Encoder as loaded.
        seed: Seed of new weights.

    Raises:
        SmoothCSEError: If the encoder's family has no such head, or its tokenizer has no mask token.
    """

    def __init__(self, model: SentenceTransformer, seed: int = 0) -> None:
        super().__init__()
        encoder = getattr(model[0], "model", None)
        if not isinstance(encoder, PreTrainedModel) or getattr(model.tokenizer, "mask_token_id", None) is None:
            raise SmoothCSEError("mlm_weight needs an encoder whose tokenizer has a mask token; set it to 0.")
        self.transform = _load(encoder, seed)
        decoder = self.transform.get_output_embeddings()
        vocabulary = encoder.get_input_embeddings().weight.shape[0]
        bias = torch.zeros(vocabulary) if decoder.bias is None else decoder.bias.detach().clone()
        _drop_parameter(self.transform, decoder.bias)
        self.transform.set_submodule(_name_of(self.transform, decoder), nn.Identity())
        setattr(self.transform, self.transform.base_model_prefix, _StatesAsTheyAre())
        self.bias = nn.Parameter(bias)

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Return the logits ``(n, V)`` of token states ``(n, d)``, given the word embeddings ``(V, e)``."""
        transformed = self.transform(inputs_embeds=states.unsqueeze(0)).logits.squeeze(0)
        return functional.linear(transformed, words, self.bias)

    def read(self, model: nn.Module, features: Features) -> Tensor:
        """Return the summed negative log-likelihood of the masked tokens per row, and their number.

        Args:
            model: Encoder.
            features: Features of a view, including its :data:`TARGETS`.

        Returns:
            ``(N, 2)``: sum and number.
        """
        targets = features[TARGETS]
        output = run(model, {key: value for key, value in features.items() if key != TARGETS}, every_token=True)
        # Poolings over several layers replace the states of the last layer by their average.
        layers = output.get("all_layer_embeddings")
        states = output["token_embeddings"] if layers is None else layers[-1]
        masked = targets != IGNORE_INDEX
        words = unwrapped(model)[0].model.get_input_embeddings().weight
        logits = self(states[masked], words)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        each = functional.cross_entropy(logits, targets[masked], reduction="none")
        sums = each.new_zeros(len(targets)).index_add(0, masked.nonzero()[:, 0], each)
        return torch.stack([sums, masked.sum(dim=1).to(sums)], dim=1)


class _StatesAsTheyAre(nn.Module):
    """Stand-in for the encoder inside the masked-language model that passes given states to the head."""

    def forward(self, *args: Any, inputs_embeds: Tensor, **options: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


def _load(encoder: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return the masked-language model of the encoder's checkpoint, with a new head if the checkpoint has none."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # no warning about the weights of a new head
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: PreTrainedModel = AutoModelForMaskedLM.from_pretrained(
                encoder.name_or_path, config=copy.deepcopy(encoder.config), trust_remote_code=False, **SAFE_WEIGHTS
            )
            return model.to(encoder.device, encoder.dtype)
    except (OSError, ValueError, KeyError) as error:
        raise SmoothCSEError(
            f"mlm_weight needs a masked-language head, which {encoder.name_or_path} (a {encoder.config.model_type} "
            f"model) cannot be given ({first_line(error)}); set it to 0."
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    name: str = next(name for name, module in model.named_modules() if module is wanted)
    return name


def _drop_parameter(model: nn.Module, wanted: nn.Parameter | None) -> None:
    """Remove a parameter from all modules that hold it."""
    for module in model.modules():
        for name in [name for name, parameter in module._parameters.items() if parameter is wanted]:
            module.register_parameter(name, None)
