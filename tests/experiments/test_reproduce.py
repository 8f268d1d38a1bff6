"""Published recipes over again, from downloads to verdict, against a hub on this machine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from statistics import fmean, stdev

import pytest

from loopback_hub import Fault, LoopbackHub
from smoothcse import cli
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import sts_folder
from smoothcse.evaluation.sts import evaluate_sts
from smoothcse.evaluation.sts_tasks import SEVEN_STS, STS_TASKS, files_of, load_tasks
from smoothcse.experiments import in_process
from smoothcse.experiments.forecast import plan_table
from smoothcse.experiments.outcome import Outcome
from smoothcse.experiments.reproduction import plan_reproduction
from smoothcse.experiments.run_records import Record
from tiny import save_tiny_model, sentences

pytestmark = pytest.mark.slow

RECIPE = "gs-infonce/bert-base-uncased"
WIKI1M = "datasets/princeton-nlp/datasets-for-simcse/wiki1m_for_simcse.txt"
SENTEVAL = "datasets/princeton-nlp/datasets-for-simcse/senteval.tar"
SHORT = ("--max-steps", "2", "--batch-size", "8", "--eval-steps", "1", "--precision", "fp32", "--seeds", "2")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with all that the recipe reads, each under its real name."""
    with LoopbackHub(tmp_path_factory.mktemp("hub")) as server:
        save_tiny_model(server.root / "models" / "bert-base-uncased")
        server.write(WIKI1M, "\n".join(sentences(64)).encode())
        server.write(SENTEVAL, senteval())
        yield server


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Caches that the first test to need them fills."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def finished(hub, caches, tmp_path_factory):
    """A reproduction over two seeds: its folder and what it printed."""
    output = tmp_path_factory.mktemp("output") / "run"
    with pytest.MonkeyPatch.context() as patch:
        connect(patch, hub.url, caches)
        code, printed, said = smoothcse("reproduce", RECIPE, "--output", output, *SHORT)
    assert code == 0, said
    return output, printed


@pytest.fixture
def online(hub, caches, finished, monkeypatch):
    """The hub reachable and the caches full."""
    connect(monkeypatch, hub.url, caches)
    return hub


@pytest.fixture
def offline(caches, finished, monkeypatch):
    """No network, the caches full."""
    connect(monkeypatch, "http://127.0.0.1:9", caches)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_it_ends_in_a_table_and_a_verdict(finished):
    output, printed = finished
    found = json.loads((output / "reproduce.json").read_text())
    assert found["seeds"] == [42, 43]
    assert sorted(run["folder"] for run in found["runs"]) == sorted(
        f"{variant}/seed-{seed}" for variant in ("gs-infonce", "control") for seed in (42, 43)
    )
    assert [row["average"] for row in found["published"]] == [77.63]
    assert found["changed"] == {"max_steps": 2, "batch_size": 8, "eval_steps": 1, "precision": "fp32"}
    assert found["verdict"].startswith("With other settings than the recipe's (max_steps 2, batch_size 8")
    text = (output / "reproduce.md").read_text()
    assert found["verdict"] in text
    assert found["verdict"] in " ".join(printed.split("\n"))
    for cell in ("77.63", "SICK-R", "control", "difference [95%]", "best STS-B dev score"):
        assert cell in printed
        assert cell in text


def test_its_figures_are_those_of_the_best_models(finished, online):
    output, _ = finished
    found = json.loads((output / "reproduce.json").read_text())
    tasks = load_tasks(sts_folder("hub"))
    for run in found["runs"]:
        model = load_encoder(output / run["folder"] / "best")
        expected = {score.task: score.main for score in evaluate_sts(model, tasks, precision="fp32")}
        assert {task: run["sts"][task] for task in SEVEN_STS} == pytest.approx(expected, abs=1e-4)
        assert run["sts"]["avg"] == pytest.approx(fmean(expected.values()), abs=1e-4)
    averages = {
        name: [run["sts"]["avg"] for run in found["runs"] if run["variant"] == name]
        for name in ("gs-infonce", "control")
    }
    for name, scores in averages.items():
        assert found["mean_sd"][name]["avg"] == pytest.approx({"mean": fmean(scores), "sd": stdev(scores)})
    pairs = zip(averages["gs-infonce"], averages["control"], strict=True)
    assert found["difference"]["avg"]["mean"] == pytest.approx(fmean(a - b for a, b in pairs))


def test_recipe_and_control_differ_in_the_noise_alone(finished):
    output, _ = finished
    manifests = (output / name / "seed-43" / "run.json" for name in ("gs-infonce", "control"))
    recipe, control = (json.loads(manifest.read_text())["config"] for manifest in manifests)
    assert {name for name in recipe if recipe[name] != control[name]} == {"noise_count", "output"}
    assert (recipe["noise_count"], recipe["dropout"], recipe["seed"], recipe["corpus"]) == (192, 0.2, 43, "wiki1m")
    assert not list(output.rglob("checkpoints"))


