"""The report: one page that needs nothing else, says what is missing, and shows what really was measured."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from parsed_page import Page
from smoothcse.cli.report import report
from smoothcse.corpus import load_sentences
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.sts import load_task
from smoothcse.report import page
from smoothcse.report.axes import HEIGHT, WIDTH, log_ticks, ticks
from smoothcse.report.facts import comparison
from smoothcse.report.figures import Line, line_plot, ridge_plot
from smoothcse.report.follow import follow_run
from smoothcse.report.page import write_report
from smoothcse.report.read import read_run
from smoothcse.report.samples import NEIGHBOURS, draw_samples, measure_gold_pairs, measure_similarities
from smoothcse.report.sections import curves, neighbours
from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from smoothcse.training.selection import label_free
from tiny import sentences

NASTY = "<script>alert('cat')</script> & the \"mat\""


def trained(folder, model, **fields):
    corpus = folder / "text" / "sentences.txt"
    corpus.parent.mkdir(exist_ok=True)
    corpus.write_text("\n".join([NASTY, *sentences(63)]) + "\n", encoding="utf-8")
    values = {
        "corpus": str(corpus),
        "model": model,
        "batch_size": 8,
        "noise_count": 16,
        "learning_rate": 1e-3,
        "max_steps": 4,
        "eval_steps": 2,
        "log_steps": 1,
        "precision": "fp32",
    }
    train(make_config({**values, **fields}), console=Console(quiet=True))
    return Path(fields["output"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def label_free_run(folder, tiny_bert):
    """A run with noise and without labels, whose name is as nasty as its text."""
    return trained(folder, tiny_bert, output=str(folder / "<script>x & y"), pooling="mean")


@pytest.fixture(scope="module")
def scored_run(folder, tiny_bert):
    """A control run, selected by pairs with gold scores."""
    texts = sentences(40, seed=3)
    lines = [f"g\tf\ty\t{row:04d}\t{row % 6}\t{texts[row]}\t{texts[row + 20]}" for row in range(20)]
    (folder / "sts" / "STSBenchmark").mkdir(parents=True)
    (folder / "sts" / "STSBenchmark" / "sts-dev.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return trained(
        folder, tiny_bert, output=str(folder / "control"), noise_count=0, dev=str(folder / "sts"), temperature=0.1
    )


@pytest.fixture
def copied(tmp_path):
    """Copies a run, to break it."""

    def copy(run, *, drop=(), **changes):
        target = tmp_path / "copy"
        shutil.copytree(run, target)
        for name in drop:
            shutil.rmtree(target / name)
        manifest = json.loads((target / "run.json").read_text())
        manifest["config"] |= changes.pop("config", {})
        manifest |= changes
        (target / "run.json").write_text(json.dumps(manifest))
        return target

    return copy


@pytest.fixture(scope="module")
def single(label_free_run):
    return write_report([label_free_run])


@pytest.fixture(scope="module")
def several(label_free_run, scored_run):
    return write_report([label_free_run, scored_run])


def test_the_page_needs_nothing_else(single, several, label_free_run, folder):
    assert single == label_free_run / "report.html"
    assert several == folder.resolve() / "report.html"
    for file in (single, several):
        text = file.read_text(encoding="utf-8")
        assert "://" not in text.replace(str(folder), "")
        assert not re.search(r"url\(|@import", text)
        parsed = Page(text)
        assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in parsed.tags}
        assert not [attributes for _, attributes in parsed.tags if {"src", "href"} & set(attributes)]
        assert not list(file.parent.glob("*.new"))


def test_the_page_can_be_read_without_eyes(single, several):
    for file in (single, several):
        parsed = Page(file.read_text(encoding="utf-8"))
        assert parsed.named("html") == [{"lang": "en"}]
        assert parsed.texts["title"][0].endswith("smoothcse report")
        levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
        pictures = parsed.named("svg")
        assert len(pictures) >= 5
        assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
        assert len(parsed.named("figcaption")) == len(parsed.named("figure")) >= len(pictures)


def test_text_and_names_are_no_markup(single, monkeypatch, folder, label_free_run):
    assert "<script" not in single.read_text(encoding="utf-8")
    assert "<script>x & y" in Page(single.read_text(encoding="utf-8")).texts["h1"]
    monkeypatch.setattr("smoothcse.report.sections.EXAMPLES", 64)  # all, the nasty sentence among them
    text = write_report([label_free_run], folder / "all.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert NASTY in Page(text).text()


def test_the_card_says_what_was_trained(single, label_free_run):
    manifest = json.loads((label_free_run / "run.json").read_text())
    text = Page(single.read_text(encoding="utf-8")).text()
    for said in (
        manifest["config"]["model"],
        manifest["config"]["corpus"],
        manifest["data"]["fingerprint"],
        manifest["hardware"],
        manifest["git_commit"] or "torch",
        f"torch {manifest['versions']['torch']}",
        "64 sentences",
        "16 Gaussian negatives",
        read_run(label_free_run).result.verdict(),
    ):
        assert said in text


def test_several_runs_are_compared_by_what_differs(label_free_run, scored_run, several):
    runs = [read_run(label_free_run), read_run(scored_run)]
    headings, rows = comparison(runs)
    assert set(headings[: headings.index("start")]) == {"noise_count", "temperature", "dev", "pooling"}
    cells = [dict(zip(headings, row, strict=True)) for row in rows]
    assert [row["noise_count"] for row in cells] == ["16", "0"]
    assert [row["best"] for row in cells] == [f"{run.result.best_score:.2f}" for run in runs]
    assert cells[1]["mean noise share"] == "none"
    parsed = Page(several.read_text(encoding="utf-8"))
    assert "2 runs compared" in parsed.texts["h1"]
    assert len(parsed.named("table")) == 1


def test_scores_by_different_criteria_are_never_in_one_picture(label_free_run, scored_run):
    runs = [read_run(label_free_run), read_run(scored_run)]
    samples = [SimpleNamespace(models={}, missing={"corpus": "gone"}) for _ in runs]
    titles = [figure.title for figure in curves(runs, samples)]
    assert titles.count("Dev score") == 2
    assert [figure.title for figure in curves([runs[0]] * 2, samples)].count("Dev score") == 1


def test_what_is_measured_now_is_what_the_run_has_logged(label_free_run):
    run = read_run(label_free_run)
    path = {step: (uniform, align) for step, uniform, align in run.path()}
    assert set(path) == {0, 2, 4}
    for model in draw_samples(run).models.values():
        uniform, align = path[model.step]
        assert model.similarities.uniformity == pytest.approx(uniform, abs=1e-4)
        assert model.similarities.alignment == pytest.approx(align, rel=0.2)  # other dropout


def test_the_start_is_read_as_the_training_read_it(scored_run, tiny_bert):
    run = read_run(scored_run)
    samples = draw_samples(run)
    assert run.config.pooling is None
    by_cls, by_mean = (
        measure_similarities(load_encoder(tiny_bert, pooling, device="cpu"), run.config, samples.sentences)
        for pooling in ("cls", "mean")
    )
    assert np.allclose(samples.before.similarities.cosines, by_cls.cosines, atol=1e-5)
    assert not np.allclose(samples.before.similarities.cosines, by_mean.cosines, atol=1e-3)


def test_similarities_and_neighbours_are_those_of_a_loop(tiny_bert, corpus_file):
    config = make_config({"model": tiny_bert})
    texts = list(load_sentences(corpus_file).dataset["sentence"][:12])
    model = load_encoder(tiny_bert, "mean", device="cpu")
    found = measure_similarities(model, config, texts)
    embeddings = model.encode(texts)
    for row, x in enumerate(embeddings):
        cosines = {
            other: x @ y / np.linalg.norm(x) / np.linalg.norm(y) for other, y in enumerate(embeddings) if other != row
        }
        nearest = sorted(cosines, key=cosines.get, reverse=True)[:NEIGHBOURS]
        assert found.cosines[row] == pytest.approx([cosines[other] for other in nearest], abs=1e-5)
    assert (len(found.positives), len(found.negatives), len(found.noise)) == (12, 132, 144)
    assert found.positives.mean() > found.negatives.mean()
    assert abs(found.noise.mean()) < 0.1


def test_gold_scores_keep_their_pairs(scored_run, folder, tiny_bert):
    task = load_task(folder / "sts", "STSBenchmark-dev")
    model = load_encoder(tiny_bert, "cls", device="cpu")
    found = measure_gold_pairs(model, task)
    subset = task.subsets[0]
    x, y = model.encode(list(subset.sentences1)), model.encode(list(subset.sentences2))
    cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    expected = sorted(zip(subset.gold, cosines.tolist(), strict=True))
    assert sorted(zip(found.gold.tolist(), found.cosines.tolist(), strict=True)) == [
        (gold, pytest.approx(cosine, abs=1e-5)) for gold, cosine in expected
    ]
    samples = draw_samples(read_run(scored_run))
    assert samples.before.gold is not None
    assert samples.after.gold is not None


def test_new_neighbours_are_marked(label_free_run):
    samples = draw_samples(read_run(label_free_run))
    for _, before, after in neighbours(samples).examples:
        old = {neighbour.text for neighbour in before}
        assert not any(neighbour.new for neighbour in before)
        assert all(neighbour.new == (neighbour.text not in old) for neighbour in after)


def test_what_is_gone_is_said(scored_run, copied, tmp_path):
    gone = {"corpus": str(tmp_path / "gone.txt"), "model": str(tmp_path / "gone-model"), "dev": str(tmp_path / "sts")}
    text = Page(write_report([copied(scored_run, config=gone)]).read_text(encoding="utf-8")).text()
    assert text.count("Not shown. ") >= 4
    assert "gone.txt" in text
    assert read_run(scored_run).result.verdict() in text


def test_without_its_start_model_a_run_still_shows_the_trained_one(scored_run, copied, tmp_path):
    run = copied(scored_run, config={"model": str(tmp_path / "gone-model")})
    text = Page(write_report([run]).read_text(encoding="utf-8")).text()
    assert "The model " + str(tmp_path / "gone-model") in text
    assert "Unknown: the model is not available." in text
    assert "positives unknown before" in text
    assert "Not shown." not in text


def test_without_trained_models_the_start_is_shown(scored_run, copied):
    run = copied(scored_run, drop=["best", "last"])
    text = Page(write_report([run]).read_text(encoding="utf-8")).text()
    assert "no longer exists" in text
    assert "Not shown." not in text


def test_a_changed_text_is_noted(label_free_run, copied):
    data = json.loads((label_free_run / "run.json").read_text())["data"] | {"fingerprint": "0" * 32}
    text = Page(write_report([copied(label_free_run, data=data)]).read_text(encoding="utf-8")).text()
    assert "The text has changed since the run (fingerprint 000000000000 then" in text


def test_an_unfinished_run_shows_what_there_is(label_free_run, copied):
    run = copied(label_free_run, drop=["last"], status="running", result=None, times=None)
    metrics = RunFolder(run).metrics()
    kept = [entry for entry in metrics if entry["step"] <= 3]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in kept) + '{"step": 4, "lo')
    text = Page(write_report([run]).read_text(encoding="utf-8")).text()
    assert "This run is unfinished; its last logged step is 3. So far: " in text
    (run / "metrics.jsonl").unlink()
    shutil.rmtree(run / "best")
    text = Page(write_report([run]).read_text(encoding="utf-8")).text()
    assert "Nothing has been evaluated yet." in text
    assert "No loss has been logged yet." in text


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda run: (run / "run.json").unlink(), "is not a run folder: it has no run.json"),
        (lambda run: (run / "run.json").write_text("{"), "cannot be read as the record of a run"),
        (lambda run: (run / "run.json").write_text("[]"), "it is not a JSON object"),
        (lambda run: (run / "metrics.jsonl").write_text("oops\n"), "cannot be read as the metrics of a run"),
    ],
)
def test_a_folder_that_holds_no_run(label_free_run, copied, monkeypatch, break_it, said):
    monkeypatch.setattr(page, "draw_samples", lambda _: pytest.fail("measured before the folders were read"))
    run = copied(label_free_run)
    break_it(run)
    with pytest.raises(SmoothCSEError, match=said):
        write_report([label_free_run, run])


def test_an_output_that_cannot_be_written_is_found_first(label_free_run, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "draw_samples", lambda _: pytest.fail("measured before the output was tried"))
    with pytest.raises(SmoothCSEError, match="is a folder"):
        write_report([label_free_run], tmp_path)
    with pytest.raises(SmoothCSEError, match="there is no folder"):
        write_report([label_free_run], tmp_path / "nowhere" / "report.html")
    with pytest.raises(SmoothCSEError, match="cannot be written"):
        write_report([label_free_run], tmp_path / ("long" * 100 + ".html"))
    with pytest.raises(SmoothCSEError, match="at least one run folder"):
        write_report([])
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page(label_free_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("smoothcse._utils.quiet.quiet_libraries", lambda: None)  # it would silence the other tests too
    report([label_free_run], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert str(tmp_path / "page.html") in capsys.readouterr().out


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-2.61, -1.83), (0, 123456), (79.6, 79.9), (0.0029, 0.0031)])
def test_ticks_are_round_inside_and_say_what_they_are(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 8
    for value, words in found:
        assert low - 1e-9 <= value <= high + 1e-9
        assert float(words.replace(",", "").replace("−", "-")) == pytest.approx(value, abs=1e-9 * max(1, abs(high)))


@pytest.mark.parametrize(("low", "high"), [(0.002, 0.1), (1e-7, 10), (0.31, 0.32), (3, 700)])
def test_log_ticks_stay_inside(low, high):
    found = log_ticks(low, high)
    assert 2 <= len(found) <= 9
    assert all(low <= value <= high for value, _ in found)


@pytest.mark.parametrize(
    "points",
    [[(5, 0.0)], [(0, 3.0), (9, 3.0)], [(0, -4.0), (1, 1e6), (2, 7.0)], [(step, step % 7) for step in range(5000)]],
)
@pytest.mark.parametrize("log", [False, True])
def test_every_line_lies_inside_its_picture(points, log):
    if log:
        points = [(x, abs(y) + 0.5) for x, y in points]
    svg = line_plot([Line(points, label="1", level=points[0][1])], x="step", y="<y>", alt='a "b" <c>', log=log)
    assert "&lt;y&gt;" in svg
    places = [pair.split(",") for found in re.findall(r'points="([^"]*)"', svg) for pair in found.split()]
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in places)
    assert len(places) < 1000


def test_labels_of_lines_that_end_together_do_not_cover_each_other():
    svg = line_plot(
        [Line([(0, 0), (1, 1 + number / 1e4)], number, str(number)) for number in range(4)], x="", y="", alt=""
    )
    heights = [float(y) for y in re.findall(r'end-label c\d" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(heights) == 4
    assert min(np.diff(sorted(heights))) >= 12.9


@pytest.mark.parametrize(
    "values", [[79.7314, 79.7314, 79.7314], [79.7314, 79.731401, 79.7315], [0.0, 0.0], [1.0, 1.0]]
)
def test_values_that_hardly_differ_have_labels_that_fit(values):
    svg = line_plot([Line(list(enumerate(values)), label="1")], x="step", y="score", alt="")
    found = re.findall(r'class="end" x="[\d.]+" y="([\d.]+)">([^<]*)<', svg)
    heights = sorted(float(y) for y, _ in found)
    assert len({words for _, words in found}) == len(found) > 2
    assert max(len(words) for _, words in found) <= 6
    assert min(np.diff(heights)) > 12


def test_similarities_that_are_all_the_same_have_a_histogram():
    svg = ridge_plot([("positives", None, np.ones(20, np.float32))], x="cosine", alt="")
    places = [pair.split(",") for found in re.findall(r'points="([^"]*)"', svg) for pair in found.split()]
    assert all(0 <= float(x) <= WIDTH for x, _ in places)


def test_a_histogram_has_its_peak_where_most_values_are():
    values = np.concatenate([np.full(90, 0.5), np.linspace(0, 1, 10)]).astype(np.float32)
    svg = ridge_plot([("positives", None, values)], x="cosine", alt="")
    [area] = re.findall(r'class="area c0" points="([^"]*)"', svg)
    x, _ = min((tuple(map(float, pair.split(","))) for pair in area.split()), key=lambda place: place[1])
    places = {words: float(x) for x, words in re.findall(r'class="middle" x="([\d.]+)" y="[\d.]+">([\d.]+)<', svg)}
    assert x == pytest.approx((places["0.4"] + places["0.6"]) / 2, abs=3)


def test_label_free_draws_the_same_sentences(label_free_run, monkeypatch):
    """The sample is the criterion's, or its logged figures and ours would be of other texts."""
    monkeypatch.setattr("smoothcse.report.samples.SENTENCES", 20)
    run = read_run(label_free_run)
    seen = []
    monkeypatch.setattr("smoothcse.training.selection.encode", lambda _, texts, **__: np.zeros((len(texts), 2)))
    monkeypatch.setattr(
        "smoothcse.training.selection.dropout_views", lambda _, texts, **__: seen.extend(texts) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        label_free(load_sentences(run.config.corpus), 32, sample=20).score(None)
    assert sorted(draw_samples(run).sentences) == sorted(seen)


@pytest.fixture
def logged(label_free_run, copied):
    """Return a function that copies a run, with these metrics in place of its own."""

    def copy(*metrics, **changes):
        target = copied(label_free_run, status="running", config={"corpus": "gone.txt"}, **changes)
        (target / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
        return target

    return copy


ONE = {"step": 1, "loss": 2.5, "noise_share": 0.25, "eval_dev_score": 40.0}
NOT_A_NUMBER = {"step": 2, "loss": float("nan"), "noise_share": float("nan"), "eval_dev_score": float("nan")}


@pytest.mark.parametrize("metrics", [[ONE], [ONE, NOT_A_NUMBER], [NOT_A_NUMBER | {"step": 0}, ONE]])
def test_a_single_logged_point_is_seen(metrics, logged, tmp_path, capsys):
    run = logged(*metrics)
    page = write_report([run], tmp_path / "one.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<circle class="dot c0"', page)) == 3
    assert "2.5 at step 1)" in page
    assert not re.search(r' (points|c?[xy])="[^"]*nan', page)
    follow_run(run, once=True, console=Console(width=80))
    assert capsys.readouterr().out.count("●") == 3


@pytest.mark.parametrize("metrics", [[], [{"step": 1, "loss": float("nan")}], [NOT_A_NUMBER]])
def test_nothing_logged_is_said(metrics, logged, tmp_path, capsys):
    run = logged(*metrics)
    text = Page(write_report([run], tmp_path / "none.html").read_text(encoding="utf-8")).text()
    assert "No loss has been logged yet." in text
    assert "Nothing has been evaluated yet." in text
    follow_run(run, once=True, console=Console(width=80))
    assert "copy: running" in capsys.readouterr().out


def test_a_finished_run_whose_start_is_no_number(logged, tmp_path):
    result = {"start_score": float("nan"), "best_score": 40.0, "best_step": 1, "last_score": 40.0, "criterion": "dev"}
    run = logged(NOT_A_NUMBER | {"step": 0}, ONE)
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"status": "finished", "result": result}))
    page = write_report([run], tmp_path / "nan.html").read_text(encoding="utf-8")
    assert not re.search(r' (points|c?[xy])="[^"]*nan', page)


def test_a_report_replaces_nothing_but_a_page(label_free_run):
    before = (label_free_run / "run.json").read_bytes()
    with pytest.raises(SmoothCSEError, match=r"run\.json must end in \.html"):
        write_report([label_free_run], label_free_run / "run.json")
    assert (label_free_run / "run.json").read_bytes() == before
