"""Text is tokenised once; the batches are those of the host's collator."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath.token_ids import PadTokenIds, tokenised_once
from tiny import ARCHITECTURES, save_tiny_model, sentences


def texts(columns=1, rows=40):
    return Dataset.from_dict({f"text {n}": sentences(rows, seed=n) for n in range(columns)})


def assert_same_batches(dataset, tokenised, collate, encoder, max_length):
    host = SentenceTransformerDataCollator(encoder.preprocess, max_length=max_length)
    for rows in ([0], [5, 30, 2, 17], list(range(len(dataset)))):
        ours, theirs = (
            collator(part.__getitems__(rows)) for collator, part in ((collate, tokenised), (host, dataset))
        )
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert torch.equal(ours[name], value) if torch.is_tensor(value) else ours[name] == value


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batches_are_those_of_the_host(architecture, tmp_path):
    encoder = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.1, device="cpu")
    dataset = texts(columns=2)
    tokenised, collate = tokenised_once(dataset, encoder, 8)  # some rows are cut, some are not
    assert isinstance(collate, PadTokenIds)
    assert tokenised.column_names == dataset.column_names
    assert_same_batches(dataset, tokenised, collate, encoder, 8)


def test_ids_are_made_once_for_a_text_a_tokenizer_and_a_length(tiny_bert, corpus_file):
    encoder = build_encoder(tiny_bert, device="cpu")
    seen = []
    preprocess = encoder.preprocess
    encoder.preprocess = lambda rows, **options: seen.append(len(rows)) or preprocess(rows, **options)
    of_all = []
    for length in (8, 8, 9):
        text = load_sentences(corpus_file).dataset
        tokenised, collate = tokenised_once(text, encoder, length)
        of_all.append(seen.count(len(text)))
        assert_same_batches(text, tokenised, collate, build_encoder(tiny_bert, device="cpu"), length)
    assert of_all == [1, 1, 2]


def test_where_ids_are_not_all_the_host_collates(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    encoder.tokenizer.padding_side = "left"
    dataset = texts()
    tokenised, collate = tokenised_once(dataset, encoder, 8)
    assert tokenised is dataset
    assert isinstance(collate, SentenceTransformerDataCollator)
    packed = {"input_ids": torch.ones(1, 9), "cu_seq_lens_q": torch.tensor([0, 4, 9])}
    encoder.preprocess = lambda *_, **__: packed
    assert tokenised_once(dataset, encoder, 8)[0] is dataset
