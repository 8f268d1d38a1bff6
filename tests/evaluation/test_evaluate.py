"""Several models on all groups of tasks: names, files, tables, and mistakes told before any model is run."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from test_transfer import small_file

from smoothcse.cli import main
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import task_groups as groups_module
from smoothcse.evaluation import transfer
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.evaluate import evaluate, shortest_names
from smoothcse.evaluation.fusion import fuse
from smoothcse.evaluation.geometry import evaluate_geometry, stsb_dev_geometry
from smoothcse.evaluation.maxsim import first_candidates, late_interaction, rerank
from smoothcse.evaluation.published import published_results
from smoothcse.evaluation.ranking import rank
from smoothcse.evaluation.results import Evaluation, check_output
from smoothcse.evaluation.retrieval import RetrievalTask, cosine_blocks, evaluate_retrieval
from smoothcse.evaluation.retrieval_data import load_retrieval
from smoothcse.evaluation.score import Score, average
from smoothcse.evaluation.sts import SEVEN_STS, STS_TASKS, evaluate_sts, load_tasks
from smoothcse.evaluation.sts_tasks import files_of
from smoothcse.evaluation.task_groups import task_groups
from smoothcse.evaluation.transfer import TRANSFER_TASKS
from smoothcse.evaluation.transfer_tasks import TRANSFER_FILES
from sts_files import ROWS, sts_file, write
from tiny import save_tiny_generator, save_tiny_model, sentences


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    """Two models in folders of one name."""
    top = tmp_path_factory.mktemp("models")
    return [Path(save_tiny_model(top / run / "best")) for run in ("first", "second")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small folder with ``sts`` and ``transfer`` in it."""
    for number, relative in enumerate(path for name in STS_TASKS for path in files_of(name)):
        write(tmp_path / "data" / "sts" / relative, sts_file(relative, number))
    for relative in TRANSFER_FILES:
        write(tmp_path / "data" / "transfer" / relative, small_file(relative))
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def small_documentation(monkeypatch):
    """Stand a few sentences in for the documentation, which takes seconds to encode."""
    texts = sentences(40)
    task = RetrievalTask("python-docs", texts[:20], texts[20:], np.arange(20))
    monkeypatch.setattr(groups_module, "python_docs_task", lambda: task)
    monkeypatch.setattr("smoothcse.corpus.python_docs.iter_sentences", lambda: iter(texts))


