"""Model cards: the records of the run, without information about the machine or the user."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, metadata_load
from rich.console import Console

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.own_labels import METRICS
from smoothcse.experiments.seeds import train_seeds
from smoothcse.hub.eval_results import _METRICS, eval_results
from smoothcse.hub.licence import licence_of
from smoothcse.hub.model_card import find_run, model_card, write_model_card
from smoothcse.runs.manifest import Scores, read_manifest, write_manifest
from smoothcse.training import TrainConfig
from tiny import save_tiny_model, sentences

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two real runs with two seeds, from a model that names its licence."""
    home = tmp_path_factory.mktemp("somebody")
    start = save_tiny_model(home / "their-encoder")
    (home / "their-encoder" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Theirs\n")
    (home / "notes.txt").write_text("\n".join(sentences(40)), encoding="utf-8")
    config = TrainConfig(
        corpus=str(home / "notes.txt"), model=start, output=str(home / "mine"), batch_size=8, noise_count=16,
        max_steps=4, eval_steps=2, learning_rate=1e-3, precision="fp32", max_length=16,
    )  # fmt: skip
    results = train_seeds(config, 2, console=QUIET)
    return home / "mine", results


def test_a_card_says_what_the_run_recorded(runs):
    folder, results = runs
    run = folder / "seed-43"
    card = model_card(run, run / "best", repository="me/my-encoder")
    summary = json.loads((folder / "seeds.json").read_text())
    for words in (
        "# my-encoder",
        'SentenceTransformer("me/my-encoder")',
        "GS-InfoNCE (unsupervised SimCSE with 16 Gaussian vectors",
        "starting from their-encoder",
        "notes.txt, 40 sentences kept of 40",
        json.loads((run / "run.json").read_text())["data"]["fingerprint"],
        f"| the start, untrained | {results[1].start_score:.2f} |",
        f"| best step ({results[1].best_step}) | {results[1].best_score:.2f} |",
        f"| last step (4) | {results[1].last_score:.2f} |",
        "over the 2 seeds 42, 43",
        f"{summary['best']['mean']:.2f} ± {summary['best']['sd']:.2f}",
        "This model is that of seed 43",
        "| learning rate | 0.001 |",
        "is under cc-by-4.0",
        "label-free",
    ):
        assert words in card
    assert "flatters" not in card  # selection used no labels


def test_a_spread_without_the_scores_of_the_run_is_not_its_own(runs, tmp_path):
    """As when one seed has been trained again with another configuration."""
    folder = Path(shutil.copytree(runs[0], tmp_path / "mine"))
    summary = json.loads((folder / "seeds.json").read_text())
    assert all(
        "over the 2 seeds" in (path / "README.md").read_text()
        for path in (*folder.glob("seed-*/best"), *folder.glob("seed-*/last"))
    )
    summary["last"]["scores"][1] += 1
    (folder / "seeds.json").write_text(json.dumps(summary))
    cards = [model_card(folder / name, folder / name / "best") for name in ("seed-42", "seed-43")]
    assert ["over the 2 seeds" in card for card in cards] == [True, False]


@pytest.mark.parametrize("corpus", ["data/my.txt", "secret/place/my.txt", "/home/me/my.jsonl.gz"])
def test_a_text_that_is_gone_is_no_dataset_on_the_hub(corpus, runs, tmp_path):
    folder = Path(shutil.copytree(runs[0], tmp_path / "mine")) / "seed-42"
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.replace(config={**manifest.config, "corpus": corpus}))
    card = model_card(folder, folder / "best")
    assert "datasets" not in card.split("---")[1]
    assert Path(corpus).name in card
    assert str(Path(corpus).parent / Path(corpus).name) not in card


def test_a_card_names_no_folder_of_the_machine(runs, tmp_path_factory):
    folder, _ = runs
    card = model_card(folder / "seed-42", folder / "seed-42" / "best")
    assert str(folder) not in card
    assert str(tmp_path_factory.getbasetemp()) not in card
    assert "somebody" not in card
    assert "base_model" not in card  # a local model has no hub name
    assert "datasets" not in card.split("---")[1]


