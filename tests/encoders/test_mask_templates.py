"""Encoders with a template: plain folders that apply it, and sentences moved between templates."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.length import require_room
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.projection import strip_projection
from smoothcse.encoders.templates import read_prompts, with_template
from smoothcse.errors import SmoothCSEError
from smoothcse.export.export_model import export_model
from smoothcse.methods.table import make_settings
from smoothcse.objectives.templates import Templates, move_sentences, template_places
from smoothcse.views.embed import embed_views
from tiny import WORDS, save_tiny_model, sentences

QUOTED = 'the old "{sentence}" while {mask} and'
LEARNED = "{sentence} <prompt-1> <prompt-2> {mask} ran"
NEW = ["<prompt-1>", "<prompt-2>"]
TEXTS = ["the cat sat on a mat", "", "dogs", "small books about stars " * 40]


def byte_level_vocabulary():
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(merge) for merge in model["merges"]]}


def wordpiece_vocabulary(*special):
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*special, *sorted(set(WORDS.split())), *"\".:',", *letters, *(f"##{letter}" for letter in letters)]
    return {word: number for number, word in enumerate(dict.fromkeys(words))}


OWN_TOKENIZERS = {
    "bert": lambda: transformers.BertTokenizer(
        vocab=wordpiece_vocabulary("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    ),
    "mpnet": lambda: transformers.MPNetTokenizer(
        vocab=wordpiece_vocabulary("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
    ),
    "roberta": lambda: transformers.RobertaTokenizer(**byte_level_vocabulary()),
}
"""Tokenizer classes of published models, which rebuild their post-processor when they are loaded."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function that writes a tiny model with the tokenizer of its architecture, once per architecture."""
    folders = {}

    def write(architecture):
        if architecture not in folders:
            folder = folders[architecture] = tmp_path_factory.mktemp(architecture)
            if architecture not in OWN_TOKENIZERS:
                save_tiny_model(folder, architecture)
            else:
                tokenizer = OWN_TOKENIZERS[architecture]()
                tokenizer.model_max_length = 60  # RoBERTa counts its positions from 2
                save_tiny_model(folder, architecture, len(tokenizer), pad_token_id=tokenizer.pad_token_id)
                tokenizer.save_pretrained(folder)
        return str(folders[architecture])

    return write


def prompted(path, template=QUOTED, new=()):
    return with_template(build_encoder(path, dropout=0.1, max_length=None, device="cpu"), template, new).eval()


