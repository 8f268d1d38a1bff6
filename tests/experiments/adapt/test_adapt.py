"""An adaptation from documents to the model to use: its folder, its interruptions, and its mistakes."""

from __future__ import annotations

import errno
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from sentence_transformers import SentenceTransformer

from made_documents import save_pdf
from smoothcse import cli
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.pooling import pooling_of
from smoothcse.errors import SmoothCSEError, Stopped
from smoothcse.experiments import in_process
from smoothcse.experiments.adapt import Adaptation, adapt, budget, candidates, search, tryout
from smoothcse.experiments.adapt.candidates import Candidate
from smoothcse.experiments.adapt.record import read_record
from smoothcse.experiments.adapt.trials import Trial
from smoothcse.experiments.adapt.verdict import Verdict
from smoothcse.runs.disk import explain_failed_writes
from smoothcse.runs.search_settings import SearchSettings, read_search_settings
from tiny import WORDS, save_tiny_model

FEW_CANDIDATES = (
    Candidate("sentence", "", {"views": "sentence"}),
    Candidate("dropout", "", {"views": "dropout"}),
)
PLANNED = [("sentence", 0, 1), ("sentence", 1, 1), ("dropout", 1, 1)]


def documents(count: int) -> list[str]:
    """Return documents of five sentences of random words: no sentence tells anything about the others."""
    generator, words = random.Random(0), sorted(set(WORDS.split()))
    return [" ".join(f"The {' '.join(generator.choices(words, k=6))}." for _ in range(5)) for _ in range(count)]


