"""Training of the last layers: which weights are frozen, in each architecture."""

from __future__ import annotations

import pytest
import transformers

from smoothcse import SmoothCSEError
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.last_layers import train_last_layers
from tiny import ARCHITECTURES, save_tiny_generator, save_tiny_model

LAYER = {
    "distilbert": "transformer.layer",
    "modernbert": "layers",
    "gpt2": "h",
    "llama": "layers",
    "t5": "encoder.block",
}
AFTER = {"modernbert": {"final_norm.weight"}, "gpt2": {"ln_f.weight", "ln_f.bias"}, "llama": {"norm.weight"}}
AFTER["t5"] = {"encoder.final_layer_norm.weight"}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt2", "llama", "t5"])
def test_the_last_layer_and_what_follows_it_are_trained(architecture, tmp_path):
    save = save_tiny_model if architecture in ARCHITECTURES else save_tiny_generator
    model = build_encoder(save(tmp_path / "model", architecture), dropout=0.1, device="cpu")
    before = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    train_last_layers(model, 1, "the model")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layer = f"0.model.{LAYER.get(architecture, 'encoder.layer')}.1."
    expected = {name for name in before if name.startswith(layer)}
    assert expected
    head = {name for name in before if not name.startswith("0.")}
    assert trained == expected | head | {f"0.model.{name}" for name in AFTER.get(architecture, ())}
    assert len(head) == 2


def test_all_layers_leave_only_the_embeddings_out(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu")
    before = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    train_last_layers(model, 2, "the model")
    frozen = before - {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert frozen == {name for name in before if "embeddings" in name}
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_models_without_such_layers_are_refused(tiny_bert, tmp_path):
    model = build_encoder(tiny_bert, device="cpu")
    with pytest.raises(
        SmoothCSEError, match="train_layers is 3, but the model has 2 layers; give a number from 1 to 2"
    ):
        train_last_layers(model, 3, "the model")
    config = transformers.AlbertConfig(
        vocab_size=200, embedding_size=16, hidden_size=32, num_attention_heads=2, intermediate_size=64,
        num_hidden_layers=2, hidden_dropout_prob=0.1,
    )  # fmt: skip
    model[0].model = transformers.AlbertModel(config)  # runs one layer twice
    with pytest.raises(SmoothCSEError, match="needs an encoder with one list of transformer layers, which a does not"):
        train_last_layers(model, 1, "a")