@pytest.mark.parametrize("template", [QUOTED, LEARNED])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert", "electra", "modernbert"])
def test_a_saved_encoder_applies_its_template(architecture, template, start, tmp_path):
    model = prompted(start(architecture), template, NEW if template == LEARNED else ())
    model.save_pretrained(str(tmp_path))
    plain = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=False)
    assert all(type(module).__module__.startswith("sentence_transformers") for module in plain)
    np.testing.assert_allclose(plain.encode(TEXTS), model.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(encode(load_encoder(tmp_path, device="cpu"), TEXTS), model.encode(TEXTS), atol=1e-6)

    [prompt] = read_prompts(plain.tokenizer, [template])
    for text, ids in zip(TEXTS, plain.tokenizer(TEXTS, truncation=True)["input_ids"], strict=True):
        assert tuple(ids[: len(prompt.before)]) == prompt.before
        assert tuple(ids[-len(prompt.after) :]) == prompt.after
        assert ids.count(plain.tokenizer.mask_token_id) == 1
        assert len(ids) <= plain.max_seq_length
        assert (len(ids) == plain.max_seq_length) == (text == TEXTS[-1])
    if architecture in OWN_TOKENIZERS:
        assert plain.tokenizer.unk_token_id not in prompt.before + prompt.after


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize("template", [QUOTED.replace('"', ' " '), LEARNED])
def test_the_template_equals_the_text_inserted_by_hand(architecture, template, start):
    """Tokens of template and sentence equal those of the whole text, tokenised at once."""
    model = prompted(start(architecture), template, NEW)
    whole = template.replace("{mask}", model.tokenizer.mask_token)
    backend = model.tokenizer.backend_tokenizer
    for text in ("cat", "the cat sat", "stars, rivers"):
        [one] = [backend.encode(whole.replace("{sentence}", text), add_special_tokens=False).ids]
        found = model.tokenizer(text)["input_ids"][1:-1]
        if architecture == "roberta" and template != LEARNED:  # its whole text starts without a space
            found, one = found[1:], one[len(one) - len(found) + 1 :]
        assert found == list(one)


def test_an_encoder_with_a_template_can_be_exported(start, tmp_path):
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra 'onnx'")
    model = prompted(start("bert"), LEARNED, NEW)
    export_model(model, tmp_path / "onnx", "onnx", sentences(5), console=Console(quiet=True))
    np.testing.assert_allclose(encode(load_encoder(tmp_path / "onnx"), TEXTS), encode(model, TEXTS), atol=2e-6)


def test_the_embedding_is_the_state_of_the_mask(start):
    model = prompted(start("bert"))
    features = model.preprocess(TEXTS[:3])
    states = model[0].model(features["input_ids"], attention_mask=features["attention_mask"]).last_hidden_state
    at_mask = states[features["input_ids"] == model.tokenizer.mask_token_id]
    torch.testing.assert_close(model(dict(features))["sentence_embedding"], at_mask)


def test_new_tokens_have_reproducible_embeddings(start):
    first, second = (prompted(start("bert"), LEARNED, NEW) for _ in range(2))
    tables = [model[0].model.get_input_embeddings().weight for model in (first, second)]
    assert torch.equal(*tables)
    ids = first.tokenizer.convert_tokens_to_ids(NEW)
    assert ids == [len(tables[0]) - 2, len(tables[0]) - 1]
    assert abs(tables[0][ids].std() / tables[0][:-2].std() - 1) < 0.5
    first.train()(first.preprocess(["the cat"]))["projection"].sum().backward()
    assert (tables[0].grad[ids].abs().sum(dim=1) > 0).all()


def test_a_template_can_be_replaced(start, tmp_path):
    """The first template is removed, and so are its new tokens."""
    once = prompted(prompted_folder(start("roberta"), tmp_path), LEARNED, NEW)
    direct = prompted(start("roberta"), LEARNED, NEW)
    assert once.tokenizer("the cat")["input_ids"] == direct.tokenizer("the cat")["input_ids"]
    assert [type(module) for module in once] == [type(module) for module in direct]


def prompted_folder(path, folder):
    strip_projection(prompted(path)).save_pretrained(str(folder))
    return str(folder)


def test_token_weights_are_not_trained(start, tmp_path):
    again = build_encoder(prompted_folder(start("bert"), tmp_path), max_length=None, device="cpu")
    assert not any(parameter.requires_grad for parameter in again[1].parameters())
    views = embed_views(again.train(), [again.preprocess(sentences(20))])
    assert not torch.equal(*views)
    views[0].sum().backward()
    assert again[1].emb_layer.weight.grad is None


def test_a_template_without_room_for_text_is_refused(start):
    model = prompted(start("bert"))
    added = model.tokenizer.num_special_tokens_to_add()
    require_room(model, added + 1)
    with pytest.raises(
        SmoothCSEError, match=f"max_length {added} leaves no room .* {added} tokens .* at least {added + 1}"
    ):
        require_room(model, added)
    short = build_encoder(start("bert"), max_length=8, device="cpu")
    with pytest.raises(SmoothCSEError, match="no room"):
        with_template(short, QUOTED)


def test_an_encoder_without_a_mask_token_is_refused(start):
    model = build_encoder(start("bert"), device="cpu")
    model.tokenizer.mask_token = None
    with pytest.raises(SmoothCSEError, match="needs a fast tokenizer with mask"):
        with_template(model, QUOTED)


@pytest.mark.parametrize("template", ["{sentence} alone", "{mask} alone", "{sentence} {sentence} {mask}"])
def test_an_incomplete_template_is_refused(template):
    with pytest.raises(SmoothCSEError, match=r"but a template must contain \{sentence\} once and \{mask\} once"):
        make_settings("promptbert", {"anchor": template})


ALL = [QUOTED, LEARNED, "dogs {mask} : {sentence}", "{sentence} . and {mask} , then {mask} the sea"]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def tokenizers(request, start):
    """Return one tokenizer per template, all with the same vocabulary."""
    return [prompted(start(request.param), template, NEW).tokenizer for template in ALL]


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.lists(st.sampled_from(WORDS.split()), max_size=30), min_size=1, max_size=6),
    source=st.integers(0, len(ALL) - 1),
    data=st.data(),
)
def test_a_moved_sentence_is_the_sentence_tokenised_in_the_other_template(tokenizers, words, source, data):
    texts = [" ".join(some) for some in words]
    chosen = data.draw(st.lists(st.integers(0, len(ALL) - 1), min_size=len(texts), max_size=len(texts)))
    prompts = read_prompts(tokenizers[0], ALL)
    batch = tokenizers[source](texts, padding=True, return_tensors="pt")
    lengths = len(prompts[source].before), len(prompts[source].after)
    moved, present, of_template = move_sentences(
        batch["input_ids"],
        batch["attention_mask"],
        lengths,
        Templates(prompts),
        torch.tensor(chosen),
        pad=tokenizers[0].pad_token_id,
        longest=40,
    )
    assert moved.shape == present.shape == of_template.shape
    assert moved.shape[1] <= 40
    for row, (text, number) in enumerate(zip(texts, chosen, strict=True)):
        expected = tokenizers[number](text, truncation=True, max_length=40)["input_ids"]
        assert moved[row][present[row].bool()].tolist() == expected
        assert present[row].sum() == present[row][: len(expected)].sum()
        assert (moved[row, len(expected) :] == tokenizers[0].pad_token_id).all()
        prompt = prompts[number]
        assert moved[row][of_template[row].bool()].tolist() == [*prompt.before, *prompt.after]
    places = template_places(of_template, Templates(prompts).longest)
    ids, mask = moved.gather(1, places), of_template.gather(1, places)
    for row, number in enumerate(chosen):
        assert ids[row][mask[row].bool()].tolist() == [*prompts[number].before, *prompts[number].after]
        assert places[row][mask[row].bool()].tolist() == of_template[row].nonzero().flatten().tolist()