def test_the_snippet_of_a_card_loads_its_model(runs, monkeypatch):
    folder, _ = runs
    monkeypatch.chdir(folder.parent)
    single = folder.rename(folder.with_name("moved"))  # a card describes the folder in its current place
    try:
        for model in (single / "seed-42" / "best", Path("moved/seed-43/last")):
            [snippet] = re.findall(r"```python\n(.*?)```", write_model_card(model).read_text(), re.DOTALL)
            assert f'"moved/{model.parent.name}/{model.name}"' in snippet
            exec(snippet, {})
    finally:
        single.rename(folder)


def test_the_pooling_is_named(runs):
    run = runs[0] / "seed-42"
    assert json.loads((run / "run.json").read_text())["pooling"] == "cls"
    assert "read by cls pooling" in model_card(run, run / "best")


def test_the_front_matter_is_what_the_hub_reads(runs, tmp_path):
    folder, _ = runs
    run = folder / "seed-42"
    path = write_model_card(run / "best")
    assert path == run / "best" / "README.md"
    metadata = metadata_load(path)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "sentence-transformers"
    assert metadata["pipeline_tag"] == "sentence-similarity"
    assert "model-index" not in metadata  # the criterion was not a benchmark
    assert ModelCard.load(path).data.tags
    path.unlink()


def changed(run, tmp_path, config=(), result=(), **fields):
    record = json.loads((run / "run.json").read_text())
    record["config"] |= dict(config)
    record["result"] = None if result is None else record["result"] | dict(result)
    record |= fields
    target = tmp_path / "changed"
    target.mkdir()
    (target / "run.json").write_text(json.dumps(record))
    return target


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("STS-B dev, Spearman x 100", ("semantic-similarity", "stsb", "STS-B dev", "spearman_cosine")),
        (
            "retrieval in the Python documentation, MRR x 100",
            ("information-retrieval", "python-docs", "retrieval in the Python documentation", "mrr"),
        ),
        (
            "1,200 triplets of my data.csv, accuracy x 100",
            ("triplet", "1-200-triplets-of-my-data.csv", "1,200 triplets of my data.csv", "cosine_accuracy"),
        ),
        ("label-free: -(alignment + uniformity)", None),
    ],
)
def test_a_labelled_score_is_in_the_schema_of_the_hub(criterion, expected):
    scores = Scores(start_score=40, best_score=43.216, best_step=70, last_score=43, criterion=criterion)
    results = eval_results(scores)
    found = [(one.task_type, one.dataset_type, one.dataset_name, one.metric_type) for one in results]
    assert found == ([expected] if expected else [])
    assert all(one.metric_value == 43.22 for one in results)


def test_own_labels_have_metrics_that_the_hub_is_told():
    assert set(METRICS.values()) == set(_METRICS)


