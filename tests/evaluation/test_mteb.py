"""The field's benchmark runs a trained folder as it stands, and finds the figures that we find."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from smoothcse.evaluation.sts import STSTask, Subset, evaluate_sts
from smoothcse.training import make_config, train
from tiny import sentences

mteb = pytest.importorskip("mteb", reason="needs the extra 'dev'")

FIRST, SECOND = sentences(60, seed=1), sentences(60, seed=2)
GOLD = np.random.default_rng(0).uniform(0, 5, 60).tolist()


def local_task():
    """An STS task of mteb whose data is made here instead of fetched."""
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalSTS(AbsTaskSTS):
        metadata = TaskMetadata(
            name="LocalSTS",
            description="Made-up pairs",
            dataset={"path": "local/pairs", "revision": "1"},
            type="STS",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )

        def load_data(self, *arguments, **options):
            pairs = Dataset.from_dict({"sentence1": FIRST, "sentence2": SECOND, "score": GOLD})
            self.dataset, self.data_loaded = {"test": pairs}, True

    return LocalSTS()


def test_mteb_scores_a_trained_folder_as_we_do(minilm, corpus_file, tmp_path):  # a random model's cosines are all 1
    fields = {"corpus": str(corpus_file), "model": minilm, "output": str(tmp_path / "run")}
    result = train(make_config({**fields, "batch_size": 4, "max_steps": 1, "precision": "fp32"}))
    model = SentenceTransformer(str(result.last), device="cpu")

    [found] = mteb.evaluate(model, local_task(), cache=None, show_progress_bar=False, co2_tracker=False).task_results

    [ours] = evaluate_sts(model, [STSTask("local", (Subset("pairs", FIRST, SECOND, GOLD),))])
    [scores] = found.scores["test"]
    assert 100 * scores["cosine_spearman"] == pytest.approx(ours.metrics["spearman"], abs=1e-3)
    assert 100 * scores["cosine_pearson"] == pytest.approx(ours.metrics["pearson"], abs=1e-3)
