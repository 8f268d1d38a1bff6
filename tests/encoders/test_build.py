"""Building and loading of encoders for every architecture, and the plain model that is shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.projection import PROJECTION, strip_projection
from smoothcse.errors import SmoothCSEError
from tiny import ARCHITECTURES, save_tiny_model, sentences

TEXTS = sentences(6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_gives_two_different_dropout_views(architecture, tmp_path):
    encoder = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.2, device="cpu")
    encoder.train()
    features = encoder.preprocess([TEXTS[0], TEXTS[0]])
    first, second = encoder(features)[PROJECTION]
    assert first.shape == (32,)
    assert not torch.allclose(first, second)
    rates = {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout) and module.p}
    assert rates <= {0.2}


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "avg_first_last", "avg_top2"])
def test_poolings_equal_their_definition(pooling, tiny_bert):
    encoder = build_encoder(tiny_bert, pooling, projection=False, device="cpu").eval()
    features = encoder.preprocess(TEXTS)
    with torch.no_grad():
        states = (
            encoder[0]
            .model(
                input_ids=features["input_ids"], attention_mask=features["attention_mask"], output_hidden_states=True
            )
            .hidden_states
        )
    mask = features["attention_mask"].unsqueeze(-1)

    def mean(state):
        return (state * mask).sum(1) / mask.sum(1)

    expected = {
        "cls": states[-1][:, 0],
        "mean": mean(states[-1]),
        "max": states[-1].masked_fill(mask == 0, -1e9).max(1).values,
        "avg_first_last": mean((states[1] + states[-1]) / 2),
        "avg_top2": mean((states[-2] + states[-1]) / 2),
    }[pooling]
    np.testing.assert_allclose(encoder.encode(TEXTS), expected.numpy(), atol=1e-6)


def test_a_final_dense_layer_of_another_width_is_kept(tiny_bert, tmp_path):
    plain = build_encoder(tiny_bert, projection=False, device="cpu")
    start = SentenceTransformer(modules=[*plain, Dense(32, 8)], device="cpu")
    start.save_pretrained(str(tmp_path))
    encoder = build_encoder(str(tmp_path), pooling=None, device="cpu").eval()
    assert encoder(encoder.preprocess(TEXTS))[PROJECTION].shape == (len(TEXTS), 8)
    np.testing.assert_array_equal(strip_projection(encoder).encode(TEXTS), start.encode(TEXTS))


@pytest.mark.parametrize("pooling", ["cls", "avg_first_last"])
def test_the_stripped_model_is_plain_and_encodes_the_same(pooling, tiny_bert, tmp_path):
    encoder = build_encoder(tiny_bert, pooling, device="cpu")
    assert any(isinstance(module, Dense) for module in encoder)
    stripped = strip_projection(encoder)
    assert not any(isinstance(module, Dense) for module in stripped)
    stripped.save_pretrained(str(tmp_path))
    reloaded = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=False)

    before = encoder.encode(TEXTS)
    assert np.array_equal(stripped.encode(TEXTS), before)
    np.testing.assert_allclose(reloaded.encode(TEXTS), before, atol=1e-6)
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)
    assert not list(tmp_path.rglob("*.bin"))


def test_the_head_is_initialised_like_simcse_from_its_seed(tiny_bert):
    head = next(module for module in build_encoder(tiny_bert, device="cpu", seed=3) if isinstance(module, Dense))
    again = next(module for module in build_encoder(tiny_bert, device="cpu", seed=3) if isinstance(module, Dense))
    other = next(module for module in build_encoder(tiny_bert, device="cpu", seed=4) if isinstance(module, Dense))
    assert isinstance(head.activation_function, torch.nn.Tanh)
    assert head.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not head.linear.bias.any()
    assert torch.equal(head.linear.weight, again.linear.weight)
    assert not torch.equal(head.linear.weight, other.linear.weight)


def test_a_sentence_transformers_folder_keeps_or_replaces_its_pooling(minilm):
    kept = build_encoder(minilm, device="cpu")
    replaced = build_encoder(minilm, "cls", device="cpu")
    pooling = [next(m for m in model if isinstance(m, Pooling)).pooling_mode for model in (kept, replaced)]
    assert pooling == ["mean", "cls"]
    assert isinstance(kept[-1], Normalize)
    plain = SentenceTransformer(minilm, device="cpu")
    plain.max_seq_length = 32
    np.testing.assert_allclose(kept.encode(TEXTS), plain.encode(TEXTS), atol=1e-6)


def test_max_length_is_set_or_kept(minilm):
    assert build_encoder(minilm, device="cpu").max_seq_length == 32
    assert build_encoder(minilm, max_length=None, device="cpu").max_seq_length == 256


@pytest.mark.parametrize("get", [build_encoder, load_encoder])
def test_weights_saved_in_half_precision_are_loaded_in_float32(get, tmp_path):
    folder = save_tiny_model(tmp_path)
    half = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": torch.float16})
    half.save_pretrained(str(tmp_path / "half"))
    encoder = get(tmp_path / "half", device="cpu")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_the_unused_pooler_is_kept_and_frozen(tiny_bert):
    pooler = build_encoder(tiny_bert, device="cpu")[0].model.pooler
    assert pooler is not None
    assert not any(parameter.requires_grad for parameter in pooler.parameters())


def test_load_encoder_loads_the_best_model_of_a_run_folder(tiny_bert, tmp_path):
    strip_projection(build_encoder(tiny_bert, device="cpu")).save_pretrained(str(tmp_path / "best"))
    (tmp_path / "run.json").write_text("{}")
    np.testing.assert_allclose(
        load_encoder(tmp_path, device="cpu").encode(TEXTS), load_encoder(tmp_path / "best", device="cpu").encode(TEXTS)
    )
    assert load_encoder(tmp_path, "mean", device="cpu")[1].pooling_mode == "mean"


def test_a_model_without_dropout_is_refused(tmp_path):
    folder = save_tiny_model(tmp_path, "modernbert")
    with pytest.raises(SmoothCSEError, match=r"dropout 0 everywhere .*embedding_dropout.* set a rate"):
        build_encoder(folder, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "middle"}, "pooling 'middle' is unknown; choose one of cls, mean"),
        ({"dropout": 1.0}, "dropout must lie between 0 and 1"),
        ({"max_length": 65}, "max_length 65 exceeds the 64 positions"),
        ({"max_length": 2}, "max_length must be at least 3"),
    ],
)
def test_bad_arguments(arguments, message, tiny_bert):
    with pytest.raises(SmoothCSEError, match=message):
        build_encoder(tiny_bert, device="cpu", **arguments)


def test_unknown_model_and_empty_folder(tmp_path):
    with pytest.raises(SmoothCSEError, match=r"no/such-model is neither a folder .* check the name and the network"):
        build_encoder("no/such-model")
    with pytest.raises(SmoothCSEError, match=r"contains no config\.json"):
        build_encoder(tmp_path)


def test_load_encoder_refuses_an_unknown_pooling(tiny_bert):
    with pytest.raises(SmoothCSEError, match="pooling 'cl' is unknown; choose one of cls"):
        load_encoder(tiny_bert, "cl")