@pytest.fixture
def smoothcse(monkeypatch, capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["smoothcse", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run


def shown(table, width=120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


# ---- results ----------------------------------------------------------------------------------------------


def test_all_groups_of_two_models_of_one_name(smoothcse, models, data, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "FOLDS", 2)  # for speed; the protocol is tested in test_transfer.py
    output = tmp_path / "results.json"
    code, out, err = smoothcse("evaluate", *models, "--tasks", "all", "--data", data, "-o", output, "--pooling", "cls")
    assert code == 0, err
    written = json.loads(output.read_text())
    assert list(written["models"]) == ["first/best", "second/best"]
    for name, path in zip(written["models"], models, strict=True):
        groups = written["models"][name]
        assert list(groups) == ["sts", "transfer", "geometry", "retrieval"]
        encoder = load_encoder(path, "cls")
        scores = evaluate_sts(encoder, load_tasks(data / "sts"))
        assert groups["sts"] == {s.task: round(s.main, 2) for s in scores} | {"avg": round(average(scores), 2)}
        assert tuple(groups["transfer"]) == (*TRANSFER_TASKS, "avg")
        geometry = evaluate_geometry(encoder, stsb_dev_geometry(data / "sts"))
        assert groups["geometry"] == {metric: round(value, 4) for metric, value in geometry.metrics.items()}
        assert list(groups["retrieval"]) == ["MRR", "R@1", "R@10", "nDCG@10"]
        detail = written["details"][name]["sts"]["STS12"]
        assert detail["rows"] == 5 * ROWS
        assert detail["spearman"] == pytest.approx(scores[0].main)
        assert set(detail["subsets"]) == set(scores[0].subsets)
        assert name in out
        assert f"{name}: transfer, MRPC" in err
        assert f"{groups['sts']['avg']:.2f}" in out
    assert set(written["settings"]["models"]["first/best"]) == {"precision", "max_seq_length"}

    rows = list(csv.DictReader(output.with_suffix(".csv").open()))
    assert list(rows[0]) == ["model", "group", "task", "metric", "value"]
    assert len({(row["model"], row["group"], row["task"], row["metric"]) for row in rows}) == len(rows)
    (mean,) = [r for r in rows if (r["model"], r["group"], r["task"]) == ("first/best", "sts", "avg")]
    assert round(float(mean["value"]), 2) == written["models"]["first/best"]["sts"]["avg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "results.csv", "results.json"]


def test_bm25_and_the_fused_score_stand_beside_each_model(smoothcse, models, tmp_path):
    output = tmp_path / "results.json"
    code, out, err = smoothcse("evaluate", *models, "--tasks", "retrieval", "--bm25", "-o", output, "--pooling", "cls")
    assert code == 0, err
    written = json.loads(output.read_text())
    names = ["BM25", "first/best", "first/best + BM25", "second/best", "second/best + BM25"]
    assert list(written["models"]) == names
    assert written["settings"]["cosine_weight"] == 0.7
    assert "+ BM25: 0.7 × cosine + 0.3 × BM25, each scaled to 0..1 per query" in " ".join(out.split())
    assert "first/best: retrieval, with BM25 (stemmer: " in err
    alone = evaluate(models, ["retrieval"], pooling="cls").models
    assert {name: written["models"][name]["retrieval"]["MRR"] for name in alone} == {
        name: round(groups["retrieval"]["MRR"], 2) for name, groups in alone.items()
    }
    words_alone = evaluate(models[0], ["retrieval"], bm25=True, cosine_weight=0, pooling="cls")
    assert words_alone.models["best + BM25"] == words_alone.models["BM25"]
    assert words_alone.settings["cosine_weight"] == 0
    code, _, _ = smoothcse("evaluate", *models, "--tasks", "retrieval", "-o", output)
    assert code == 0
    assert "cosine_weight" not in json.loads(output.read_text())["settings"]


def test_maxsim_has_a_row_and_its_cost_in_the_caption(smoothcse, models, tmp_path):
    output = tmp_path / "results.json"
    arguments = ("--tasks", "retrieval", "--bm25", "--maxsim", "--cosine-weight", "0.4", "--pooling", "mean")
    code, out, err = smoothcse("evaluate", models[0], *arguments, "-o", output)
    assert code == 0, err
    written = json.loads(output.read_text())
    assert list(written["models"]) == ["BM25", "best", "best + BM25", "best + BM25 + MaxSim"]
    milliseconds = written["details"]["best + BM25 + MaxSim"]["retrieval"]["python-docs"]["milliseconds"]
    assert milliseconds > 0
    caption = f"+ MaxSim: the first 50 reordered token by token; time added to one query: {milliseconds:.0f} ms (best"
    assert caption in " ".join(out.split())
    model, task = load_encoder(models[0], "mean"), groups_module.python_docs_task()
    [cosines] = cosine_blocks(encode(model, task.queries), encode(model, task.documents))
    scores = fuse(cosines, BM25(task.documents).scores(task.queries), 0.4)
    candidates = first_candidates(scores)
    late = late_interaction(model, task.queries, task.documents, candidates)
    expected = rank([rerank(scores, candidates, late)], task.relevant).metrics()
    assert written["models"]["best + BM25 + MaxSim"]["retrieval"] == {
        metric: round(value, 2) for metric, value in expected.items()
    }
    without = evaluate(models[0], ["retrieval"], bm25=True, cosine_weight=0.4, pooling="mean").models
    assert {name: written["models"][name]["retrieval"]["MRR"] for name in without} == {
        name: round(groups["retrieval"]["MRR"], 2) for name, groups in without.items()
    }


def test_the_main_figures_are_at_hand_in_python(models, data):
    result = evaluate(models[0], data=data / "sts")
    figures = result.models["best"]["sts"]
    assert tuple(figures) == (*SEVEN_STS, "avg")
    assert figures["avg"] == pytest.approx(sum(figures[task] for task in SEVEN_STS) / 7)
    loaded = evaluate({"mine": load_encoder(models[0])}, data=data / "sts")
    assert loaded.models["mine"]["sts"] == pytest.approx(figures)


def test_geometry_takes_stsb_dev_where_there_is_one_and_the_documentation_elsewhere(models, data):
    def measured_on(folder) -> str:
        ((score,),) = (scores["geometry"] for scores in evaluate(models[0], ["geometry"], folder).scores.values())
        return score.task

    assert measured_on(data) == measured_on(data / "sts") == "STSBenchmark-dev"
    assert measured_on(None) == "python-docs, two dropout views"
    with pytest.raises(SmoothCSEError, match=r"The tasks geometry cannot use the data .*transfer: .* with STS-B dev"):
        measured_on(data / "transfer")
    with pytest.raises(SmoothCSEError, match="does not exist"):
        measured_on(data / "nowhere")


PAIRS = [("the cat sat", "a cat on a mat"), ("dogs ran", "old houses"), ("the cat sat", "quiet towns")]


def pairs_file(path: Path, names=("query", "document")) -> Path:
    rows = [dict(zip((*names, "other"), (*pair, "x"), strict=True)) for pair in PAIRS]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = {".csv": ",", ".tsv": "\t"}[path.suffix]
        path.write_text("\n".join([separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]))
    return path


def beir_folder(path: Path, **changes: str) -> Path:
    files = {
        "corpus.jsonl": '{"_id": "d1", "title": "Mats", "text": "a cat on a mat"}\n'
        '{"_id": "d2", "text": "old houses"}\n{"_id": 3, "title": null, "text": "quiet towns"}\n',
        "queries.jsonl": '{"_id": "q1", "text": "the cat sat"}\n{"_id": "q2", "text": "dogs"}\n'
        '{"_id": "q3", "text": "?"}\n',
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq2\td2\t1\nq1\t3\t2\nq1\td1\t1\nq3\td1\t0\n",
    }
    for name, text in (files | changes).items():
        if text:
            write(path / name, text)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_file_of_pairs_is_a_retrieval_task(tmp_path, suffix):
    for names, columns in ((("query", "document"), None), (("anchor", "positive"), None), (("b", "a"), ["b", "a"])):
        task = load_retrieval(pairs_file(tmp_path / f"pairs{suffix}", names), columns)
        assert task.queries == ["the cat sat", "dogs ran"]  # each text once, with all its documents
        assert task.documents == ["a cat on a mat", "old houses", "quiet towns"]
        assert task.relevant.tolist() == [[0, 2], [1, 1]]


def test_a_folder_in_beirs_layout_is_a_retrieval_task(tmp_path):
    (tmp_path / "data").mkdir()
    for folder, source in ((tmp_path / "mine", tmp_path / "mine"), (tmp_path / "data/retrieval", tmp_path / "data")):
        beir_folder(folder, **{"qrels/dev.tsv": "not read"})
        task = load_retrieval(source)
        assert task.name == f"{folder.name}, qrels/test.tsv"
        assert task.queries == ["dogs", "the cat sat"]  # those with a judgement above 0
        assert task.documents == ["Mats a cat on a mat", "old houses", "quiet towns"]
        assert task.relevant.tolist() == [[1, 1], [2, 0]]
        assert task.gains.tolist() == [[1, 1], [2, 1]]
    (tmp_path / "mine/qrels/test.tsv").rename(tmp_path / "mine/qrels/train.tsv")
    with pytest.raises(SmoothCSEError, match=r"holds dev\.tsv, train\.tsv, and none is test\.tsv"):
        load_retrieval(tmp_path / "mine")


def test_beir_files_may_be_compressed(tmp_path):
    plain, packed = beir_folder(tmp_path / "a"), beir_folder(tmp_path / "b")
    for name in ("corpus.jsonl", "queries.jsonl"):
        (packed / f"{name}.gz").write_bytes(gzip.compress((packed / name).read_bytes()))
        (packed / name).unlink()
    assert load_retrieval(packed).documents == load_retrieval(plain).documents


def test_retrieval_is_measured_on_the_data_given(smoothcse, models, data, tmp_path):
    file, output = pairs_file(tmp_path / "pairs.csv", ("b", "a")), tmp_path / "r.json"
    code, out, err = smoothcse(
        "evaluate",
        models[0],
        "--tasks",
        "retrieval",
        "--data",
        file,
        "--columns",
        "b,a",
        "--precision",
        "fp32",
        "-o",
        output,
    )
    assert code == 0, err
    assert "pairs.csv" in out
    written = json.loads(output.read_text())
    assert (written["settings"]["data"], written["settings"]["columns"]) == (str(file), ["b", "a"])
    details = written["details"]["best"]["retrieval"]
    expected = evaluate_retrieval(load_encoder(models[0]), load_retrieval(file, ["b", "a"]))
    assert list(details) == ["pairs.csv"]
    assert details["pairs.csv"]["rows"] == 2
    assert details["pairs.csv"]["MRR"] == pytest.approx(expected["MRR"])

    beir_folder(data / "retrieval")
    ((score,),) = (groups["retrieval"] for groups in evaluate(models[0], ["retrieval"], data).scores.values())
    assert score.task == "retrieval, qrels/test.tsv"
    both = evaluate(models[0], ["geometry", "retrieval"], data / "sts").scores["best"]  # geometry uses the data
    assert [scores[0].task for scores in both.values()] == ["STSBenchmark-dev", "python-docs"]


QRELS = "query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"queries.jsonl": ""}, "has no queries.jsonl; BEIR's layout is corpus.jsonl, queries.jsonl and qrels"),
        ({"qrels/test.tsv": ""}, "has no folder qrels; BEIR's layout is corpus.jsonl, queries.jsonl and qrels"),
        ({"qrels/test.tsv": "", "qrels/notes.txt": "empty"}, "qrels holds no .tsv file"),
        ({"qrels/test.tsv": QRELS + "q1\td9\t1\n"}, "test.tsv:2 names 'd9', which is not in"),
        ({"qrels/test.tsv": QRELS + "q9\td1\t1\n"}, "test.tsv:2 names 'q9', which is not in"),
        ({"qrels/test.tsv": QRELS + "q1\td1\tgood\n"}, "test.tsv:2: the score 'good' is not a number"),
        ({"qrels/test.tsv": QRELS + "q1\td1\tinf\n"}, "test.tsv:2: the score 'inf' is not a number"),
        ({"qrels/test.tsv": "q1\t0\td1\t1\nq2\t0\td2\t1\n"}, "has no column 'query-id'"),
        ({"qrels/test.tsv": QRELS + "q1\td1\t0\n"}, "has 0 queries with a document"),
        ({"corpus.jsonl": '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n'}, ":2 has the _id of an earlier"),
        ({"corpus.jsonl": '{"text": "x"}\n'}, ":1 has no _id"),
        ({"queries.jsonl": '{"_id": "q1"}\n'}, "queries.jsonl:1 has no field 'text'"),
    ],
)
def test_a_broken_beir_folder_is_told_with_its_place(tmp_path, changes, said):
    with pytest.raises(SmoothCSEError) as caught:
        load_retrieval(beir_folder(tmp_path / "mine", **changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("query,document\na,b\nc,\n", None, "pairs.csv:3 has no text in 'document'"),
        ("q,d\na,b\n", None, "pairs.csv:2 has the columns q, d, and none of the default pairs (query and document; q"),
        ("q,d\na,b\n", ["q", "doc"], "pairs.csv:2 has no column 'doc'; it has 'q', 'd'"),
        ("q,d\na,b\n", ["q"], "A pairs file needs two columns, queries and their documents, not q"),
        ("query,document\na,b\nc,b\n", None, "has 2 queries with a document and 1 distinct documents"),
        ("query,document\n", None, "has 0 queries"),
    ],
)
def test_a_broken_file_of_pairs_is_told_with_its_place(tmp_path, text, columns, said):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(SmoothCSEError) as caught:
        load_retrieval(tmp_path / "pairs.csv", columns)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["runs/a"], ["a"]),
        (["org/model"], ["model"]),
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a/best", "runs/b/best"], ["a/best", "b/best"]),
        (["x/runs/a/best", "y/runs/a/best", "z"], ["x/runs/a/best", "y/runs/a/best", "z"]),
        (["best", "runs/best"], ["best", "runs/best"]),
        (["runs/best", "best"], ["runs/best", "best"]),
        (["runs/a", "b", "runs/a/"], ["a", "b"]),
    ],
)
def test_names_are_the_shortest_that_are_distinct(sources, names):
    assert list(shortest_names(sources)) == names


