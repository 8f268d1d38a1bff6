"""Every table that a command prints, at 80 columns: figures stay whole and nothing is cut off."""

from __future__ import annotations

import dataclasses
import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from smoothcse import cli
from smoothcse.corpus import Corpus
from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.encoders.build import build_encoder
from smoothcse.evaluation.published import published_results
from smoothcse.evaluation.results import AVERAGE, Evaluation
from smoothcse.evaluation.score import Score
from smoothcse.evaluation.sts_tasks import SEVEN_STS
from smoothcse.experiments import seeds, summary
from smoothcse.experiments.outcome import Outcome
from smoothcse.experiments.reproduction import plan_reproduction
from smoothcse.experiments.run_records import Record
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.experiments.study import read_study
from smoothcse.export.comparison import Comparison, FormatFigures
from smoothcse.runs.result import TrainResult
from smoothcse.training import TrainConfig
from smoothcse.training.card import Probe, start_card
from smoothcse.training.inputs import RunInputs
from smoothcse.training.plan import plan_run
from smoothcse.training.selection import Criterion
from smoothcse.training.text_check import TextCheck

MODELS = ("sentence-transformers/all-MiniLM-L6-v2", "runs/gs-infonce-bert-base-uncased/seed-42")
CORPUS = "data/[wiki]/wikipedia-sentences-2024-01.jsonl.zst"
"""A name with brackets, which must not be taken for markup."""
STS = dict(zip(SEVEN_STS, (68.05, 82.55, 75.94, 83.31, 78.98, 79.11, 71.59), strict=True))


GEOMETRY = ("uniformity", "alignment", "mean_cosine", "effective_rank", "anisotropy")
METRICS = {
    "transfer": dict.fromkeys(("MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC"), 81.23),
    "geometry": dict.fromkeys(GEOMETRY, -2.1234),
    "retrieval": {"MRR": 56.78, "R@1": 45.67, "R@10": 78.90, "nDCG@10": 61.23},
}


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()


def named(text: str, name: str) -> bool:
    """Whether a name stands whole in the first column, whatever its width, once the folds are undone."""
    columns = ("".join(line[:width].strip() for line in text.splitlines()) for width in range(24, 81))
    return any(name in column for column in columns)


def require_whole(text: str, figures) -> None:
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for figure in figures:
        assert re.search(rf"(?<![\w.,]){re.escape(figure)}(?![\w%])", text), f"{figure} is missing in\n{text}"


@pytest.mark.parametrize("group", ["sts", "transfer", "geometry", "retrieval"])
def test_evaluate(group):
    if group == "sts":
        scores = [Score(task, value, {"spearman": value}, 1379) for task, value in STS.items()]
    elif group == "transfer":
        scores = [Score(task, value, {"accuracy": value}, 10662) for task, value in METRICS[group].items()]
    else:
        scores = [Score("python-docs", 1.0, METRICS[group], 1000)]
    result = Evaluation({model: {group: scores} for model in MODELS}, {})
    published = [*published_results("gs-infonce"), *published_results("debcse")]
    text = printed(result.tables(published)[0])
    decimals = 4 if group == "geometry" else 2
    require_whole(text, [f"{value:.{decimals}f}" for value in (STS if group == "sts" else METRICS[group]).values()])
    for model in MODELS:
        assert named(text, model)
    if group == "sts":
        require_whole(text, ["80.33*", "77.63"])


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "about: noise [against] none\nbase: {model: packaged-minilm, max_steps: 100}\nseeds: [0, 1, 2]\n"
        "variants:\n  gaussian-noise-sampled: {noise_count: 192}\n  infonce-control: {noise_count: 0}\n"
        "control: infonce-control\ngrid: {learning_rate: [0.00003, 0.0001]}\n"
    )
    return read_study(file)


@pytest.mark.parametrize("rows", [summary.summary_rows, summary.sts_rows])
def test_study(rows, study):
    records = [
        Record(variant, point, seed, 60.12, 78.25 + seed, 77.5 + seed, [], 0.12, 1234.5, {}, {}, 0.31, 2345.6,
               SevenTasks(data="hub"), {**STS, AVERAGE: 77.08 + seed * len(variant)})
        for point in study.points() for variant in study.variants for seed in study.seeds
    ]  # fmt: skip
    headings, cells = rows(study, records)
    text = printed(summary._table("noise [against] none", headings, cells))
    require_whole(text, [cell for row in cells for cell in row])
    assert "[against]" in text