def test_names_of_the_hub_and_a_benchmark_are_linked(runs, tmp_path):
    run = changed(
        runs[0] / "seed-42",
        tmp_path,
        config={"model": "packaged-minilm", "corpus": "wiki1m", "noise_count": 0, "pooling": None},
        pooling=None,
        result={"criterion": "STS-B dev, Spearman x 100", "best_score": 81.234},
    )
    card = model_card(run, run)
    (tmp_path / "README.md").write_text(card)
    metadata = metadata_load(tmp_path / "README.md")
    assert metadata["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert metadata["datasets"] == ["princeton-nlp/datasets-for-simcse"]
    [measured] = ModelCard(card).data.eval_results
    assert (measured.metric_value, measured.dataset_name) == (81.23, "STS-B dev")
    assert "InfoNCE over two dropout views (unsupervised SimCSE)" in card
    assert "Gaussian" not in card
    assert "read by its own pooling" in card
    assert "flatters" in card
    assert "One run, seed 42" in card


def test_a_run_that_goes_on_and_one_that_did_not_help_say_so(runs, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    unfinished = changed(runs[0] / "seed-42", first, result=None)
    assert "had not finished" in model_card(unfinished, unfinished)
    useless = changed(runs[0] / "seed-42", second, result={"best_step": 0})
    assert "No step scored higher than the start" in model_card(useless, useless)


def test_an_export_brings_its_figures(runs, tmp_path):
    row = {"megabytes": 90.9, "sentences_per_second": 100.0, "sts_dev": None}
    rows = {"before": {"name": "torch", **row}, "after": {"name": "onnx, int8", **row, "sts_dev": 70.126}}
    record = {
        "format": "onnx",
        "quantize": "int8",
        "sentences": 512,
        "mean_cosine": 0.9931,
        "min_cosine": 0.98,
        **rows,
    }
    (tmp_path / "export.json").write_text(json.dumps(record))
    path = write_model_card(tmp_path, runs[0] / "seed-42")
    card = path.read_text()
    assert f'SentenceTransformer("{tmp_path.name}", backend="onnx")' in card
    assert "| onnx, int8 | 90.9 | 100 | 70.13 |" in card
    assert "0.9931 on average" in card


def test_a_model_of_no_run_hands_on_its_own_card(tmp_path, minilm):
    path = write_model_card(tmp_path, "packaged-minilm")
    with open(f"{minilm}/README.md", encoding="utf-8") as file:
        assert path.read_text(encoding="utf-8") == file.read()
    (tmp_path / "model").mkdir()
    assert write_model_card(tmp_path / "model") is None


def test_the_licence_is_the_starts_own_or_unknown(runs, tmp_path, minilm):
    assert licence_of("packaged-minilm") == {"license": "apache-2.0"}
    assert licence_of(str(tmp_path)) == {}
    assert licence_of("no/such-model") == {}  # offline, as tests are
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\n---\n")
    assert licence_of(str(tmp_path))["license_name"] == "mine"
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    assert licence_of(str(tmp_path)) == {}
    run = changed(runs[0] / "seed-42", tmp_path, config={"model": str(tmp_path)})
    assert "Unknown: the start" in model_card(run, run)


def test_runs_are_found_from_their_models(runs, monkeypatch):
    run = runs[0] / "seed-42"
    assert find_run(run) == run
    assert find_run(run / "last") == run
    assert find_run(runs[0]) is None
    monkeypatch.chdir(run)
    from pathlib import Path

    assert find_run(Path("best")).samefile(run)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": {}}'])
def test_a_damaged_record_is_named(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(SmoothCSEError, match=r"run\.json"):
        model_card(tmp_path, tmp_path)


def test_a_card_needs_no_torch():
    code = (
        "import sys; import smoothcse.hub.push, smoothcse.hub.model_card; "
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_card_says_how_to_load_what_was_trained(runs, tmp_path):
    run = changed(
        runs[0] / "seed-42",
        tmp_path,
        config={
            "matryoshka": [8, 16],
            "projection": False,
            "bidirectional": True,
            "lora_rank": 4,
            "keep_adapters": True,
        },
        width_scores={"16": 31.256, "8": 20.5},
        text={"unknown": 0.012, "truncated": 0.034, "duplicates": 0.0, "truncated_texts": 0.25, "fertility": 1.456},
    )
    card = model_card(run, run / "best")
    assert 'SentenceTransformer("changed/best", truncate_dim=8)` keeps the first 8 dimensions' in card
    assert "| 16 | 31.26 |\n| 8 | 20.50 |\n" in card
    assert "`is_causal: false` in `config.json`, which needs transformers 5.2 or newer" in card
    assert "loading needs no peft; the run's `best-adapters` and" in card
    assert "| tokens | 1.46 a word, 1.2% unknown; 25.0% of the texts truncated, 3.4% of the tokens |" in card
