"""LoRA in runs: what is trained, saved, resumed, merged and refused. test_distributed.py has two ranks."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from interrupted import train_interrupted
from smoothcse import SmoothCSEError, TrainConfig
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.lora import add_lora, merged
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import inputs as training_inputs
from smoothcse.training import make_config, train
from smoothcse.training.selection import DEV_SCORE, Criterion
from tiny import save_tiny_generator, sentences

pytest.importorskip("peft", reason="needs the extra 'lora'")

QUIET = Console(quiet=True)
LINEARS = ("query", "key", "value", "dense")


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path, monkeypatch):
    criterion = Criterion("a constant", lambda model: {DEV_SCORE: 0.0})
    monkeypatch.setattr(training_inputs, "choose_criterion", lambda config, corpus: criterion)
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "run"), "lora_rank": 3}
    fields |= {"batch_size": 8, "noise_count": 8, "eval_steps": 2, "log_steps": 1, "precision": "fp32"}
    return make_config({**fields, "learning_rate": 1e-2, "max_steps": 4})


def weights(folder, name="model.safetensors"):
    return load_file(folder / name)


def test_a_run_trains_adapters_alone_and_saves_them_merged_and_on_request_apart(config, tiny_bert):
    result = train(config.replace(keep_adapters=True), console=QUIET)
    start = build_encoder(tiny_bert, projection=False, device="cpu")[0].model.state_dict()
    kept = result.last.with_name("last-adapters")
    adapters, last = weights(kept, "adapter_model.safetensors"), weights(result.last)
    assert last.keys() == start.keys()
    adapted = set()
    for name, tensor in start.items():  # W + (α / r) B A, by a loop over the layers
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        expected = tensor
        if f"{stem}.lora_A.weight" in adapters:
            adapted.add(name)
            expected = tensor + 6 / 3 * adapters[f"{stem}.lora_B.weight"] @ adapters[f"{stem}.lora_A.weight"]
        torch.testing.assert_close(last[name], expected, rtol=0, atol=1e-6)
        assert torch.equal(last[name], tensor) == (name not in adapted)
    linear = {name for name in start if name.endswith(tuple(f"{one}.weight" for one in LINEARS))}
    assert adapted == {name for name in linear if not name.startswith("pooler")}

    texts = sentences(5)
    plain = SentenceTransformer(str(result.last), device="cpu").encode(texts)
    torch.testing.assert_close(SentenceTransformer(str(kept), device="cpu").encode(texts), plain, rtol=0, atol=1e-5)
    torch.testing.assert_close(load_encoder(result.last, device="cpu").encode(texts), plain)


def test_a_checkpoint_holds_the_adapters_and_the_head_alone(config, tmp_path):
    train(config, console=QUIET)
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-4"
    assert not (checkpoint / "model.safetensors").exists()
    tensors = [*weights(checkpoint, "adapter_model.safetensors"), *weights(checkpoint / "2_Dense")]
    assert len(tensors) == 2 * 2 * 6 + 2  # A and B of six linear layers in two transformer layers; the head


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mini_batch": 60, "fast_path": False, "trainer_args": {"gradient_accumulation_steps": 2}},
        {"method": "esimcse"},
        {"method": {"name": "promptbert", "anchor": "the {sentence} {mask}", "positive": "{sentence} and {mask}"}},
        {"method": {"name": "simcse", "mlm_weight": 0.1}},
    ],
    ids=["plain", "cached", "momentum", "template", "masked"],
)
def test_a_resumed_run_equals_one_never_interrupted(fields, config, tmp_path, monkeypatch):
    config = config.replace(**fields)
    whole = train(config, console=QUIET)
    resumed = train_interrupted(config.replace(output=str(tmp_path / "cut")), 3, monkeypatch)
    found = weights(resumed.last)
    assert all(torch.equal(tensor, found[name]) for name, tensor in weights(whole.last).items())
    start = weights(whole.last.parent / "best")  # the constant criterion selects step 0
    assert any(not torch.equal(tensor, start[name]) for name, tensor in found.items())


def test_resuming_keeps_the_precision_of_adapters_on_a_start_in_half_precision(
    config, tiny_bert, tmp_path, monkeypatch
):
    model = SentenceTransformer(tiny_bert, device="cpu")
    model[0].model.bfloat16().save_pretrained(tmp_path / "half")
    model.tokenizer.save_pretrained(tmp_path / "half")
    test_a_resumed_run_equals_one_never_interrupted({"model": str(tmp_path / "half")}, config, tmp_path, monkeypatch)


def test_gradients_with_caching_and_on_the_fast_path_are_those_of_the_plain_path(config, tmp_path):
    # Adam would turn the rounding of a gradient near 0 into a whole step
    config = config.replace(trainer_args={"optim": "sgd"}, learning_rate=0.5)
    trained = {
        name: weights(
            train(
                config.replace(output=str(tmp_path / name), views="crops", lora_dropout=0, **fields), console=QUIET
            ).last
        )
        for name, fields in {
            "plain": {"fast_path": False, "dropout": 1e-9},
            "fast": {"dropout": 1e-9},
            "cached": {"dropout": 1e-9, "mini_batch": 40},
        }.items()
    }
    start = weights(tmp_path / "plain" / "best")  # the constant criterion selects step 0
    assert max((tensor - start[key]).abs().max() for key, tensor in trained["plain"].items()) > 2e-5
    for name in ("fast", "cached"):
        for key, tensor in trained["plain"].items():
            torch.testing.assert_close(trained[name][key], tensor, rtol=0, atol=2e-6)


def test_the_dropout_of_adapters_makes_the_views_of_an_encoder_that_has_none(config, tmp_path, capsys):
    llama = save_tiny_generator(tmp_path / "llama", "llama")  # attention_dropout 0
    fields = {"model": llama, "max_steps": 1, "keep_adapters": True}
    result = train(config.replace(**fields), console=Console(width=300))
    printed = capsys.readouterr().out
    assert "under the dropout of the LoRA adapters; the encoder itself has none" in printed
    assert "LoRA adapters of rank 3 (alpha 6, dropout 0.05) on all linear layers" in printed
    assert SentenceTransformer(str(result.last), device="cpu").encode(["the cat"]).shape == (1, 32)
    with pytest.raises(SmoothCSEError, match="dropout 0 everywhere"):
        train(config.replace(**fields, lora_dropout=0, output=str(tmp_path / "calm")), console=QUIET)


def test_the_model_card_says_what_was_trained(config):
    result = train(config.replace(max_steps=1), console=QUIET)
    card, manifest = (result.last / "README.md").read_text(), read_manifest(result.folder)
    layers = 2 * 3 * (4 * (32 + 32) + 2 * (32 + 64))  # rank 3: A and B of four square layers and two wide ones
    assert manifest.trained_parameters == layers + 32 * 33  # and the head
    assert f"| trained weights | {manifest.trained_parameters:,} of {manifest.parameters:,} |" in card
    assert "| adapters | LoRA adapters of rank 3 (alpha 6, dropout 0.05) on all linear layers, merged" in card


def test_merging_changes_neither_the_encoder_nor_an_encoder_without_adapters(tiny_bert):
    model = build_encoder(tiny_bert, projection=False, device="cpu")
    assert merged(model) is model
    add_lora(model, LoRA(2, alpha=5.0, targets=["query"]), tiny_bert, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = merged(model)
    assert plain.tokenizer is model.tokenizer
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(plain.encode("the cat"), model.encode("the cat"), rtol=0, atol=1e-5)
    assert sum("lora_A" in name for name in before) == 2  # one query in each layer


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train_layers": 1}, "lora_rank trains adapters in all layers, and train_layers"),
        ({"start_decay": 5}, "set weight_decay, which shrinks the adapters"),
        ({"lora_rank": None, "lora_alpha": 4}, "lora_alpha applies to LoRA's adapters; set lora_rank"),
        ({"lora_rank": None, "keep_adapters": True}, "keep_adapters applies to LoRA's adapters"),
    ],
)
def test_fields_that_contradict_lora_are_refused(fields, words):
    with pytest.raises(SmoothCSEError, match=words):
        TrainConfig(**{"lora_rank": 4, **fields})


def test_methods_and_layers_without_adapters_are_refused(config):
    with pytest.raises(SmoothCSEError, match="conpvp learns the embeddings of new tokens, which lora_rank freezes"):
        train(config.replace(method="conpvp"), console=QUIET)
    with pytest.raises(SmoothCSEError, match=r"lora_targets names layers that .* does not have"):
        train(config.replace(lora_targets=["nothing"]), console=QUIET)
