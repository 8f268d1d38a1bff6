"""Word embeddings looked up once per batch are those of lookups in each forward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import embedding

from gradients import assert_the_same, view_and_gradients, without_dropout
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate, words
from smoothcse.fastpath.words import WORDS, look_up_words
from smoothcse.views.embed import embed_views
from tiny import ARCHITECTURES, DECODERS, save_tiny_generator, save_tiny_model, sentences


def lookups_of(model, monkeypatch):
    """Count the lookups in a model's table from now on."""
    table, made = model[0].model.get_input_embeddings(), []

    def counted(ids, weight, *others):
        made.append(1) if weight is table.weight else None
        return embedding(ids, weight, *others)

    monkeypatch.setattr("torch.nn.functional.embedding", counted)
    return made


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("columns", [1, 3])
def test_a_batch_is_looked_up_once_in_training(architecture, columns, tmp_path, monkeypatch):
    model = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.1, device="cpu").train()
    batch = [model.preprocess(sentences(40, seed=seed)) for seed in range(columns)]
    made = lookups_of(model, monkeypatch)
    with accelerate(model):
        embed_views(model, batch)
    assert len(made) == 1
    embed_views(model, batch)
    assert len(made) == 1 + columns


@pytest.mark.parametrize("architecture", [*DECODERS, "t5"])
def test_decoders_and_t5_have_the_gradients_of_the_plain_path(architecture, tmp_path):
    folder = save_tiny_generator(tmp_path, architecture, pad_token="[PAD]")
    model = without_dropout(build_encoder(folder, "mean", dropout=0.1, device="cpu").double())
    plain = copy.deepcopy(model)
    with accelerate(model, parts=["words"]):
        found = view_and_gradients(model, sentences(20))
    assert_the_same(found, view_and_gradients(plain, sentences(20)))


def test_other_ids_than_those_of_the_batch_are_looked_up(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu")
    table, column = model[0].model.get_input_embeddings(), model.preprocess(sentences(3))
    with accelerate(model, parts=["words"]):
        [view] = look_up_words(model, [column])
        assert torch.equal(view[WORDS], table(column["input_ids"]))
        other = model.preprocess(sentences(3, seed=1))
        expected = model(dict(other))["sentence_embedding"]
        assert torch.equal(model({**other})["sentence_embedding"], expected)


def test_columns_are_left_as_they_are_where_words_cannot_be_brought_along(tiny_bert, monkeypatch):
    model = build_encoder(tiny_bert, device="cpu")
    column = model.preprocess(sentences(3))
    assert look_up_words(model, [column]) == [column]  # not accelerated
    with accelerate(model):
        assert WORDS in look_up_words(model, [column])[0]
        packed = {key: value for key, value in column.items() if key != "attention_mask"}
        assert look_up_words(model, [column, packed]) == [column, packed]
        wrapper = torch.nn.Module()
        wrapper.module = model
        assert look_up_words(wrapper, [column]) == [column]
        monkeypatch.setattr(words.devices, "is_cpu", lambda device: False)
        assert look_up_words(model, [column]) == [column]
