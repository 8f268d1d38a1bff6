"""What is trained on and what judges have no document in common."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from smoothcse.corpus.documents import load_documents
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.probe import make_probe
from smoothcse.experiments.adapt import judge as module
from smoothcse.experiments.adapt.judge import Judge
from smoothcse.experiments.adapt.material import prepare_material

SENTENCES = 8


def save_documents(file, count):
    """Write documents of eight sentences, each of words that no other sentence has; every other one has a title."""
    rows = []
    for number in range(count):
        sentences = [
            " ".join(f"w{number}x{sentence}x{word}" for word in range(9)).capitalize() + "."
            for sentence in range(SENTENCES)
        ]
        rows.append({"title": f"Title t{number}" if number % 2 else None, "text": " ".join(sentences)})
    random.Random(0).shuffle(rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def words(text):
    return {word.strip(".").lower() for word in text.split() if word[0] in "wW"}


@pytest.mark.parametrize(("count", "max_tokens"), [(200, None), (200, 40), (12, 40)])
def test_no_held_out_text_is_trained_on(count, max_tokens, tmp_path, tiny_bert):
    corpus = load_documents(save_documents(tmp_path / "docs.jsonl", count), max_tokens=max_tokens)
    assert (len(corpus) > count) == (max_tokens is not None)
    start = load_encoder(tiny_bert, device="cpu")
    material = prepare_material(corpus, start, tmp_path, seed=3, language="en")
    rows = [json.loads(line) for line in material.training_file.read_text().splitlines()]
    assert len(rows) == material.passages > 0

    trained = set().union(*(words(row["text"]) for row in rows))
    task = material.judge.task
    asked = set().union(*(words(query) for query in task.queries), *(words(task.documents[n]) for n in task.relevant))
    assert asked
    assert not asked & trained
    assert sum(bool(row["title"]) for row in rows) == material.titled
    titles = {row["title"] for row in rows if row["title"]}
    assert any(query.startswith("Title") for query in task.queries) == (max_tokens is None)  # not of several passages
    if count >= 80:  # whole documents are held out, not their passages
        assert not {word.partition("x")[0] for word in asked} & {word.partition("x")[0] for word in trained}
        assert not titles & set(task.queries)


def test_documents_that_are_too_few_for_a_verdict_are_held_out_by_their_passages(tmp_path, tiny_bert):
    """Half of 60 documents would be 30, of which 15 would judge."""
    corpus = load_documents(save_documents(tmp_path / "docs.jsonl", 60), max_tokens=40)
    start = load_encoder(tiny_bert, device="cpu")
    material = prepare_material(corpus, start, tmp_path, seed=0, language="en")
    assert material.judge.documents("judging") >= 20


def test_nothing_of_the_judging_half_is_used_to_select(tmp_path, monkeypatch):
    corpus = load_documents(save_documents(tmp_path / "docs.jsonl", 60), max_tokens=None)
    probe = make_probe(corpus.dataset["text"][:], held_out=40)
    judge, other = Judge(probe), Judge(probe)
    other.task = type(other.task)("probe", list(other.task.queries), other.task.documents, other.task.relevant.copy())
    for row in other.queries("judging"):
        other.task.queries[row] = f"something else {row}"

    def draw(model, texts, kind, precision):
        return np.stack([np.random.default_rng(list(text.encode())).normal(size=4) for text in texts])

    monkeypatch.setattr(module, "encode", draw)
    scores, changed = judge.score(None, "fp32"), other.score(None, "fp32")
    assert scores.selection == changed.selection
    assert scores.cosine_weight == changed.cosine_weight
    judging = [one.by_document(one.rankings.cosine, "judging").mean() for one in (scores, changed)]
    assert judging[0] != judging[1]