def test_what_has_finished_is_neither_trained_nor_evaluated_again(finished, online, monkeypatch):
    output, printed = finished
    before = {file: file.stat().st_mtime_ns for file in output.glob("*/*/*.json*")}
    assert len(before) == 12  # of each run: run.json, metrics.jsonl, sts.json
    monkeypatch.setattr(in_process, "train", lambda *_, **__: pytest.fail("a finished run was trained again"))
    monkeypatch.setattr(in_process, "evaluate", lambda *_, **__: pytest.fail("a finished run was evaluated again"))
    code, again, said = smoothcse("reproduce", RECIPE, "--output", output, *SHORT, "--resume")
    assert code == 0, said
    assert again == printed
    assert {file: file.stat().st_mtime_ns for file in output.glob("*/*/*.json*")} == before


def test_what_is_missing_is_made_up_for(finished, online, tmp_path, monkeypatch):
    output, printed = finished
    copy = shutil.copytree(output, tmp_path / "run")
    shutil.rmtree(copy / "control" / "seed-43")
    (copy / "gs-infonce" / "seed-42" / "sts.json").unlink()
    trained = []

    def train(config, **options):
        trained.append(Path(config.output).relative_to(copy).as_posix())
        return real(config, **options)

    real = in_process.train
    monkeypatch.setattr(in_process, "train", train)
    code, again, said = smoothcse("reproduce", RECIPE, "--output", copy, *SHORT, "--resume")
    assert code == 0, said
    assert trained == ["control/seed-43"]
    assert again.split("Written to")[0] == printed.split("Written to")[0]


def test_a_folder_with_runs_needs_resume(finished, online):
    output, _ = finished
    code, _, said = smoothcse("reproduce", RECIPE, "--output", output, *SHORT)
    assert code == 2
    assert "holds 4 of these runs; continue with --resume, or give another --output." in said


def test_other_settings_need_another_folder(finished, online):
    output, _ = finished
    code, _, said = smoothcse("reproduce", RECIPE, "--output", output, *SHORT, "--max-steps", "3", "--resume")
    assert code == 2
    assert "another configuration (max_steps differ)" in said


def test_a_plan_with_everything_here_needs_no_network(offline, tmp_path, hub):
    before = hub.requests.total()
    code, plan, said = smoothcse("reproduce", RECIPE, "--plan", "--output", tmp_path / "new", *SHORT)
    assert code == 0, said
    for text in ("4 (gs-infonce and control, seeds 42 to 43); 0 finished", "2 of batch 8", "measured just now"):
        assert text in plan
    assert plan.count("on this machine") == 3
    assert hub.requests.total() == before
    assert not (tmp_path / "new").exists()


def test_a_plan_counts_what_has_finished(offline, finished):
    output, _ = finished
    assert "4 finished" in smoothcse("reproduce", RECIPE, "--plan", "--output", output, *SHORT)[1]


def test_a_plan_without_network_or_caches_says_what_it_cannot_tell(tmp_path, monkeypatch):
    connect(monkeypatch, "http://127.0.0.1:9", tmp_path / "empty")
    code, plan, said = smoothcse("reproduce", RECIPE, "--plan", "--output", tmp_path / "new", "--precision", "fp32")
    assert code == 0, said
    assert plan.count("to be downloaded, size unknown") == 3
    assert "at most 15,625 of batch 64" in plan
    assert "unknown: the model is not on this machine yet" in plan
    assert "1.8 GB for weights, gradients and AdamW's moments" in plan  # 16 bytes each of 109 million


def test_a_plan_asks_the_hub_for_sizes_and_fetches_nothing(hub, tmp_path, monkeypatch):
    connect(monkeypatch, hub.url, tmp_path / "empty")
    fetched = sum(count for (method, _), count in hub.requests.items() if method == "GET")
    plan = smoothcse("reproduce", RECIPE, "--plan", "--output", tmp_path / "new", *SHORT)[1]
    size = (hub.root / "models" / "bert-base-uncased" / "model.safetensors").stat().st_size
    assert f"to be downloaded, {size / 1000:.1f} kB" in plan
    assert "size unknown" not in plan
    assert "unknown without" not in plan
    assert sum(count for (method, _), count in hub.requests.items() if method == "GET") == fetched


