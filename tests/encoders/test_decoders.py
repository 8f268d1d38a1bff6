"""Pooling of decoders, and refusal of models that do not distinguish sentences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import Qwen2Tokenizer

from smoothcse import TrainConfig, train
from smoothcse.encoders.behaviour import is_causal, require_distinct_embeddings
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from tiny import ARCHITECTURES, DECODERS, save_tiny_generator, save_tiny_model, sentences

# Of different lengths, so that a batch is padded.
TEXTS = ["the cat sat", "the cat sat on a mat while it rained", "dogs ran past old houses by the sea"]
LINES = sentences(64)
END = "<|endoftext|>"


def pooling_of(model):
    return next(module.pooling_mode for module in model if isinstance(module, Pooling))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("architecture", DECODERS)
def test_a_decoder_uses_last_token_pooling(architecture, bos, side, tmp_path):
    path = save_tiny_generator(tmp_path, architecture, bos=bos, pad_token="[PAD]", padding_side=side)
    model = load_encoder(path, device="cpu")
    built = build_encoder(path, dropout=0.1, projection=False, max_length=None, device="cpu")
    assert pooling_of(model) == pooling_of(built) == "lasttoken"
    expected = []
    for text in TEXTS:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            expected.append(model[0].model(input_ids=ids).last_hidden_state[0, -1].numpy())
    np.testing.assert_allclose(encode(model, TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(encode(built, TEXTS), expected, atol=1e-5)
    assert np.corrcoef(expected)[0, 1] < 0.999


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_a_saved_decoder_with_padding_on_the_left(architecture, tmp_path):
    path = save_tiny_generator(tmp_path / "bare", architecture, pad_token="[PAD]", padding_side="left")
    for pooling in ("lasttoken", "mean"):
        folder = str(tmp_path / pooling)
        SentenceTransformer(modules=[Transformer(path), Pooling(32, pooling)], device="cpu").save_pretrained(folder)
        host = SentenceTransformer(folder, device="cpu")
        assert host.tokenizer.padding_side == "left"
        alone = np.concatenate([host.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(encode(load_encoder(folder, device="cpu"), TEXTS), alone, atol=1e-5)
        built = build_encoder(folder, dropout=0.1, max_length=None, device="cpu")
        np.testing.assert_allclose(encode(built, TEXTS), alone, atol=1e-5)
        built.save_pretrained(str(tmp_path / f"{pooling}-saved"))
        saved = SentenceTransformer(str(tmp_path / f"{pooling}-saved"), device="cpu")
        np.testing.assert_allclose(saved.encode(TEXTS), alone, atol=1e-5)


def save_qwen_embedding(folder):
    """Save a decoder with Qwen's own tokenizer, which appends <|endoftext|> as that of Qwen3-Embedding does."""
    path = save_tiny_generator(folder, "qwen3", words=400)
    letters = sorted(ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(vocab={token: number for number, token in enumerate([*letters, END])}, merges=[])
    end = tokenizer.convert_tokens_to_ids(END)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(path)
    return path, end


def test_the_end_token_of_the_models_own_recipe_is_read(tmp_path):
    path, end = save_qwen_embedding(tmp_path / "start")
    built = build_encoder(path, dropout=0.1, projection=False, max_length=6, device="cpu")
    built.save_pretrained(str(tmp_path / "saved"))
    loaded = load_encoder(tmp_path / "saved", device="cpu")
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    for model in (built, loaded, plain):
        features = model.preprocess(["a", "the cat sat"])  # the second is truncated
        ids, present = features["input_ids"], features["attention_mask"].bool()
        assert present.sum(dim=1).tolist() == [2, 6]
        assert [int(row[mask][-1]) for row, mask in zip(ids, present, strict=True)] == [end, end]
        with torch.no_grad():
            state = built[0].model(input_ids=ids[:1][present[:1]].view(1, 2)).last_hidden_state[0, -1]
        np.testing.assert_allclose(model.encode(["a", "the cat sat"])[0], state.numpy(), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_encoder_is_not_causal(architecture, tmp_path):
    assert not is_causal(Transformer(save_tiny_model(tmp_path, architecture)))


def test_cls_pooling_of_a_causal_model_is_refused(tmp_path):
    path = save_tiny_generator(tmp_path / "bare", "llama", pad_token="[PAD]")
    for make in (load_encoder, lambda *a, **k: build_encoder(*a, dropout=0.1, **k)):
        with pytest.raises(SmoothCSEError, match=r"is causal: its first token .* --pooling lasttoken or mean"):
            make(path, "cls", device="cpu")
    # A saved folder with cls pooling. Without a start token, sentences with the same first word reveal it.
    for bos in (True, False):
        bare = Transformer(save_tiny_generator(tmp_path / f"{bos}", "gpt2", bos=bos, pad_token="[PAD]"))
        folder = str(tmp_path / f"own-{bos}")
        SentenceTransformer(modules=[bare, Pooling(32, "cls")], device="cpu").save_pretrained(folder)
        for make in (load_encoder, build_encoder):
            with pytest.raises(SmoothCSEError, match="gives different sentences the same embedding"):
                make(folder, device="cpu")
        assert len(encode(load_encoder(folder, "mean", device="cpu"), TEXTS)) == 3


def test_a_prompt_that_leaves_no_room_is_refused(tiny_bert, tmp_path):
    model = load_encoder(tiny_bert, device="cpu")
    model.prompts, model.default_prompt_name = {"long": "the cat sat on a mat " * 20}, "long"
    model.save_pretrained(str(tmp_path))
    with pytest.raises(SmoothCSEError, match="its prompt leaves no room"):
        load_encoder(str(tmp_path), device="cpu")


def test_texts_with_equal_tokens_are_not_compared(tiny_bert):
    model = load_encoder(tiny_bert, device="cpu")
    require_distinct_embeddings(model, "it", ["the cat", "The  CAT"])
    for parameter in model.parameters():
        parameter.data.zero_()
    require_distinct_embeddings(model, "it", ["the cat", "The  CAT"])
    with pytest.raises(SmoothCSEError, match="it gives different sentences"):
        require_distinct_embeddings(model, "it", ["the cat", "the dogs"])


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "t5"])
def test_a_tokenizer_without_a_padding_token_pads_with_its_end_token(architecture, tmp_path):
    model = load_encoder(save_tiny_generator(tmp_path / "bare", architecture), device="cpu")
    assert model.tokenizer.pad_token == "[SEP]"
    alone = np.concatenate([encode(model, [text]) for text in TEXTS])
    np.testing.assert_allclose(encode(model, TEXTS), alone, atol=1e-5)
    model.save_pretrained(str(tmp_path / "saved"))  # the saved folder, loaded by the host
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(saved.encode(TEXTS), alone, atol=1e-5)