def test_reproduce(tmp_path):
    planned = plan_reproduction("gs-infonce/bert-base-uncased", seeds=3, output=tmp_path, data="hub", changes={})
    records = [
        Record(variant, {}, seed, 60.12, 82.5, 81.5, [], 0.12, 1234.5, {}, {}, best_step=250,
               sts={**STS, AVERAGE: 77.08 + seed * len(variant)})
        for variant in planned.study.variants for seed in planned.study.seeds
    ]  # fmt: skip
    outcome = Outcome(planned, records)
    require_whole(printed(outcome.table()), [cell for row in outcome._cells()[1] for cell in row])


def test_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "write_model_card", lambda folder: None)
    criterion = "label-free: -(alignment + uniformity)"
    results = [TrainResult(tmp_path, 60.12, 79.25 + seed, 12345, 78.5, criterion) for seed in range(3)]
    console = Console(file=io.StringIO(), width=80)
    seeds._report(TrainConfig(output=str(tmp_path)), results, console)
    require_whole(console.file.getvalue(), ["60.12", "81.25", "12345", "80.25 ± 1.00", "78.50 ± 0.00"])


def test_export():
    before, after = (
        FormatFigures(MODELS[0], 1340.5, 12345.6, 85.37),
        FormatFigures("openvino, int8", 335.1, 23456.7, None),
    )
    text = printed(Comparison(before, after, 0.9876, 0.9123, 0.01, 512).table())
    require_whole(text, ["1340.5", "12346", "85.37", "23457", "0.9123"])
    assert named(text, MODELS[0])


def test_corpus_report():
    notes = (f"[{'x' * 90}] was read as UTF-8",)
    text = printed(CorpusReport(CORPUS, 1_234_567, 1_000_000, {"duplicate": 234_567}, "0" * 64, notes).table())
    require_whole(text, ["1,234,567", "1,000,000", "234,567"])
    assert named(text, CORPUS)


def test_start_card(tiny_bert):
    report = CorpusReport(CORPUS, 1_000_000, 1_000_000, {}, "0" * 64, ())
    config = TrainConfig(corpus=CORPUS, model=MODELS[0], noise_count=192, precision="fp32")
    plan = plan_run(config)
    hardware = SimpleNamespace(describe=lambda: "2 x NVIDIA [H100], bf16")
    criterion = Criterion("STS-B dev, Spearman × 100", lambda model: {})
    card = start_card(
        dataclasses.replace(plan, hardware=hardware),
        RunInputs(Corpus(range(1_000_000), report), build_encoder(tiny_bert, device="cpu"), criterion, 15_625),
        text=TextCheck(0.012, 0.034, 0.001, 0.056, 1.321),
        measured=Probe(1.2, 0.1234), step_seconds=1.2, start_score=31.42, evaluation_seconds=9.0,
    )  # fmt: skip
    text = printed(card)
    require_whole(text, ["15,625", "31.42", "12.3%", MODELS[0], "[H100]"])
    require_whole(text, ["1.32 a word", "1.2% unknown", "5.6%"])
    assert any(CORPUS in "".join(line[start:78].strip() for line in text.splitlines()) for start in range(10, 20))


@pytest.mark.parametrize(
    ("command", "figures"),
    [
        (["list", "published"], ["80.33*", "77.63", "GS-InfoNCE"]),
        (["list", "recipes"], ["gs-infonce/bert-base-uncased", "control/roberta-large", "3e-05", "192"]),
        (["list", "methods"], ["simcse", "esimcse", "promptbert"]),
        (["list", "methods", "esimcse"], ["repetition_rate", "0.32"]),
        (["list", "tasks"], ["STSBenchmark", "TREC", "R@10", "effective rank"]),
        (["list"], ["smoothcse list methods", "smoothcse list tasks"]),
    ],
)
def test_lists(command, figures, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["smoothcse", *command])
    with pytest.raises(SystemExit):
        cli.main()
    require_whole(capsys.readouterr().out, figures)