def test_the_folder_one_stands_in_has_a_name(monkeypatch, models):
    monkeypatch.chdir(models[0])
    assert list(shortest_names(["."])) == ["best"]


@pytest.mark.parametrize(("fill", "expected"), [(0.0, "collapsed"), (float("nan"), "not finite")])
def test_a_broken_model_gets_diagnoses_and_no_nan(models, data, tmp_path, fill, expected):
    model = load_encoder(models[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(fill)
    result = evaluate({"flat": model}, ["sts", "geometry", "retrieval"], data)
    diagnoses = result.diagnoses()
    assert all(line.startswith("flat, ") for line in diagnoses)
    for task in (*SEVEN_STS, "STSBenchmark-dev", "python-docs"):
        assert any(task in line and expected in line for line in diagnoses)
    result.save(tmp_path / "r.json")
    tables = "".join(shown(table) for table in result.tables())
    assert "nan" not in tables.lower()
    written = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert written["models"]["flat"]["sts"]["avg"] == 0.0


def test_a_sample_of_the_pairs_is_called_one(smoothcse, models, data, tmp_path):
    output = tmp_path / "r.json"
    code, out, err = smoothcse("evaluate", models[0], "--data", data, "--pairs", 10, "-o", output)
    assert code == 0, err
    assert "a sample of 10 pairs a task" in out
    written = json.loads(output.read_text())
    assert written["settings"]["pairs"] == 10
    assert {detail["rows"] for detail in written["details"]["best"]["sts"].values()} == {10}
    code, _, err = smoothcse("evaluate", models[0], "--data", data, "--tasks", "transfer", "--pairs", 10)
    assert code == 2
    assert "pairs are drawn from sts" in err


# ---- published rows beside ours ---------------------------------------------------------------------------


def our_result() -> Evaluation:
    scores = [Score(task, 50.0 + i, {"spearman": 50.0 + i}, 10) for i, task in enumerate(SEVEN_STS)]
    return Evaluation({"a [model] of ours": {"sts": scores}}, {})


@pytest.mark.parametrize("width", [80, 120])
def test_published_rows_stand_below_ours_with_all_figures_whole(width):
    rows = [*published_results("gs-infonce"), *published_results("debcse", "BERT-base")]
    text = shown(our_result().tables(rows)[0], width)
    assert "[model]" in text
    for figure in ("53.00", "77.63", "79.13", "80.33*", "provisional"):
        assert figure in text
    assert "…" not in text
    assert text.index("53.00") < text.index("77.63")
    assert "published" not in shown(our_result().tables()[0])


def test_compare_takes_names_separated_by_commas_or_repeated(smoothcse, models, data):
    for arguments in (["GS-InfoNCE,simcse"], ["simcse", "--compare", "gs-infonce"]):
        code, out, err = smoothcse("evaluate", models[0], "--data", data, "--compare", *arguments)
        assert code == 0, err
        assert "76.25" in out
        assert "77.63" in out


def test_published_is_printed_by_system_and_model(smoothcse):
    code, out, _ = smoothcse("list", "published", "gs-infonce", "SIMCSE", "--model", "BERT-base")
    assert code == 0
    assert all(text in out for text in ("GS-InfoNCE", "77.63", "unsup-SimCSE", "76.25", "README = "))
    assert "RoBERTa" not in out
    code, out, _ = smoothcse("list", "published")
    assert out.count("GS-InfoNCE") > 4
    assert "* = provisional" in out
    assert "…" not in out
    code, _, err = smoothcse("list", "published", "cot-bert", "--model", "BERT-large")
    assert (code, "no published results of cot-bert trained from BERT-large" in err) == (2, True)


# ---- a user's mistakes ------------------------------------------------------------------------------------


@pytest.fixture
def no_model_runs(monkeypatch):
    def refuse(*arguments, **options):
        pytest.fail("a model was run before everything was checked")

    for name in ("evaluate_sts", "evaluate_transfer", "evaluate_geometry", "evaluate_retrieval", "compare_with_bm25"):
        monkeypatch.setattr(groups_module, name, refuse)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--tasks", "sts,transfr"],
            "no tasks 'transfr'; choose from sts, transfer, geometry, retrieval, all. Did yo",
        ),
        (["--precision", "half"], "Invalid value for '--precision'"),
        (["--bm25"], "BM25 is scored on retrieval; add it to the tasks"),
        (["--tasks", "retrieval", "--cosine-weight", "0.5"], "applies only to fusion with BM25"),
        (["--tasks", "retrieval", "--maxsim"], "MaxSim reorders the model fused with BM25; add BM25, or leave out"),
        (["--tasks", "retrieval", "--bm25", "--cosine-weight", "7"], "Invalid value for '--cosine-weight'"),
        (["--compare", "gs-infonec"], "Did you mean 'gs-infonce'?"),
        (["--compare", "simcse", "--tasks", "geometry"], "add it to --tasks"),
        (
            ["--compare", "gs-infonce", "simcse"],
            "write --compare gs-infonce,simcse.",
        ),
        (["unsup-SimCSE"], "'unsup-SimCSE' is a published system, not a model"),
        (["-o", "{tmp}/none/r.json"], "there is no folder {tmp}/none"),
        (["-o", "{tmp}/r.txt"], "must end in .json"),
        (["{tmp}/data"], "{tmp}/data contains no config.json"),
        (["no/such-model"], "no/such-model is neither a folder"),
        (["--data", "{tmp}/nowhere"], "The data {tmp}/nowhere does not exist"),
        (["--tasks", "retrieval", "--data", "{tmp}/nowhere.csv"], "The data {tmp}/nowhere.csv does not exist"),
        (["--tasks", "retrieval"], "The tasks retrieval cannot use the data {tmp}/data: retrieval takes a .jsonl"),
        (["--tasks", "retrieval", "--data", "hub"], "The tasks retrieval cannot use the data hub"),
        (
            ["--tasks", "geometry,retrieval", "--data", "{tmp}/data/transfer"],
            "The tasks geometry, retrieval cannot use",
        ),
        (
            ["--data", "{tmp}/data/sts/SICK/SICK_test_annotated.txt"],
            "sts takes a folder in SentEval's layout, or hub.",
        ),
        (
            ["--tasks", "sts,retrieval", "--data", "{tmp}/data/sts/STSBenchmark/sts-dev.csv"],
            "sts-dev.csv is a file; g",
        ),
        (["--columns", "a,b"], "Columns apply only to a pairs file for retrieval"),
        (["--data", "{tmp}/data/transfer"], "lacks 50 of 50 files that are needed (STS12-en-test/STS.input.MSRpar"),
        (["--data", "{tmp}/data/transfer"], "STS.input.SMTeuroparl.txt and 45 more); give"),
    ],
)
def test_mistakes_are_told_in_one_sentence_before_the_first_model_runs(
    smoothcse, models, data, tmp_path, no_model_runs, arguments, expected
):
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    source = [] if "--data" in given else ["--data", data]
    code, out, err = smoothcse("evaluate", models[0], *source, *given)
    assert code == 2
    assert expected.format(tmp=tmp_path) in err
    assert "Traceback" not in err
    assert out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def break_file(relative: str, text: str | None):
    def change(data: Path) -> None:
        (data / relative).unlink() if text is None else write(data / relative, text)

    return change