def test_a_tokenizer_without_padding_and_end_tokens_is_refused(tmp_path):
    path = save_tiny_generator(tmp_path, "llama", eos_token=None)
    with pytest.raises(SmoothCSEError, match="neither a padding token nor an end token"):
        load_encoder(path, device="cpu")


def test_t5_loads_its_encoder_and_bart_is_refused(tmp_path):
    t5 = save_tiny_generator(tmp_path / "t5", "t5", pad_token="[PAD]")
    assert type(load_encoder(t5, device="cpu")[0].model).__name__ == "T5EncoderModel"
    np.testing.assert_array_equal(
        encode(load_encoder(t5, device="cpu"), TEXTS), SentenceTransformer(t5, device="cpu").encode(TEXTS)
    )
    bart = save_tiny_generator(tmp_path / "bart", "bart", pad_token="[PAD]")
    for make in (load_encoder, build_encoder):
        with pytest.raises(SmoothCSEError, match=r"is an encoder-decoder \(bart\)"):
            make(bart, device="cpu")


def test_a_saved_bart_model_equals_the_hosts(tmp_path):
    bart = Transformer(save_tiny_generator(tmp_path / "bart", "bart", pad_token="[PAD]"))
    host = SentenceTransformer(modules=[bart, Pooling(32, "mean")], device="cpu")
    host.save_pretrained(str(tmp_path / "own"))
    loaded = load_encoder(tmp_path / "own", device="cpu")
    np.testing.assert_allclose(encode(loaded, TEXTS), host.encode(TEXTS), atol=1e-6)
    assert run(tmp_path, str(tmp_path / "own")).last_score is not None


def run(folder, model, **changes):
    (folder / "text.txt").write_text("\n".join(LINES))
    settings = {
        "batch_size": 16,
        "max_steps": 2,
        "eval_steps": 2,
        "learning_rate": 1e-3,
        "dev": "none",
        "dropout": 0.1,
    }
    return train(
        TrainConfig(
            **{
                "corpus": str(folder / "text.txt"),
                "model": model,
                "output": str(folder / "run"),
                **settings,
                **changes,
            }
        )
    )


@pytest.mark.parametrize(
    ("architecture", "tokens"),
    [
        ("gpt2", {}),
        ("qwen2", {"pad_token": "[PAD]", "padding_side": "left", "bos": False}),
        ("t5", {"pad_token": "[PAD]"}),
    ],
)
def test_a_decoder_can_be_trained_and_loaded_by_the_host(architecture, tokens, tmp_path):
    result = run(tmp_path, save_tiny_generator(tmp_path / "start", architecture, **tokens))
    last = str(result.folder / "last")
    shipped = SentenceTransformer(last, device="cpu")
    assert pooling_of(shipped) == ("cls" if architecture == "t5" else "lasttoken")
    rows = shipped.encode(LINES)
    np.testing.assert_allclose(encode(load_encoder(last, device="cpu"), LINES), rows, atol=1e-5)
    assert len(np.unique(rows.round(3), axis=0)) == len(LINES)
    assert np.isfinite(result.last_score)
