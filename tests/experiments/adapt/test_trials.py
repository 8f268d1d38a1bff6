"""The trials of an adaptation are recorded, and the best of them keeps its model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from smoothcse.experiments.adapt import candidates as candidates_module
from smoothcse.experiments.adapt import trials as module
from smoothcse.experiments.adapt.candidates import Candidate
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.experiments.adapt.trials import Trials
from smoothcse.runs.folder import RunFolder
from smoothcse.training.selection import Criterion

CANDIDATES = [Candidate(name, "", {"views": "dropout"}) for name in "abc"]


@pytest.fixture
def begin(tmp_path, tiny_bert, monkeypatch):
    """Return a function that begins or continues trials whose scores are given, and training that only saves."""

    def train(plan, workers, *, replace):
        folder = plan.folder_of(plan.runs[0])
        for model in (folder.last, folder.best):
            model.mkdir(parents=True, exist_ok=True)
        return [SimpleNamespace(step_seconds=0.5, last=given[folder.path.name])]

    given: dict[str, float] = {}
    monkeypatch.setattr(module, "run_plan", train)
    monkeypatch.setattr(module, "added_pooling", lambda start, name: "mean")
    request = AdaptRequest(documents="docs", model=tiny_bert, output=str(tmp_path))
    material = SimpleNamespace(training_file=Path("text.jsonl"), passages=20, titled=9, max_length=32)

    def of(scores: dict[str, float]) -> Trials:
        given.clear()
        given.update(scores)
        return Trials(request, material, None, Criterion("probe", lambda model: {}), 30.0)

    return of


def models(trials):
    return sorted(path.name for path in trials.folder.iterdir() if RunFolder(path).last.is_dir())


def test_a_batch_is_no_larger_than_the_texts_that_a_candidate_can_use(begin):
    """Untitled passages are left out of pairs with titles."""
    trials = begin({})
    sizes = {each.needs_titles: trials._config(each, 10).batch_size for each in candidates_module.CANDIDATES}
    assert sizes == {True: 9, False: 20}


def test_only_the_best_trial_keeps_its_model(begin):
    trials = begin({"0-a": 99, "1-a": 40, "1-b": 42, "1-c": 42, "2-b": 41})
    kept = []
    for candidate, number in ((0, 0), (0, 1), (1, 1), (2, 1), (1, 2)):
        trials.run(CANDIDATES[candidate], number, 10 * (number + 1))
        kept.append(models(trials))
        assert not list(trials.folder.glob("*/best"))
    assert kept == [["0-a"], ["1-a"], ["1-b"], ["1-b"], ["1-b"]]  # of equal scores, the first
    assert trials.best().run_name == "1-b"


def test_what_is_recorded_is_not_repeated(begin, tmp_path):
    first = begin({"1-a": 40, "1-b": 41})
    done = [first.run(candidate, 1, 10) for candidate in CANDIDATES[:2]]
    file = tmp_path / "trials.jsonl"
    file.write_text(file.read_text() + '{"candidate": "c", "rou')
    again = begin({"1-c": 42})  # a score of the others would be missing
    assert [again.run(candidate, 1, 10) for candidate in CANDIDATES[:2]] == done
    again.run(CANDIDATES[2], 1, 10)
    assert begin({}).done == again.done
    assert len(file.read_text().splitlines()) == 3


def test_small_corpora_have_small_batches(begin):
    assert begin({})._config(CANDIDATES[0], 10).batch_size == 20