def save(file: Path, texts: list[str], titles: list[str | None] | None = None) -> Path:
    rows = [{"text": text, "title": title} for text, title in zip(texts, titles or [None] * len(texts), strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def untimed(trials: list[Trial]) -> list[Trial]:
    return [replace(trial, seconds=0, step_seconds=0) for trial in trials]


def untimed_verdict(verdict: Verdict) -> Verdict:
    return replace(verdict, maxsim=replace(verdict.maxsim, milliseconds=0))


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[pytest.MonkeyPatch]:
    """Plan the same on every machine: two candidates of 1 step, and the better one for 3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "CANDIDATES", FEW_CANDIDATES)
        patch.setattr(budget, "FIRST_STEPS", 1)
        patch.setattr(search, "CALIBRATION_STEPS", 1)
        patch.setattr(search, "MOST_STEPS", 3)
        yield patch


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Enough documents to train on: 40 of 86 are held out, 20 of them judge, and the others are less than a batch."""
    return save(tmp_path_factory.mktemp("many") / "docs.jsonl", documents(86))


@pytest.fixture(scope="module")
def ten(tmp_path_factory) -> Path:
    """Too few documents to train on."""
    return save(tmp_path_factory.mktemp("ten") / "ten.jsonl", documents(10))


@pytest.fixture(scope="module")
def call(tiny_bert) -> Callable[..., Adaptation]:
    def run(source: Path, output: Path, console: Console | None = None, **options: object) -> Adaptation:
        settings = {"model": tiny_bert, "minutes": 600, "precision": "fp32", **options}
        return adapt(source, output=output, console=console or Console(quiet=True), **settings)

    return run


@pytest.fixture(scope="module")
def kept(call, many, tmp_path_factory) -> Adaptation:
    """An adaptation to random text, killed when all but the record has been written."""
    folder, written = tmp_path_factory.mktemp("finished") / "out", []

    def kill(folder, record):
        written.append(record)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["smoothcse.experiments.adapt.adapt"], "write_record", kill)
        with pytest.raises(KeyboardInterrupt):
            call(many, folder)
    return Adaptation(Path(shutil.copytree(folder, folder.parent / "kept")), written[0])


@pytest.fixture(scope="module")
def finished(call, many, kept) -> Adaptation:
    """The same, finished with the adapted model, whatever it is worth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Verdict, "keeps_start", False)
        return call(many, kept.folder.parent / "out")


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "out"))


# ---- the folder ---------------------------------------------------------------------------------------------------


def test_the_folder_holds_the_model_the_record_and_the_trials(finished, tiny_bert):
    folder, record = finished.folder, finished.record
    assert finished.model == folder / "model"
    assert record.adapted
    assert record == read_record(folder)
    assert read_search_settings(finished.model) == SearchSettings(
        cosine_weight=record.cosine_weight, rerank=record.verdict.rerank
    )
    lines = (folder / "trials.jsonl").read_text().splitlines()
    assert [Trial(**json.loads(line)) for line in lines] == record.trials
    assert [(trial.candidate, trial.round, trial.steps) for trial in record.trials[:3]] == PLANNED
    assert (record.trials[3].round, record.trials[3].steps) == (2, 3)
    best = max(record.trials[1:], key=lambda trial: trial.score)
    assert record.selected == best.run_name
    assert not [path for path in folder.rglob("*") if path.name in ("last", "best", "checkpoints")]
    assert not list(folder.rglob("*.new"))
    assert len(SentenceTransformer(str(finished.model), device="cpu").encode("the cat")) == 32


def test_the_encoder_is_trained_as_it_is_scored(finished, tiny_bert):
    """A model without a pooling of its own would be trained by its first token, and compared with a mean."""
    start, adapted = load_encoder(tiny_bert), load_encoder(finished.model)
    assert pooling_of(start) == pooling_of(adapted) == "mean"
    assert len(start) == len(adapted)
    assert fingerprint(start) != fingerprint(adapted)
    config = json.loads((finished.folder / "runs" / "1-sentence" / "run.json").read_text())["config"]
    assert config["pooling"] == "mean"


def test_a_second_call_changes_nothing_and_prints_the_verdict(call, copied, finished, many):
    before, console = contents(copied), Console(file=StringIO(), width=400)
    again = call(many, copied, console)
    assert again.record == finished.record
    assert contents(copied) == before
    printed = console.file.getvalue()
    assert "is finished; nothing was changed" in printed
    assert finished.record.summary in printed


def test_other_arguments_are_refused_by_name(call, copied, many, ten):
    before = contents(copied)
    with pytest.raises(SmoothCSEError, match=r"other arguments \(minutes, seed differ\); repeat .* with --overwrite"):
        call(many, copied, seed=1, minutes=1)
    with pytest.raises(SmoothCSEError, match=r"\(documents differ\)"):
        call(ten, copied)
    assert contents(copied) == before


def test_overwrite_replaces_an_adaptation_and_nothing_else(call, copied, ten):
    (copied / "index").mkdir()
    (copied / "index" / "mine").write_text("kept")
    record = call(ten, copied, overwrite=True).record
    assert not record.adapted
    assert record == read_record(copied)
    assert sorted(path.name for path in copied.iterdir()) == [
        "adapt.json", "index", "model", "request.json", "text.jsonl"
    ]  # fmt: skip


def test_a_mistake_does_not_cost_the_adaptation_that_it_would_have_replaced(call, copied, many, tmp_path):
    before = contents(copied)
    for mistake in ({"model": "no/model"}, {"dev": str(tmp_path / "no.jsonl")}):
        with pytest.raises(SmoothCSEError):
            call(many, copied, overwrite=True, **mistake)
    assert contents(copied) == before


def test_an_interrupted_overwrite_leaves_no_adaptation_that_seems_finished(call, copied, ten, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        call(ten, copied, overwrite=True)
    monkeypatch.undo()
    record = call(ten, copied).record
    assert record.trials == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("files", [["notes.txt"], ["request.json", "model/weights", "report.html"]])
def test_a_folder_of_something_else_is_refused_and_untouched(files, overwrite, call, ten, tmp_path):
    for name in files:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("{}")
    before = contents(tmp_path / "out")
    with pytest.raises(SmoothCSEError, match="is not empty and holds no adaptation; give another --output"):
        call(ten, tmp_path / "out", overwrite=overwrite)
    assert contents(tmp_path / "out") == before


def test_two_processes_do_not_share_a_folder(call, ten, tmp_path):
    code = (
        "import sys; from pathlib import Path; from smoothcse._utils.folder_lock import lock_folder\n"
        "with lock_folder(Path(sys.argv[1]), remedy=''): print('held', flush=True); sys.stdin.read()"
    )
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SmoothCSEError, match=f"in use by process {other.pid} on .*; wait until it ends"):
            call(ten, tmp_path / "out")
        other.communicate()
    call(ten, tmp_path / "out")


# ---- interruptions ------------------------------------------------------------------------------------------------


class Interruptions:
    """Interrupts before each training, between it and its scoring, and in the comparison, once each."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.met: set[str] = set()
        train, compare = in_process.train, tryout.compare_probe

        def trained(config, **options):
            name = Path(config.output).name
            self.once(f"before {name}")
            train(config, **options)
            if not name.startswith("0-"):  # the costs are measured anew
                self.once(f"after {name}")

        def compared(before, after):
            self.once("comparing")
            return compare(before, after)

        patch.setattr(in_process, "train", trained)
        patch.setattr(tryout, "compare_probe", compared)

    def once(self, place: str) -> None:
        if place not in self.met:
            self.met.add(place)
            raise KeyboardInterrupt


def test_an_adaptation_interrupted_everywhere_ends_like_one_that_was_not(call, finished, many, tmp_path, monkeypatch):
    monkeypatch.setattr(Verdict, "keeps_start", False)
    interruptions, output = Interruptions(monkeypatch), tmp_path / "out"
    while True:
        interrupted = len(interruptions.met)
        try:
            found = call(many, output)
            break
        except KeyboardInterrupt:
            assert len(interruptions.met) == interrupted + 1
        if (file := output / "trials.jsonl").is_file():
            with file.open("a") as trials:
                trials.write('{"candidate": "sent')  # as a full disk would have left it
    assert len(interruptions.met) == 4 + 3 + 1
    expected = finished.record
    assert untimed(found.record.trials) == untimed(expected.trials)
    assert untimed_verdict(found.record.verdict) == untimed_verdict(expected.verdict)
    assert found.record.selected == expected.selected
    assert fingerprint(load_encoder(found.model)) == fingerprint(load_encoder(finished.model))


def test_the_start_can_be_a_run_folder(call, finished, many, tmp_path, monkeypatch):
    """It is read from its best step, and trained from there."""
    shutil.copytree(finished.model, tmp_path / "run" / "best")
    (tmp_path / "run" / "run.json").write_text("{}")
    found = []

    def train(config, **_):
        found.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(in_process, "train", train)
    with pytest.raises(KeyboardInterrupt):
        call(many, tmp_path / "out", model=str(tmp_path / "run"))
    assert found[0].model == str(tmp_path / "run" / "best")
    assert found[0].pooling is None  # its own


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_signal_says_how_to_continue_the_adaptation(overwrite, call, many, tmp_path, monkeypatch):
    def stop(config, **_):
        raise Stopped("The run in x stopped on SIGINT; continue with --resume.", 2)

    monkeypatch.setattr(in_process, "train", stop)
    again = "again without --overwrite to" if overwrite else "again to"  # with it, all would begin anew
    with pytest.raises(Stopped, match=f"was interrupted; give the same command {again} continue it") as stopped:
        call(many, tmp_path / "out", overwrite=overwrite)
    assert stopped.value.exit_code == 130


def test_a_full_disk_in_a_trial_says_how_to_continue_the_adaptation(call, many, tmp_path, monkeypatch):
    def fill(config, **_):
        with explain_failed_writes(folder := Path(config.output)):
            folder.mkdir(parents=True)
            (folder / "run.json").write_text("{}")  # the run could be resumed
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(in_process, "train", fill)
    with pytest.raises(
        SmoothCSEError, match=r"No space left .* Free some space .*, then give the same command again."
    ):
        call(many, tmp_path / "out")


def interrupted(copied: Path, **changes: str) -> dict[str, bytes]:
    """Turn a finished adaptation into one that can be continued, with other entries in its request."""
    request = json.loads((copied / "request.json").read_text())
    (copied / "request.json").write_text(json.dumps({**request, **changes}))
    (copied / "adapt.json").unlink()
    return contents(copied)


def test_the_same_documents_may_be_spelled_differently(call, copied, finished, many, monkeypatch):
    monkeypatch.chdir(many.parent)
    for spelling in (many.name, f"./{many.name}", f"../{many.parent.name}/{many.name}"):
        assert call(Path(spelling), copied).record == finished.record
        assert call(spelling, copied).record == finished.record


def test_a_model_that_changed_is_not_mixed_with_trials_from_another(call, copied, many, tiny_bert):
    """The trials would have been trained from other weights than those that they are compared with."""
    before = interrupted(copied, model_fingerprint="0" * 32)
    now = fingerprint(load_encoder(tiny_bert))
    with pytest.raises(SmoothCSEError, match=rf"has changed \(fingerprint 0+, now {now}\) since the adaptation in"):
        call(many, copied)
    assert contents(copied) == before


def test_documents_that_changed_are_not_mixed_with_trials_on_others(call, copied, many, tmp_path, tiny_bert):
    """Other documents would be held out, among them some that the trials have learned from."""
    changed = save(tmp_path / "docs.jsonl", documents(87))
    before = interrupted(copied, documents=str(changed))
    with pytest.raises(SmoothCSEError, match=r"The documents have changed since the adaptation in .* was started"):
        call(changed, copied)
    assert contents(copied) == before


# ---- keep your model ----------------------------------------------------------------------------------------------


def test_ten_documents_hand_the_start_back(call, ten, tmp_path, tiny_bert):
    found = call(ten, tmp_path / "out")
    assert found.record.summary.startswith("Keep your model: only 2 held-out documents can be asked for")
    assert (found.record.adapted, found.record.trials, found.record.verdict) == (False, [], None)
    assert fingerprint(load_encoder(found.model)) == fingerprint(load_encoder(tiny_bert))
    assert read_search_settings(found.model) == SearchSettings(cosine_weight=found.record.cosine_weight)


def test_random_text_hands_the_start_back_bit_for_bit(kept, finished, tiny_bert):
    assert kept.record.summary.startswith("Keep your model: no gain was established on 20 held-out documents")
    assert not kept.record.adapted
    assert fingerprint(load_encoder(kept.model)) == fingerprint(load_encoder(tiny_bert))
    assert kept.record.trials == finished.record.trials  # nothing was trained again


def test_text_that_the_encoder_was_trained_on_hands_the_start_back(call, finished, many, tmp_path):
    found = call(many, tmp_path / "out", model=str(finished.model))
    assert found.record.summary.startswith("Keep your model: no gain was established on 20 held-out documents")
    assert fingerprint(load_encoder(found.model)) == fingerprint(load_encoder(finished.model))


def test_half_of_the_titles_and_broken_files_are_no_obstacle(call, tmp_path, tiny_bert):
    folder = tmp_path / "docs"
    folder.mkdir()
    save(folder / "rows.jsonl", documents(10), [f"cat {n}" if n % 2 else None for n in range(10)])
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    save_pdf(folder / "locked.pdf", ["the cat"], password="secret")
    record = call(folder, tmp_path / "out").record
    assert record.documents["skipped"] == {"password-protected": 1, "unreadable": 1}
    assert "broken.pdf" in " ".join(record.documents["notes"])
    assert record.summary.startswith("Keep your model")


# ---- mistakes -----------------------------------------------------------------------------------------------------


def other_labels(folder: Path) -> Path:
    rows = [{"query": f"cat {n}", "document": f"nobody wrote {n}"} for n in range(5)]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "labels.jsonl"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{ten}", "--minutes", "0"], "minutes is 0.0, but input should be greater than 0"),
        (["{ten}", "--minutes", "-3"], "minutes is -3.0, but input should be greater than 0"),
        (["{ten}", "--minutes", "nan"], "minutes is nan, but input should be a finite number"),
        (["{many}", "--minutes", "0.0001"], "--minutes 0.0001 is too short: 0 seconds are left"),
        (["{many}", "--minutes", "0.0001"], "give --minutes 1 or more, or a smaller --max-tokens"),
        (["nowhere"], "nowhere"),
        (["{ten}", "--model", "no/model"], "no/model is neither a folder"),
        (["{ten}", "--dev", "{labels}"], "labels.jsonl"),
        (["{ten}", "--dev", "{here}/no.jsonl"], "no.jsonl do not exist"),
        (["{ten}", "--general", "{here}"], "STS"),
        (["{ten}", "--max-tokens", "3"], "max_tokens is 3, but input should be greater than or equal to 16"),
        (["{ten}", "--precision", "fp8"], "precision is 'fp8', but input should be 'auto', 'fp32' or 'bf16'"),
        (["{ten}", "--column", "body"], "no column 'body'"),
        (["{words}"], "0 of 20 documents can be held out to probe with"),
        (["{equal}"], "only one distinct passage is left"),
        (["{ten}", "--output", "{ten}/out"], "Not a directory"),
        (["{ten}", "--output", "{ten}"], "File exists"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_blocks_no_second_try(
    arguments, message, call, ten, many, tiny_bert, tmp_path, monkeypatch, capfd
):
    places = {
        "ten": ten,
        "many": many,
        "here": tmp_path,
        "labels": other_labels(tmp_path),
        "words": save(tmp_path / "words.jsonl", sorted(set(WORDS.split()))[:20]),
        "equal": save(tmp_path / "equal.jsonl", documents(1) * 20),
    }
    given = [argument.format(**places) for argument in arguments]
    defaults = {"--model": tiny_bert, "--output": str(tmp_path / "out"), "--precision": "fp32"}
    given += [part for name, value in defaults.items() if name not in given for part in (name, value)]
    monkeypatch.setattr(sys, "argv", ["smoothcse", "adapt", *given])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    said = capfd.readouterr().err
    assert leaving.value.code == 2
    assert "Traceback" not in said
    [sentence] = [line for line in said.splitlines() if line.startswith("smoothcse: ")]
    assert message in sentence
    assert call(ten, tmp_path / "out").record.summary.startswith("Keep your model")


@pytest.mark.slow
def test_a_multilingual_encoder_adapts_to_text_without_spaces(call, tmp_path):
    characters, generator = "天気学校公園電車駅本猫犬山川海空花森町人車道家店", random.Random(0)
    texts = ["".join("".join(generator.choices(characters, k=9)) + "。" for _ in range(4)) for _ in range(86)]
    start = save_tiny_model(tmp_path / "start", "xlm-roberta", text=f"{characters}。")
    result = call(save(tmp_path / "docs.jsonl", texts), tmp_path / "out", model=start, language="zh")
    assert {trial.candidate for trial in result.record.trials} == {"sentence", "dropout"}
    assert SentenceTransformer(str(result.model), device="cpu").tokenizer.tokenize("天花") == ["天", "花"]
