"""Architectures that cannot be trained get one sentence that says what is missing and what to do."""

from __future__ import annotations

import pytest
from rich.console import Console

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.length import check_length, positions_of
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.training import TrainConfig, train
from smoothcse.training.plan import plan_run
from tiny import save_tiny_generator, save_tiny_model


def test_no_dropout_setting(tmp_path):
    path = save_tiny_model(tmp_path, "mamba")
    with pytest.raises(SmoothCSEError, match=r"a mamba model\) has no known dropout setting.*--views crops"):
        build_encoder(path, device="cpu")
    assert build_encoder(path, needs_dropout=False, device="cpu")  # its views differ by their text
    with pytest.raises(SmoothCSEError, match="has no known dropout setting"):
        build_encoder(path, needs_dropout=False, dropout=0.1, device="cpu")


def test_a_dropout_setting_that_is_ignored(tmp_path, corpus_file):
    config = TrainConfig(
        corpus=str(corpus_file),
        model=save_tiny_model(tmp_path / "mpt", "mpt"),
        dropout=0.1,
        batch_size=8,
        max_steps=1,
        dev="none",
        output=str(tmp_path / "run"),
    )
    with pytest.raises(
        SmoothCSEError, match="If it is set, the architecture ignores it: use views drawn from the text"
    ):
        train(config, console=Console(quiet=True))


def test_only_dropout_views_need_dropout(corpus_file):
    config = TrainConfig(corpus=str(corpus_file), model="any")
    assert plan_run(config).needs_dropout
    assert plan_run(config.replace(views="crops=1,dropout=1")).needs_dropout
    assert not plan_run(config.replace(views="crops")).needs_dropout
    assert not plan_run(config.replace(columns=["sentence", "positive"])).needs_dropout


def test_no_attention_mask(tmp_path):
    with pytest.raises(SmoothCSEError, match="reads the padding of a batch as if it were text"):
        build_encoder(save_tiny_model(tmp_path, "fnet"), "mean", dropout=0.1, device="cpu")


@pytest.mark.parametrize(("architecture", "positions"), [("roberta", 63), ("mpnet", 62), ("xlm-roberta", 63)])
def test_positions_after_that_of_the_padding(architecture, positions, tmp_path):
    path = save_tiny_model(tmp_path, architecture)  # 64 rows; MPNet's padding has row 1, whatever its token
    model = build_encoder(path, dropout=0.1, max_length=None, device="cpu")
    assert positions_of(model) == model.max_seq_length == positions
    assert check_length(positions, model, "it") == positions
    with pytest.raises(SmoothCSEError, match=f"max_length 64 exceeds the {positions} positions of it"):
        check_length(64, model, "it")
    assert encode(model, ["the cat sat on a mat " * 30]).shape == (1, 32)


@pytest.mark.parametrize(("architecture", "positions"), [("gpt2", 64), ("qwen3", 64), ("t5", None)])
def test_a_tokenizer_without_a_limit_is_cut_to_the_positions(architecture, positions, tmp_path):
    path = save_tiny_generator(tmp_path, architecture, pad_token="[PAD]", model_max_length=10**30)
    model = load_encoder(path, device="cpu")
    assert positions_of(model) == positions
    assert positions is None or model.max_seq_length == positions
    assert encode(model, ["the cat sat on a mat " * 30]).shape == (1, 32)