def test_hardware_that_will_not_do_is_told_by_the_plan(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    code, plan, _ = smoothcse("reproduce", RECIPE, "--plan", "--output", tmp_path / "new")
    assert code == 0
    assert "precision fp16 needs a CUDA device" in plan
    assert "unknown: the hardware cannot be used" in plan
    code, _, said = smoothcse("reproduce", RECIPE, "--output", tmp_path / "new")
    assert (code, "precision fp16 needs a CUDA device" in said) == (2, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gs-infonce/bert-base-uncase"], "Did you mean 'gs-infonce/bert-base-uncased'?"),
        (["control/roberta-base"], "control/roberta-base has no published results; reproduce gs-infonce/roberta-base"),
        ([RECIPE, "--max-steps", "0"], "max_steps is 0, but"),
        ([RECIPE, "--data", "nowhere"], "The data folder nowhere does not exist"),
        ([RECIPE, "--corpus", "nowhere.txt"], "The corpus nowhere.txt is neither on this machine nor"),
        ([RECIPE, "--corpus", "python-docs", "--model", "./no/such/model"], "The model ./no/such/model is neither on"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, message, tmp_path):
    code, _, said = smoothcse("reproduce", *arguments, "--output", tmp_path / "new")
    assert code == 2
    assert message in said
    assert not (tmp_path / "new").exists()


def test_no_network_is_one_sentence(tmp_path, monkeypatch, no_backoff):
    connect(monkeypatch, "http://127.0.0.1:9", tmp_path / "empty")
    code, _, said = smoothcse("reproduce", RECIPE, "--output", tmp_path / "new", *SHORT)
    assert code == 2
    assert "princeton-nlp/datasets-for-simcse:senteval.tar cannot be" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("senteval.tar", "princeton-nlp/datasets-for-simcse:senteval.tar cannot"),
        ("wiki1m_for_simcse.txt", "smoothcse: Dataset princeton-nlp/datasets-for-simcse:wiki1m_for_simcse.txt cannot"),
        ("model.safetensors", "smoothcse: The model bert-base-uncased cannot be"),
    ],
)
def test_a_download_that_keeps_breaking_is_one_sentence(hub, path, message, tmp_path, monkeypatch, no_backoff):
    connect(monkeypatch, hub.url, tmp_path / "empty")
    hub.inject(Fault(path, cut_after=300, times=99))
    try:
        code, _, said = smoothcse("reproduce", RECIPE, "--output", tmp_path / "new", *SHORT)
    finally:
        hub.faults.clear()
    assert code == 2
    assert message in said
    assert not list(tmp_path.glob("new/*/*/run.json"))