@pytest.mark.parametrize(
    ("relative", "text", "expected"),
    [
        ("sts/SICK/SICK_test_annotated.txt", None, "lacks 1 of 50 files that are needed (SICK/SICK_test_annotated.t"),
        ("transfer/TREC/TREC_10.label", None, "TREC/TREC_10.label"),
        ("sts/STS13-en-test/STS.gs.FNWN.txt", "1\n2\n", "has 12 lines and"),
        ("sts/STSBenchmark/sts-test.csv", "a\tb\n", "sts-test.csv:1: 7 tab-separated columns"),
        ("sts/STSBenchmark/sts-dev.csv", "a\tb\n", "sts-dev.csv:1: 7 tab-separated columns"),
        ("sts/STS13-en-test/STS.gs.FNWN.txt", "3\n" * ROWS, "all 12 scores are the same"),
        ("transfer/SST/binary/sentiment-dev", "fine\t1\nbad\t7\n", "sentiment-dev:2: '7' is none of the classes"),
    ],
)
def test_all_data_is_checked_before_the_first_model_runs(
    smoothcse, models, data, no_model_runs, relative, text, expected
):
    break_file(relative, text)(data)
    code, _, err = smoothcse("evaluate", models[0], "--tasks", "all", "--data", data)
    assert code == 2
    assert expected in err


