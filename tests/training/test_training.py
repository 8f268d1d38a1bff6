"""A run from configuration to folder: what it writes, how it goes on, how it stops."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from scipy.spatial.distance import pdist
from sentence_transformers import SentenceTransformer

import smoothcse
from interrupted import train_interrupted
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError, Stopped
from smoothcse.experiments.seeds import train_seeds
from smoothcse.runs import model_folder
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import TrainConfig, inputs, make_config, read_result, run, train
from smoothcse.training.callbacks import NoiseStep
from smoothcse.training.selection import DEV_SCORE, Criterion
from tiny import sentences

QUIET = Console(quiet=True)


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path):
    return make_config(
        {
            "corpus": str(corpus_file),
            "model": tiny_bert,
            "output": str(tmp_path / "run"),
            "batch_size": 8,
            "noise_count": 16,
            "learning_rate": 1e-3,
            "eval_steps": 2,
            "log_steps": 1,
            "precision": "fp32",
            "epochs": 1,
        }
    )


def weights(folder):
    return load_file(folder / "model.safetensors")


def losses(folder):
    return {entry["step"]: entry["loss"] for entry in RunFolder(folder).metrics() if "loss" in entry}


def by_step(monkeypatch, scores):
    """Let the run be judged by a list of scores, one per evaluation."""
    remaining = iter(scores)
    criterion = Criterion("a list", lambda model: {DEV_SCORE: next(remaining)})
    monkeypatch.setattr(inputs, "choose_criterion", lambda config, corpus: criterion)


def signal_at(monkeypatch, step):
    """Send the process a signal in the step after this one, once."""
    original, sent = NoiseStep.on_step_begin, []

    def on_step_begin(self, args, state, control, **kwargs):
        original(self, args, state, control, **kwargs)
        if state.global_step == step and not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(NoiseStep, "on_step_begin", on_step_begin)


def test_a_run_writes_all_documented_files(config, tmp_path):
    result = train(config, console=QUIET)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["config"] == config.as_dict()
    assert manifest["data"]["kept"] == 64
    assert manifest["text"].pop("fertility") >= 1
    assert manifest["text"] == {"unknown": 0.0, "truncated": 0.0, "duplicates": 0.0, "truncated_texts": 0.0}
    assert manifest["versions"]["torch"] == torch.__version__
    times = manifest["times"]
    assert times["total_seconds"] > times["evaluation_seconds"] > 0
    assert times["evaluation_seconds"] > times["start_evaluation_seconds"] > 0
    during = times["evaluation_seconds"] - times["start_evaluation_seconds"]
    assert times["evaluation_share"] == pytest.approx(during / times["total_seconds"])
    assert 0 < times["step_seconds"] * 8 < times["total_seconds"]
    assert manifest["peak_memory_mb"] is None or manifest["peak_memory_mb"] >= 0
    assert manifest["result"]["best_score"] == result.best_score

    metrics = RunFolder(config.output).metrics()
    assert [entry["step"] for entry in metrics if "loss" in entry] == list(range(1, 9))
    assert [entry["step"] for entry in metrics if f"eval_{DEV_SCORE}" in entry] == [0, 2, 4, 6, 8]
    assert all(0 < entry["noise_share"] < 1 for entry in metrics if "loss" in entry)
    assert read_result(config.output) == result
    assert "GS-InfoNCE" in (result.best / "README.md").read_text()

    reloaded = SentenceTransformer(str(result.last), device="cpu", trust_remote_code=False)
    assert [type(module).__name__ for module in reloaded] == ["Transformer", "Pooling"]
    start = load_encoder(config.model, "cls", device="cpu")
    assert reloaded.max_seq_length == start.max_seq_length  # cut in training only
    assert not np.allclose(reloaded.encode(sentences(3)), start.encode(sentences(3)))
    assert np.array_equal(
        load_encoder(config.output).encode(sentences(3)), load_encoder(result.best).encode(sentences(3))
    )


def test_the_exported_model_encodes_as_the_trained_one(config, monkeypatch):
    trained = {}
    original = model_folder.save_model

    def remember(model, target, note, **others):
        trained[target.name] = encode(model, sentences(5))  # not under the trainer's autocast
        original(model, target, note, **others)

    monkeypatch.setattr(model_folder, "save_model", remember)
    result = train(config, console=QUIET)
    reloaded = SentenceTransformer(str(result.last), device="cpu")
    np.testing.assert_allclose(reloaded.encode(sentences(5)), trained["last"], atol=1e-6)


def test_equal_configurations_give_equal_weights(config, tmp_path):
    first = train(config, console=QUIET)
    second = train(config.replace(output=str(tmp_path / "again")), console=QUIET)
    other = train(config.replace(output=str(tmp_path / "other"), seed=1), console=QUIET)
    for name, tensor in weights(first.last).items():
        assert torch.equal(tensor, weights(second.last)[name])
    assert losses(first.folder) == losses(second.folder) != losses(other.folder)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_killed_run_resumed_equals_an_uninterrupted_one(stop, config, tmp_path, monkeypatch):
    """Two epochs, so that it is cut before the first checkpoint, in the first epoch and in the second."""
    config = config.replace(epochs=2, batch_size=16, limit=50, eval_steps=2)
    whole = train(config, console=QUIET)
    cut = config.replace(output=str(tmp_path / "cut"))
    resumed = train_interrupted(cut, stop, monkeypatch)

    assert losses(resumed.folder) == losses(whole.folder)
    assert (resumed.best_step, resumed.best_score) == (whole.best_step, whole.best_score)
    assert (resumed.start_score, resumed.last_score) == (whole.start_score, whole.last_score)
    for folder in ("best", "last"):
        for name, tensor in weights(whole.folder / folder).items():
            assert torch.equal(tensor, weights(resumed.folder / folder)[name])


def test_the_start_model_is_selected_if_no_step_is_better(config, monkeypatch):
    by_step(monkeypatch, [9.0, 8.0, 9.0, 7.0, 6.0])
    result = train(config, console=QUIET)
    assert (result.best_step, result.best_score, result.last_score) == (0, 9.0, 6.0)
    assert "No step scored higher than the start" in result.verdict()
    start = load_encoder(config.model, "cls", device="cpu")
    assert np.array_equal(load_encoder(result.best, device="cpu").encode(sentences(3)), start.encode(sentences(3)))


def test_best_and_last_models_are_kept(config, monkeypatch):
    by_step(monkeypatch, [1.0, 5.0, 3.0, 5.0, 2.0])
    result = train(config, console=QUIET)
    assert (result.best_step, result.best_score) == (2, 5.0)
    notes = [json.loads((folder / "smoothcse.json").read_text()) for folder in (result.best, result.last)]
    assert [note["step"] for note in notes] == [2, 8]


def test_a_loss_that_is_not_finite_stops_the_run(config, monkeypatch):
    from smoothcse.methods import base

    original = base.ContrastiveLoss.forward

    def broken(self, features, labels=None):
        loss = original(self, features, labels)
        return loss * float("nan") if self.step == 4 else loss  # step 5, counting from 1

    monkeypatch.setattr(base.ContrastiveLoss, "forward", broken)
    with pytest.raises(
        SmoothCSEError, match=r"not a finite number at step 5; the last good checkpoint is .*checkpoint-4"
    ):
        train(config, console=QUIET)
    assert RunFolder(config.output).latest_checkpoint().name == "checkpoint-4"


def test_a_stopped_run_keeps_no_checkpoint_of_a_loss_that_is_not_finite(config, monkeypatch):
    from smoothcse.methods import base

    original = base.ContrastiveLoss.forward

    def broken(self, features, labels=None):
        loss = original(self, features, labels)
        return loss * float("nan") if self.step == 2 else loss  # step 3; the signal comes in step 4

    monkeypatch.setattr(base.ContrastiveLoss, "forward", broken)
    signal_at(monkeypatch, step=3)
    config = config.replace(eval_steps=8, log_steps=8)
    with pytest.raises(SmoothCSEError, match="not a finite number at step 3"):
        train(config, console=QUIET)
    assert RunFolder(config.output).latest_checkpoint() is None


def test_an_output_folder_in_use(config, tmp_path):
    train(config.replace(max_steps=1), console=QUIET)
    with pytest.raises(
        SmoothCSEError, match=r"holds another run; continue it with --resume, replace it with --overwrite"
    ):
        train(config, console=QUIET)
    with pytest.raises(
        SmoothCSEError, match=r"changed: learning_rate \(0\.001 then, 0\.0001 now\), max_steps \(1 then"
    ):
        train(config.replace(learning_rate=1e-4), resume=True, console=QUIET)
    assert train(config, overwrite=True, console=QUIET).best_step >= 0

    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.txt").write_text("...")
    for overwrite in (False, True):
        with pytest.raises(SmoothCSEError, match="holds files that do not belong to a run"):
            train(config.replace(output=str(precious)), overwrite=overwrite, console=QUIET)
    assert (precious / "chapter1.txt").read_text() == "..."
    with pytest.raises(SmoothCSEError, match="holds no run to resume"):
        train(config.replace(output=str(tmp_path / "new")), resume=True, console=QUIET)


def test_a_batch_larger_than_the_corpus_is_refused(config):
    with pytest.raises(SmoothCSEError, match="batch_size 65 is larger than the corpus of 64 sentences"):
        train(config.replace(batch_size=65), console=QUIET)
    assert not RunFolder(config.output).path.exists()


def test_a_full_disk_is_noticed_before_the_run(config, monkeypatch):
    from smoothcse.runs import disk

    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(SmoothCSEError, match=r"needs about .* GB .* are free; free some space"):
        train(config, console=QUIET)


def test_a_write_that_fails_is_explained(config, monkeypatch):
    """At the start, when nothing is lost, and later."""
    save = model_folder.save_model
    for failing, advice in (("best", "start it again"), ("last", "continue with --resume")):

        def full(model, target, note, failing=failing, **others):
            if target.name == failing:
                raise OSError(28, "No space left on device")
            save(model, target, note, **others)

        monkeypatch.setattr(model_folder, "save_model", full)
        with pytest.raises(SmoothCSEError, match=rf"No space left on device.* {advice}"):
            train(config, console=QUIET)


def test_several_seeds(config, tmp_path):
    results = train_seeds(config.replace(max_steps=2), 2, console=QUIET)
    summary = json.loads((tmp_path / "run" / "seeds.json").read_text())
    assert summary["seeds"] == [42, 43]
    assert summary["last"]["scores"] == [result.last_score for result in results]
    assert summary["last"]["mean"] == pytest.approx(np.mean(summary["last"]["scores"]))
    assert summary["last"]["sd"] == pytest.approx(np.std(summary["last"]["scores"], ddof=1))
    assert f"± {summary['best']['sd']:.2f}" in (results[0].best / "README.md").read_text()
    assert train_seeds(config.replace(max_steps=2), 2, resume=True, console=QUIET) == results


def test_fp16_needs_a_gpu(config):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SmoothCSEError, match="fp16 needs a CUDA device"):
        train(config.replace(precision="fp16"), console=QUIET)


def test_the_probe_changes_no_state(tiny_bert):
    from smoothcse.methods import GSInfoNCELoss
    from smoothcse.training.card import probe

    encoder = build_encoder(tiny_bert, device="cpu")
    loss = GSInfoNCELoss(encoder)
    before, state = {k: v.clone() for k, v in encoder.state_dict().items()}, torch.get_rng_state()
    measured = probe(encoder, loss, [sentences(8)], [""], 32, None)
    assert measured.seconds > 0
    assert 0 < measured.noise_share < 1
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert (loss.step, loss._forwards) == (None, 0)


def test_start_metrics_can_be_given(config, monkeypatch):
    by_step(monkeypatch, [1.0, 3.0])  # of steps 2 and 4 alone
    result = train(config.replace(max_steps=4), start_metrics={DEV_SCORE: 2.0}, console=QUIET)
    assert (result.start_score, result.best_score, result.best_step) == (2.0, 3.0, 4)


def test_start_metrics_are_not_taken_for_the_scores_of_a_resumed_run(config, monkeypatch):
    """Such as a candidate of an adaptation, whose only evaluation follows its last step."""
    config = config.replace(max_steps=4, eval_steps=4)
    signal_at(monkeypatch, step=2)
    by_step(monkeypatch, [])
    with pytest.raises(Stopped):
        train(config, start_metrics={DEV_SCORE: 2.0}, console=QUIET)
    by_step(monkeypatch, [7.0])
    result = train(config, resume=True, start_metrics={DEV_SCORE: 2.0}, console=QUIET)
    assert (result.start_score, result.last_score, result.best_score, result.best_step) == (2.0, 7.0, 7.0, 4)


@pytest.mark.parametrize("mistake", [{"model": "no-such-model"}, {"dev": "no-such-folder"}, {"max_length": 4096}])
def test_a_user_error_keeps_the_existing_run(mistake, config):
    train(config.replace(max_steps=2), console=QUIET)
    before = sorted(RunFolder(config.output).path.rglob("*"))
    with pytest.raises(SmoothCSEError):
        train(config.replace(max_steps=2, **mistake), overwrite=True, console=QUIET)
    assert sorted(RunFolder(config.output).path.rglob("*")) == before


def test_a_user_error_leaves_no_new_folder(config):
    with pytest.raises(SmoothCSEError, match="no-such-model"):
        train(config.replace(model="no-such-model"), console=QUIET)
    assert not RunFolder(config.output).path.exists()


def test_trainer_args_reach_the_trainer_and_weakened_guarantees_are_warned_about(config, tmp_path, monkeypatch):
    made = []
    original = run.host_arguments
    monkeypatch.setattr(run, "host_arguments", lambda plan: made.append(original(plan)) or made[-1])
    plain = train(config.replace(max_steps=4), console=QUIET)
    arguments = {"optim": "adafactor", "gradient_accumulation_steps": 2, "run_name": "mine"}
    changed = config.replace(max_steps=4, trainer_args=arguments, output=str(tmp_path / "other"))
    console = Console(file=io.StringIO(), width=200)
    result = train(changed, console=console)
    assert {name: getattr(made[-1], name) for name in arguments} == arguments
    assert losses(result.folder)[4] != losses(plain.folder)[4]
    manifest = read_manifest(result.folder)
    assert manifest.config["trainer_args"] == arguments
    [warning] = [said for said in manifest.warnings if "gradient_accumulation_steps" in said]
    assert "averages the losses of 2 batches of 8, whose sentences are not negatives of each other" in warning
    shown = console.file.getvalue()
    assert warning in " ".join(shown.split())
    assert "optim adafactor" in shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"report_to": "no-such-tracker"},
            "report_to names no-such-tracker, which is not installed or not known",
        ),
        ({"optim": "no-such-optimizer"}, "sentence-transformers rejects the trainer_args: no-such-optimizer is not"),
    ],
)
def test_trainer_args_that_the_trainer_rejects_end_in_one_sentence(given, message, config):
    with pytest.raises(SmoothCSEError) as caught:
        train(config.replace(trainer_args=given), console=QUIET)
    assert message in str(caught.value)
    assert not Path(config.output).exists()


def test_a_text_and_fields_train_like_a_configuration(config, tmp_path):
    fields = {name: value for name, value in config.replace(max_steps=2).as_dict().items() if name != "corpus"}
    first = train(TrainConfig(corpus=config.corpus, **fields), console=QUIET)
    second = smoothcse.train(config.corpus, **{**fields, "output": str(tmp_path / "other")}, console=QUIET)
    assert losses(first.folder) == losses(second.folder)


def test_the_best_model_is_scored_at_each_width_of_matryoshka_training(config):
    result = train(config.replace(matryoshka=[8, 16], projection=False, max_steps=1, max_length=8), console=QUIET)
    scores = read_manifest(result.folder).width_scores
    assert list(scores) == [16, 8]
    model, lines = load_encoder(result.best, device="cpu"), sorted(Path(config.corpus).read_text().splitlines())
    cut = {width: unit_rows(encode(model, lines)[:, :width]) for width in scores}
    spread = {width: np.log(np.exp(-2 * pdist(rows) ** 2).mean()) for width, rows in cut.items()}
    recorded = {width: -score for width, score in scores.items()}
    assert all(recorded[width] > spread[width] for width in scores)  # alignment, the rest, is not negative
    assert scores[8] != scores[16]
    assert "## Fewer dimensions" in (result.best / "README.md").read_text()
