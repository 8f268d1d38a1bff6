"""One test per place of the host that the fast path changes: when one fails, its message says what has moved.

Mend the file that it names, or lower the upper bound in ``hosts.TESTED``.
"""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path

import pytest
import torch
from packaging.specifiers import SpecifierSet
from torch import nn
from transformers import BertConfig, RobertaConfig, XLMRobertaConfig

from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate
from smoothcse.fastpath.attention import ATTENTIONS, attend_tokens
from smoothcse.fastpath.bf16_layers import STACKS
from smoothcse.fastpath.hosts import TESTED
from smoothcse.fastpath.read_token import LAYERS
from smoothcse.views.embed import run
from tiny import ARCHITECTURES, save_tiny_model, sentences

SMALL = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "hidden_dropout_prob": 0.0}
CONFIGS = [kind(**SMALL, attention_probs_dropout_prob=0.0) for kind in (BertConfig, RobertaConfig, XLMRobertaConfig)]
for config in CONFIGS:
    config._attn_implementation = "sdpa"


def require_parameters(forward, expected, file):
    found = [name for name in signature(forward).parameters if name != "cache_position"]  # up to transformers 5.0
    assert found == expected, f"{forward.__qualname__} now takes {found}, and fastpath/{file} replaces {expected}"


def require_attributes(module, names, file):
    missing = [name for name in names.split() if not hasattr(module, name)]
    assert not missing, f"{type(module).__name__} has no {missing} any more, which fastpath/{file} uses"


def test_dropout():
    require_parameters(nn.Dropout.forward, ["self", "input"], "dropout.py")
    require_attributes(nn.Dropout(0.1), "p training", "dropout.py")
    assert (nn.Dropout(0.5)(torch.ones(100)).unique() == torch.tensor([0.0, 2.0])).all(), "nn.Dropout scales otherwise"


@pytest.mark.parametrize(("kind", "config"), zip(ATTENTIONS, CONFIGS, strict=True))
def test_self_attention(kind, config):
    expected = ["self", "hidden_states", "attention_mask", "past_key_values", "kwargs"]
    require_parameters(kind.forward, expected, "attention.py")
    attention = kind(config).double().train()
    used = "query key value dropout num_attention_heads scaling is_causal config"
    require_attributes(attention, used, "attention.py")
    states = torch.randn(3, 5, 8, dtype=torch.float64)
    mask = torch.rand(3, 1, 5, 5) > 0.3
    found = attention(states, mask)
    assert len(found) == 2, f"{kind.__name__} returns {len(found)} values, and fastpath/attention.py two"
    difference = (found[0] - attend_tokens(attention, states, states, mask)).abs().max()
    assert difference < 1e-12, f"{kind.__name__} computes something else than attend_tokens, by {difference}"


@pytest.mark.parametrize(("kind", "config"), zip(LAYERS, CONFIGS, strict=True))
def test_last_layer(kind, config):
    expected = ["self", "hidden_states", "attention_mask", "encoder_hidden_states", "encoder_attention_mask"]
    require_parameters(kind.forward, [*expected, "past_key_values", "kwargs"], "read_token.py")
    layer = kind(config).double().train()
    require_attributes(layer, "attention feed_forward_chunk", "read_token.py")
    require_attributes(layer.attention, "self output", "read_token.py")
    states = torch.randn(3, 5, 8, dtype=torch.float64)
    attended = layer.attention.output(attend_tokens(layer.attention.self, states, states, None), states)
    difference = (layer(states, None) - layer.feed_forward_chunk(attended)).abs().max()
    assert difference < 1e-12, f"{kind.__name__} computes something else than read_token.py, by {difference}"


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_place_of_the_last_layer(architecture, tmp_path):
    model = build_encoder(save_tiny_model(tmp_path, architecture), "cls", device="cpu")
    with accelerate(model):
        states = run(model, model.preprocess(sentences(3)))["token_embeddings"]
    assert states.shape[1] == 1, f"{architecture}: read_token.py does not reach model.encoder.layer[-1] any more"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_word_embeddings(architecture, tmp_path):
    model = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.1, device="cpu")
    table, given = model[0].model.get_input_embeddings(), []
    require_parameters(type(table).forward, ["self", "input"], "words.py")
    table.register_forward_pre_hook(lambda module, arguments: given.append(arguments))
    column = model.preprocess(sentences(3))
    model(dict(column))
    assert len(given) == 1, f"{architecture} calls its word embeddings {len(given)} times, not once, per forward pass"
    assert torch.equal(given[0][0], column["input_ids"]), f"{architecture} looks up other ids than those of the batch"


@pytest.mark.parametrize(("kind", "config"), zip(STACKS, CONFIGS, strict=True))
def test_stack_of_layers(kind, config):
    found = [*signature(kind.forward).parameters][:3]
    assert found == ["self", "hidden_states", "attention_mask"], f"{kind.__name__} begins with {found}: bf16_layers.py"
    output = kind(config)(torch.randn(3, 5, 8), None)
    require_attributes(output, "last_hidden_state", "bf16_layers.py")


def test_norms_of_bf16_states_have_fp32_weights():
    norm, states = nn.LayerNorm(8), torch.randn(3, 8, dtype=torch.bfloat16, requires_grad=True)
    found = norm(states)
    found.sum().backward()
    dtypes = (found.dtype, states.grad.dtype, norm.weight.grad.dtype)
    assert dtypes == (torch.bfloat16, torch.bfloat16, torch.float32), f"LayerNorm gives {dtypes}: bf16_layers.py"


def test_versions_that_are_pinned_are_tested():
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", Path("constraints.txt").read_text(), re.MULTILINE))
    for name, tested in TESTED.items():
        if name in pins:
            assert SpecifierSet(tested).contains(pins[name]), f"constraints.txt pins {name} {pins[name]}, not {tested}"