def test_a_mistake_in_the_last_model_is_told_before_the_first_one_runs(models, data, tmp_path, no_model_runs):
    with pytest.raises(SmoothCSEError, match="neither a folder"):
        evaluate([models[0], tmp_path / "gone"], data=data)
    with pytest.raises(SmoothCSEError, match="no model to evaluate"):
        evaluate([], data=data)


def test_an_output_that_is_a_folder_or_closed_is_refused(tmp_path):
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(SmoothCSEError, match=r"r\.csv is a folder"):
        check_output(tmp_path / "r.json")
    (tmp_path / "s.json.new").mkdir()  # nobody can write there, not even root
    with pytest.raises(SmoothCSEError, match=r"s\.json cannot be written"):
        check_output(tmp_path / "s.json")


def test_an_output_that_is_there_stays_until_it_is_replaced(tmp_path):
    old = '{\n  "models": []\n}'
    (tmp_path / "r.json").write_text(old)
    assert check_output(tmp_path / "r.json") == (tmp_path / "r.json", tmp_path / "r.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("r.json", old)]


def test_a_file_that_holds_no_results_is_not_replaced(tmp_path):
    (tmp_path / "r.json").write_text("old")
    with pytest.raises(SmoothCSEError, match="holds something other than results"):
        check_output(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == "old"


def test_groups_are_named_once_and_in_any_case():
    assert task_groups(["STS", "sts", " geometry"]) == ["sts", "geometry"]
    assert task_groups(["geometry", "all"]) == ["geometry", "sts", "transfer", "retrieval"]
    with pytest.raises(SmoothCSEError, match="No tasks are named"):
        task_groups([])


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_decoder_is_scored_by_its_last_tokens_whatever_the_padding(architecture, tmp_path):
    path = save_tiny_generator(tmp_path / architecture, architecture, pad_token="[PAD]", padding_side="left")
    found = evaluate(path, ["retrieval"]).models[architecture]["retrieval"]
    model, rows = load_encoder(path, device="cpu"), []
    for text in sentences(40):
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            state = model[0].model(input_ids=ids).last_hidden_state[0, -1]
        rows.append(state / state.norm())
    cosines = torch.stack(rows[:20]) @ torch.stack(rows[20:]).T
    assert found["MRR"] == pytest.approx(rank([cosines.numpy()], np.arange(20)).metrics()["MRR"], abs=1e-4)