def test_a_recipe_is_trained_from_the_hub_alone(hub, tmp_path):
    """In a process of its own, as a stranger starts it: nothing here but the name of the recipe."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "SMOOTHCSE_CPU": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"SMOOTHCSE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "smoothcse", "train", "--recipe", RECIPE, "--output", str(tmp_path / "run")]
    command += ["--max-steps", "3", "--batch-size", "4", "--eval-steps", "2", "--precision", "fp32"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["result"]["criterion"] == "STS-B dev, Spearman x 100"
    assert record["data"]["kept"] == 64
    assert load_encoder(tmp_path / "run").encode(["the cat sat"]).shape == (1, 32)
    for path in ("/bert-base-uncased/resolve/main/model.safetensors", "/wiki1m_for_simcse.txt", "/senteval.tar"):
        assert hub.count("HEAD", path)


# ---- verdicts -------------------------------------------------------------------------------------------


def test_a_published_figure_within_the_spread_and_a_difference_that_is_none():
    outcome = outcome_of([77.2, 77.8, 78.0], [77.3, 77.5, 78.2])
    assert outcome.verdict().startswith(
        "The published average 77.63 lies within mean ± 2 sd of ours (77.67 ± 0.42, 3 seeds); "
    )
    assert outcome.verdict().endswith(" a 95% interval that holds 0, so that nothing is established.")


def test_a_published_figure_outside_the_spread_and_a_difference_that_stands():
    outcome = outcome_of([76.0, 76.1, 76.2], [75.0, 75.1, 75.21])
    assert outcome.verdict().startswith("The published average 77.63 lies outside mean ± 2 sd of ours (76.10 ± 0.10")
    assert outcome.verdict().endswith("the control is +1.00 [+0.98, +1.01], a 95% interval that leaves out 0.")


def test_one_seed_settles_nothing():
    outcome = outcome_of([77.63], [70.0])
    assert outcome.verdict() == "One seed settles nothing (its average is 77.63); run more with --seeds 5 --resume."
    assert outcome.as_dict()["mean_sd"]["control"]["avg"] == {"mean": 70.0, "sd": None}
    assert outcome.as_dict()["difference"]["avg"]["low"] is None


def test_simcse_has_no_control_to_compare_with():
    outcome = outcome_of([76.0, 76.5], recipe="simcse/bert-base-uncased")
    assert outcome.verdict() == "The published average 76.25 lies within mean ± 2 sd of ours (76.25 ± 0.35, 2 seeds)."
    assert list(outcome.as_dict()["mean_sd"]) == ["simcse"]
    assert len(outcome.table().columns) == 3


def test_sources_that_disagree_are_each_compared():
    outcome = outcome_of([78.95, 78.97], [78.0, 78.1], recipe="gs-infonce/bert-large-uncased")
    assert "published average 78.96 lies within mean ± 2 sd and the published average 79.13 lies outside" in (
        outcome.verdict()
    )
    assert [column.header for column in outcome.table().columns][1:3] == ["published (L)", "published (B)"]


@pytest.mark.parametrize("model", ["bert-base-uncased", "bert-large-uncased", "roberta-base", "roberta-large"])
@pytest.mark.parametrize("method", ["gs-infonce", "simcse"])
def test_every_recipe_has_published_figures_and_a_plan(method, model, tmp_path, monkeypatch):
    connect(monkeypatch, "http://127.0.0.1:9", tmp_path)
    wanted = plan_reproduction(f"{method}/{model}")
    assert wanted.published()
    assert len(wanted.plan().runs) == (10 if method == "gs-infonce" else 5)
    assert wanted.output == Path("reproduce") / method / model
    assert plan_table(wanted).row_count == 8


@pytest.mark.parametrize("recipe", ["sup-simcse/bert-base-uncased", "simcse++/bert-base-uncased"])
def test_recipes_without_published_figures_are_refused_before_the_training(recipe):
    with pytest.raises(SmoothCSEError, match="has no published results to compare with; train it with"):
        plan_reproduction(recipe)


def test_a_diagnosis_is_told_beside_the_figures():
    outcome = outcome_of([77.0, 77.2], [1.0, 0.0], diagnoses=("the model has collapsed",))
    assert "control/seed-43: the model has collapsed" in outcome.table().caption.plain


def test_an_unknown_field_is_refused():
    with pytest.raises(SmoothCSEError, match="no configuration field 'max_step'"):
        plan_reproduction(RECIPE, changes={"max_step": 3})


# ---- helpers --------------------------------------------------------------------------------------------


def outcome_of(averages, control=(), recipe=RECIPE, diagnoses=()):
    wanted = plan_reproduction(recipe, seeds=len(averages))
    scores = {wanted.method: averages, "control": control}
    records = [
        Record(name, {}, seed, 70.0, 80.0, 79.0, [], None, 1.0, {}, {}, best_step=125, diagnoses=list(diagnoses),
               sts=dict.fromkeys((*SEVEN_STS, "avg"), value))
        for name, values in scores.items() for seed, value in enumerate(values, start=42)
    ]  # fmt: skip
    return Outcome(wanted, records)


def smoothcse(*arguments):
    """Run a command in this process; return its exit code and what it wrote to either stream, unwrapped."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["smoothcse", *map(str, arguments)])
        patch.setenv("COLUMNS", "300")
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code or 0
    return code, out.getvalue(), err.getvalue()


def connect(patch, url, folder):
    """Point this process's hub library at an endpoint and all caches at a folder."""
    patch.setenv("HF_ENDPOINT", url)
    patch.setenv("SMOOTHCSE_CACHE", str(folder / "smoothcse"))
    patch.setattr("huggingface_hub.constants.ENDPOINT", url)
    patch.setattr("huggingface_hub.hf_api.api.endpoint", url)
    patch.setattr("transformers.utils.hub._hf_api", None)  # one that an earlier test made would ask the real hub
    template = url + "/{repo_id}/resolve/{revision}/{filename}"  # made of the endpoint when the library is imported
    patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))


def senteval():
    """An archive of all STS files, 40 pairs each, of words that the tiny tokenizer knows."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in dict.fromkeys(path for name in STS_TASKS for path in files_of(name)):
            content = sts_file(path).encode()
            info = tarfile.TarInfo(f"SentEval/data/downstream/STS/{path}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sts_file(path):
    chance = random.Random(path.replace(".gs.", ".input."))
    text = sentences(80, seed=chance.randrange(1000))
    pairs = [(a, b, round(chance.uniform(0, 5), 1)) for a, b in zip(text[:40], text[40:], strict=True)]
    if ".gs." in path:
        return "".join(f"{gold}\n" for _, _, gold in pairs)
    if ".input." in path:
        return "".join(f"{a}\t{b}\n" for a, b, _ in pairs)
    if path.startswith("SICK"):
        return "pair_ID\tA\tB\tscore\n" + "".join(f"1\t{a}\t{b}\t{gold}\n" for a, b, gold in pairs)
    return "".join(f"main\tx\t2012\t1\t{gold}\t{a}\t{b}\n" for a, b, gold in pairs)
