"""Each monitor warns about its problem, says what to do, and is silent on a healthy run."""

from __future__ import annotations

import json
import math

import pytest
import torch
from rich.console import Console

from interrupted import train_interrupted
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.fastpath import hosts
from smoothcse.fastpath.patches import Patches
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import FiniteLoss
from smoothcse.training.callbacks.monitors import CollapseMonitor, NoiseShareMonitor, require_two_views
from smoothcse.training.text_check import check_text, warn_about_text
from smoothcse.training.warnings import Warnings
from tiny import save_tiny_model, sentences

QUIET = Console(quiet=True)


@pytest.fixture
def warnings():
    return Warnings(QUIET)


def log(monitor, shares):
    for share in shares:
        monitor.on_log(None, None, None, {"noise_share": share})


def test_ineffective_noise_is_warned_about(warnings):
    monitor = NoiseShareMonitor(warnings)
    log(monitor, [0.0, 0.0002, 0.13])  # the first steps behind a fresh head
    assert not warnings.messages
    log(monitor, [0.0004, 0.0002, 0.0001])
    assert len(warnings.messages) == 1
    assert warnings.messages[0].startswith("Smoothing is not active: the noise is 0.04% of the negative mass")
    assert "raise noise_weight" in warnings.messages[0]


def test_dominating_noise_is_warned_about(warnings):
    log(NoiseShareMonitor(warnings), [0.995, 0.999, 0.998, 0.999, 0.9991])
    assert len(warnings.messages) == 1
    assert "The noise is 99.5% of the negative mass" in warnings.messages[0]


def test_a_run_with_inactive_noise_records_a_warning(config):
    train(config.replace(noise_weight=1e-9), console=QUIET)
    warnings = read_manifest(config.output).warnings
    assert [warning for warning in warnings if "Smoothing is not active" in warning]


def test_a_run_on_an_untested_host_is_plain_and_says_so_once(config, monkeypatch):
    monkeypatch.setitem(hosts.TESTED, "transformers", "<1")
    monkeypatch.setattr(Patches, "replace", lambda *_: pytest.fail("a module was changed"))
    train(config, console=QUIET)
    warnings = read_manifest(config.output).warnings
    assert sum("The fast path was tested with transformers <1" in warning for warning in warnings) == 1


def test_the_control_without_noise_gets_no_warning_about_noise(config):
    train(config.replace(noise_count=0), console=QUIET)
    assert not any("moothing" in warning for warning in read_manifest(config.output).warnings)


def test_a_collapsing_encoder_is_warned_about(tiny_bert, warnings):
    encoder = load_encoder(tiny_bert, "cls", device="cpu")
    monitor = CollapseMonitor(encoder, sentences(40), warnings)
    state = type("State", (), {"global_step": 4})
    monitor.measure_start()
    monitor.on_evaluate(None, state, None)
    assert not warnings.messages
    with torch.no_grad():  # a large common vector behind the last layer
        state.global_step = 7
        encoder[0].model.encoder.layer[-1].output.LayerNorm.bias.add_(100.0)
    monitor.on_evaluate(None, state, None)
    assert "collapsing (step 7): their mean cosine is 1.00, their uniformity is" in warnings.messages[0]
    state.global_step = 8
    monitor.on_evaluate(None, state, None)
    assert len(warnings.messages) == 1  # once, though the figures have changed


@pytest.mark.parametrize("collapsed_from", [2, 4])
def test_a_resumed_run_records_the_warnings_of_an_uninterrupted_one(collapsed_from, config, monkeypatch):
    """Warned about before the interruption or after it, and compared with the start in both cases."""
    config = config.replace(max_steps=6, eval_steps=2, log_steps=1, noise_count=0)
    steps = []

    def shape(self):
        return (0.99, -0.1, 1.0) if steps and steps[-1] >= collapsed_from else (0.5, -2.0, 30.0)

    def on_evaluate(self, args, state, control, **kwargs):
        steps.append(state.global_step)
        original(self, args, state, control, **kwargs)

    original = CollapseMonitor.on_evaluate
    monkeypatch.setattr(CollapseMonitor, "_shape", shape)
    monkeypatch.setattr(CollapseMonitor, "on_evaluate", on_evaluate)
    measure = CollapseMonitor.measure_start
    monkeypatch.setattr(CollapseMonitor, "measure_start", lambda self: (steps.clear(), measure(self)))
    train(config, console=QUIET)
    expected = read_manifest(config.output).warnings
    assert sum(f"collapsing (step {collapsed_from})" in warning for warning in expected) == 1
    cut = config.replace(output=f"{config.output}-cut")
    train_interrupted(cut, 3, monkeypatch)
    assert read_manifest(cut.output).warnings == expected


