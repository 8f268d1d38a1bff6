"""A decoder that attends in both directions: the setting works, is saved, and is refused where it has no effect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version
from sentence_transformers import SentenceTransformer
from transformers import __version__ as transformers_version

from smoothcse.encoders.behaviour import is_causal
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.pooling import pooling_of
from smoothcse.errors import SmoothCSEError
from tiny import save_tiny_generator, sentences

TEXTS = sentences(12)

supported = pytest.mark.skipif(
    Version(transformers_version) < Version("5.2"), reason="transformers reads is_causal from 5.2 on"
)


@supported
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma"])
def test_each_token_attends_to_all_whatever_the_padding(architecture, tmp_path):
    path = save_tiny_generator(tmp_path / "start", architecture, pad_token="[PAD]", padding_side="left")
    causal = load_encoder(path, "mean", device="cpu")
    model = build_encoder(path, dropout=0.1, bidirectional=True, projection=False, max_length=None, device="cpu")
    assert pooling_of(model) == "mean"
    assert is_causal(causal[0])
    assert not is_causal(model[0])
    rows = encode(model, TEXTS)
    assert np.abs(rows - encode(causal, TEXTS)).max() > 1e-2
    np.testing.assert_allclose(np.concatenate([encode(model, [text]) for text in TEXTS]), rows, atol=1e-5)
    for text, row in zip(TEXTS[:2], rows, strict=False):  # a mask of ones is that of a text alone
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states = causal[0].model(input_ids=ids, is_causal=False).last_hidden_state[0]
        np.testing.assert_allclose(states.mean(dim=0).numpy(), row, atol=1e-5)

    model.save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["is_causal"] is False
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=False)
    for side in ("left", "right"):
        plain.tokenizer.padding_side = side
        np.testing.assert_allclose(plain.encode(TEXTS), rows, atol=1e-5)


@supported
def test_a_bare_folder_of_such_a_decoder_is_read_at_all_tokens(tmp_path):
    path = Path(save_tiny_generator(tmp_path, "llama", pad_token="[PAD]"))
    settings = json.loads((path / "config.json").read_text()) | {"is_causal": False}
    (path / "config.json").write_text(json.dumps(settings))
    assert pooling_of(build_encoder(path, dropout=0.1, device="cpu")) == "mean"
    with pytest.raises(
        SmoothCSEError, match=r"bidirectional is for causal models, and .* is not causal; leave it out"
    ):
        build_encoder(path, dropout=0.1, bidirectional=True, device="cpu")


def test_models_that_are_not_causal_or_stay_causal_are_refused(tiny_bert, tmp_path):
    with pytest.raises(SmoothCSEError, match="bidirectional is for causal models"):
        build_encoder(tiny_bert, bidirectional=True, device="cpu")
    old = save_tiny_generator(tmp_path, "openai-gpt", pad_token="[PAD]")
    with pytest.raises(SmoothCSEError, match=r"has no effect on .* models of type openai-gpt attend to earlier"):
        build_encoder(old, bidirectional=True, device="cpu")
