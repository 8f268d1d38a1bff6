"""Views as a choice: each trains by several methods, and resumed, distributed and cached runs draw the same."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
import torch
from datasets import Dataset
from rich.console import Console
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from forked import as_rank, free_port, run_ranks
from interrupted import train_interrupted
from smoothcse import SmoothCSEError, TrainConfig
from smoothcse.encoders.build import build_encoder
from smoothcse.methods.table import METHODS, find_method
from smoothcse.report.facts import card
from smoothcse.report.read import read_run
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import inputs as training_inputs
from smoothcse.training import make_config, train
from smoothcse.training.selection import DEV_SCORE, Criterion
from smoothcse.views.choice import VIEWS, describe_views, read_views
from smoothcse.views.collator import CollateViews, rows_of
from smoothcse.views.mixture import TextViews
from tiny import sentences

QUIET = Console(quiet=True)
MIXED = {"crops": 1.0, "sentence": 2.0, "neighbours": 1.0, "title": 1.0, "dropout": 1.0}
TEXTS = [
    "The cat sat on a mat. It rained all day.",
    "Dogs ran past. Old houses stood by the sea.",
    "People read books. Stars shone.",
]
TEXT_VIEWS = [name for name in VIEWS if name != "dropout"]


def passages(count: int) -> list[str]:
    lines = iter(sentences(3 * count))
    return [" ".join(f"{next(lines).capitalize()}." for _ in range(3)) for _ in range(count)]


@pytest.fixture
def corpus() -> Dataset:
    return Dataset.from_dict({"sentence": passages(40), "title": sentences(40, seed=1)})


@pytest.fixture
def config(tiny_bert, tmp_path, monkeypatch):
    criterion = Criterion("a constant", lambda model: {DEV_SCORE: 0.0})
    monkeypatch.setattr(training_inputs, "choose_criterion", lambda config, corpus: criterion)
    file = tmp_path / "docs.jsonl"
    rows = zip(sentences(40, seed=1), passages(40), strict=True)
    file.write_text("".join(json.dumps({"title": title, "body": body}) + "\n" for title, body in rows))
    fields = {"corpus": str(file), "column": "body", "model": tiny_bert, "output": str(tmp_path / "run")}
    fields |= {"batch_size": 8, "noise_count": 8, "eval_steps": 2, "log_steps": 1, "precision": "fp32"}
    return make_config({**fields, "learning_rate": 1e-3, "max_steps": 3})


def losses(folder):
    return {entry["step"]: entry["loss"] for entry in RunFolder(folder).metrics() if "loss" in entry}


# The mixture


def test_a_batch_is_its_rows_whatever_the_batch_and_the_order(corpus):
    views = TextViews(corpus, MIXED, seed=5)
    firsts, seconds = views.draw(range(40), epoch=1)
    for rows in ([7], [30, 2, 7], [0, 39], list(range(0, 40, 2)), list(range(1, 40, 2))):
        assert views.draw(rows, epoch=1) == [[firsts[row] for row in rows], [seconds[row] for row in rows]]
    assert views.draw(range(40), epoch=2) != [firsts, seconds]
    assert TextViews(corpus, MIXED, seed=6).draw(range(40), epoch=1) != [firsts, seconds]
    assert all(text.strip() for text in firsts + seconds)


def test_each_view_returns_its_documented_texts(corpus):
    texts, titles = corpus["sentence"][:], corpus["title"][:]
    drawn = {name: TextViews(corpus, {name: 1.0}, seed=0).draw(range(40), epoch=0) for name in VIEWS}
    assert drawn["dropout"] == [texts, texts]
    assert drawn["title"] == [titles, texts]
    first, second = drawn["neighbours"]
    assert first == texts
    assert all(abs(texts.index(other) - row) == 1 for row, other in enumerate(second))
    for text, sentence, rest in zip(texts, *drawn["sentence"], strict=True):
        assert sentence in text
        assert len(sentence) + len(rest) < len(text)
    for text, one, other in zip(texts, *drawn["crops"], strict=True):
        assert one in text
        assert other in text


def test_weights_are_shares_of_the_rows():
    corpus = Dataset.from_dict({"sentence": [f"first {n}. Second." for n in range(2000)], "title": ["title"] * 2000})
    firsts, seconds = TextViews(corpus, {"neighbours": 3.0, "title": 1.0}, seed=0).draw(range(2000), epoch=0)
    counts = Counter("title" if first == "title" else "neighbours" for first in firsts)
    assert 420 < counts["title"] < 580
    assert len(set(seconds)) > 1000


def test_the_draws_of_a_mixture_never_change():
    corpus = Dataset.from_dict({"sentence": TEXTS})
    views = TextViews(corpus, read_views("sentence=2,crops=1,neighbours"), seed=3, lengths=(2, 3))
    assert views.draw([0, 1, 2], epoch=0) == [
        ["The cat sat on a mat. It rained all day.", "stood by the", "People read books."],
        ["Dogs ran past. Old houses stood by the sea.", "Dogs ran", "Stars shone."],
    ]


# Reading the choice


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ("crops", {"crops": 1.0}),
        ("crops=1, sentence=2", {"sentence": 2.0, "crops": 1.0}),
        ({"crops": 1, "sentence": 2}, {"crops": 1.0, "sentence": 2.0}),
        ("dropout", {"dropout": 1.0}),
    ],
)
def test_views_are_read_in_every_form(given, weights):
    config = TrainConfig(views=given)
    assert config.views == weights
    assert make_config(json.loads(json.dumps(config.as_dict()))) == config
    assert config.replace(seed=1).views == weights


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": "crop"}, "views has no choice 'crop': choose among dropout, crops, .* Did you mean 'crops'?"),
        ({"views": "crops=0"}, "the weight of crops is 0.0, but must be a number greater than 0"),
        ({"views": "crops=many"}, "the weight of crops is 'many', but must be a number"),
        ({"views": "crops,crops=2"}, "views names crops twice"),
        ({"views": {}}, "views is {}, but must be a name"),
        ({"views": ["crops"]}, "must be a name, such as crops"),
        ({"views": "crops", "columns": ["a", "b"]}, "columns are labelled pairs, whose texts are the views"),
        ({"views": "neighbours", "limit": 100}, "neighbours needs the order of the documents, which limit breaks"),
        ({"views": "title"}, "views: title needs column"),
        ({"crop_length": [0.6, 0.2]}, "crop_length is 0.6 to 0.2, but must be two fractions"),
        ({"crop_length": [0, 0.2]}, "crop_length is 0 to 0.2"),
        ({"crop_length": [0.5, 20]}, "crop_length is 0.5 to 20"),
        ({"crop_length": [0.5]}, "crop_length is"),
        ({"crop_deletion": 1}, "crop_deletion is 1"),
    ],
)
def test_a_wrong_choice_of_views_is_one_sentence(fields, message):
    with pytest.raises(SmoothCSEError, match=message):
        TrainConfig(**fields)


def test_the_choice_is_described():
    assert describe_views({"crops": 1.0}, (0.2, 0.6), 0.0) == (
        "crops (two random spans of the text); crops have 20% to 60% of the words"
    )
    assert describe_views({"crops": 1.0, "title": 3.0}, (10, 30), 0.1) == (
        "25% crops (two random spans of the text), 75% title (the title and the text); crops have 10 to 30 words, 10% "
        "of them deleted"
    )


# Training


def test_symmetric_is_a_field_for_every_method_and_a_setting_of_simcse(config, tmp_path):
    config = config.replace(views="sentence", max_steps=2)
    field = train(config.replace(symmetric=True), console=QUIET)
    setting = train(
        config.replace(method={"name": "simcse", "symmetric": True}, output=str(tmp_path / "setting")), console=QUIET
    )
    plain = train(config.replace(output=str(tmp_path / "plain")), console=QUIET)
    assert losses(field.folder) == losses(setting.folder) != losses(plain.folder)
    assert "both directions" in dict(card(read_run(field.folder)))["Method"]
    assert "both directions" not in dict(card(read_run(plain.folder)))["Method"]


@pytest.mark.parametrize("method", ["simcse", "esimcse", "promptbert"])
@pytest.mark.parametrize("views", TEXT_VIEWS)
def test_each_view_trains(views, method, config):
    settings = (
        {"anchor": "the {sentence} {mask}", "positive": "{sentence} and {mask}"} if method == "promptbert" else {}
    )
    result = train(config.replace(views=views, method={"name": method, **settings}, max_steps=2), console=QUIET)
    found = losses(result.folder)
    assert len(found) == 2
    assert all(0 < loss < 20 for loss in found.values())


@pytest.mark.parametrize("method", [name for name in METHODS if not find_method(name).pairs])
def test_a_method_that_makes_its_own_views_refuses_those_of_the_text(method, config):
    with pytest.raises(SmoothCSEError, match=re.escape(f"The method {method} makes its own views of a sentence")):
        train(config.replace(views="crops", method=method), console=QUIET)


def test_the_run_and_its_report_tell_the_views(config, capsys):
    console = Console(width=300)
    result = train(config.replace(views="sentence=3,crops=1"), console=console)
    words = "25% crops (two random spans of the text), 75% sentence (one sentence and the rest of its passage)"
    assert words in capsys.readouterr().out
    assert read_manifest(result.folder).config["views"] == {"crops": 1.0, "sentence": 3.0}
    assert words in dict(card(read_run(result.folder)))["Views"]
    text = (result.folder / "last" / "README.md").read_text()
    assert f"over views drawn from the text: {words}" in " ".join(text.split())


def test_texts_of_one_sentence_are_refused_or_warned_about(config, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(sentences(20)))
    wanted = config.replace(corpus=str(lines), column=None, views="sentence")
    with pytest.raises(SmoothCSEError, match="sentence needs passages, but each text has a single sentence"):
        train(wanted, console=QUIET)
    lines.write_text("\n".join(sentences(20) + passages(20)))
    result = train(wanted.replace(output=str(tmp_path / "warned")), console=QUIET)
    [warning] = [one for one in read_manifest(result.folder).warnings if "single sentence" in one]
    assert "50% of the texts" in warning


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"workers": 1, "mini_batch": 60},
        {"trainer_args": {"gradient_accumulation_steps": 2}},
    ],
    ids=["plain", "workers, cached", "accumulated"],
)
def test_a_resumed_run_equals_one_never_interrupted(fields, config, tmp_path, monkeypatch):
    """Five batches an epoch: it is cut within the second or third epoch, after a checkpoint within the same epoch."""
    config = config.replace(views=MIXED, max_steps=12, **fields)
    whole = train(config.replace(workers=0), console=QUIET)
    cut = config.replace(output=str(tmp_path / "cut"))
    resumed = train_interrupted(cut, 9, monkeypatch)
    assert losses(resumed.folder) == losses(whole.folder)
    first, second = (load_file(run.last / "model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_a_run_draws_each_row_once_in_each_epoch(config, monkeypatch):
    drawn = []
    original = TextViews.draw

    def noted(self, rows, epoch):
        drawn.append((epoch, sorted(rows)))
        return original(self, rows, epoch)

    monkeypatch.setattr(TextViews, "draw", noted)
    train(config.replace(views="crops", max_steps=12), console=QUIET)
    batches = [entry for entry in drawn if len(entry[1]) == 8][1:]  # after that of the start-up card
    assert [epoch for epoch, _ in batches[:12]] == [0] * 5 + [1] * 5 + [2] * 2
    for epoch in (0, 1):
        assert sorted(row for when, rows in batches if when == epoch for row in rows) == list(range(40))


def train_rank(rank, config, port):
    as_rank(rank, 2, port)
    train(config, console=QUIET)


def test_two_ranks_and_gradient_caching_compute_what_one_process_does(config, tmp_path):
    """With hardly any dropout, whose masks depend on the rank and the pieces."""
    views = {name: weight for name, weight in MIXED.items() if name != "dropout"}
    config = config.replace(views=views, dropout=1e-9, max_steps=7)
    alone = losses(train(config, console=QUIET).folder)
    cached = losses(train(config.replace(output=str(tmp_path / "cached"), mini_batch=40), console=QUIET).folder)
    shared = tmp_path / "shared"
    run_ranks(train_rank, config.replace(output=str(shared)), free_port(), ranks=2)
    assert read_manifest(shared).hardware.startswith("2 x cpu")
    assert len(alone) == 7
    assert cached == pytest.approx(alone, rel=1e-4)
    assert losses(shared) == pytest.approx(alone, rel=1e-4)


def test_worker_processes_follow_the_epoch(corpus, tiny_bert):
    """Persistent ones, too, which live longer than an epoch."""
    views = TextViews(corpus, MIXED, seed=1)
    encoder = build_encoder(tiny_bert, device="cpu")
    collate = CollateViews(views, encoder, 16)
    options = {"num_workers": 1, "persistent_workers": True}
    loader = DataLoader(rows_of(views), batch_size=8, collate_fn=collate, **options)
    for epoch in (0, 1, 5):
        collate.set_epoch(epoch)
        seen = [batch["sentence_input_ids"] for batch in loader]
        expected = [collate([{"row": row} for row in range(first, first + 8)]) for first in range(0, 40, 8)]
        assert all(torch.equal(ids, batch["sentence_input_ids"]) for ids, batch in zip(seen, expected, strict=True))