def test_identical_views_are_refused(tmp_path):
    fields = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    silent = load_encoder(save_tiny_model(tmp_path / "silent", "bert", **fields), "cls", device="cpu")
    with pytest.raises(SmoothCSEError, match=r"views of each sentence are identical.* --dropout 0.1"):
        require_two_views(silent, sentences(4), 32)
    require_two_views(build_encoder(save_tiny_model(tmp_path / "bert"), device="cpu"), sentences(4), 32)


def corpus(tmp_path, lines):
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_sentences(tmp_path / "text.txt")


def test_text_unknown_to_the_tokenizer_is_refused_or_warned_about(tiny_bert, tmp_path, warnings):
    encoder = build_encoder(tiny_bert, device="cpu")
    half = corpus(tmp_path, [f"the cat sat on a mat {'日' * n}" for n in range(1, 30)])
    check = check_text(encoder, half, 32)
    assert 0.5 < check.unknown < 1
    with pytest.raises(SmoothCSEError, match=r"of the text's tokens are unknown to the tokenizer of tiny"):
        warn_about_text(check, "tiny", 32, warnings)
    some = corpus(tmp_path, [f"{sentence} 日" for sentence in sentences(30)])
    warn_about_text(check_text(encoder, some, 32), "tiny", 32, warnings)
    assert "sentences that differ only in these tokens get the same embedding" in warnings.messages[0]


def test_mostly_truncated_text_is_warned_about(tiny_bert, tmp_path, warnings):
    encoder = build_encoder(tiny_bert, device="cpu")
    long = corpus(tmp_path, [" ".join(sentences(9, seed=n)) for n in range(20)])
    check = check_text(encoder, long, 10)
    tokens = [
        len(ids) for ids in encoder.tokenizer(long.dataset["sentence"][:], add_special_tokens=False)["input_ids"]
    ]
    assert check.truncated == pytest.approx(1 - 20 * 8 / sum(tokens))
    assert check.truncated_texts == 1
    words = sum(len(text.split()) for text in long.dataset["sentence"][:])
    assert check.fertility == pytest.approx(sum(tokens) / words)
    half = corpus(tmp_path, [*sentences(5), *(" ".join(sentences(9, seed=n)) for n in range(5))])
    assert check_text(encoder, half, 40).truncated_texts == 0.5
    warn_about_text(check, "tiny", 10, warnings)
    expected = f"max_length 10 truncates {check.truncated:.0%} of the text; raise max_length"
    assert warnings.messages[0].startswith(expected)


def test_duplicates_after_truncation_are_warned_about(tiny_bert, tmp_path, warnings):
    text = corpus(tmp_path, ["The cat sat", "the cat sat", *sentences(20)])
    check = check_text(build_encoder(tiny_bert, device="cpu"), text, 32)
    assert check.duplicates == pytest.approx(2 / 22)
    warn_about_text(check, "tiny", 32, warnings)
    assert "act as each other's negatives" in warnings.messages[0]


def test_texts_that_the_method_repeats_are_no_duplicates(config):
    """DebCSE draws positives among the sentences, some of them many times."""
    train(config.replace(method="debcse", max_steps=1), console=QUIET)
    manifest = read_manifest(config.output)
    assert manifest.text["duplicates"] == 0
    assert not any("duplicates" in warning for warning in manifest.warnings)


def test_a_gradient_that_is_not_finite_stops_the_run_though_the_loss_is(config, monkeypatch):
    original = FiniteLoss.on_pre_optimizer_step

    def spoil(self, args, state, control, model=None, **kwargs):
        if self.step == 3:
            next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = math.inf
        original(self, args, state, control, model=model, **kwargs)

    monkeypatch.setattr(FiniteLoss, "on_pre_optimizer_step", spoil)
    with pytest.raises(SmoothCSEError, match=r"gradient is not a finite number at step 3; .*checkpoint-2"):
        train(config, console=QUIET)


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path):
    return make_config(
        {
            "corpus": str(corpus_file),
            "model": tiny_bert,
            "output": str(tmp_path / "run"),
            "batch_size": 8,
            "max_steps": 8,
            "eval_steps": 2,
            "log_steps": 1,
            "precision": "fp32",
        }
    )


@pytest.mark.slow
@pytest.mark.bf16
def test_a_healthy_run_gives_no_warning(minilm, shared, tmp_path):
    """The demo's encoder on real captions."""
    fields = {"corpus": str(shared / "data" / "corpus" / "captions.txt"), "model": minilm, "pooling": "cls"}
    steps = {"max_steps": 6, "eval_steps": 6, "log_steps": 3, "batch_size": 24, "limit": 200}
    train(make_config({**fields, **steps, "output": str(tmp_path / "run")}), console=QUIET)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["warnings"] == []
