"""The probe decides whether MaxSim is worth its time: on whole documents of the judging half, for one model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from test_judge import documents
from test_verdict import GAIN, LOSS, OPEN, verdict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.fusion import fuse
from smoothcse.evaluation.maxsim import first_candidates, late_interaction, rerank
from smoothcse.evaluation.probe import make_probe
from smoothcse.evaluation.ranking import best_ranks
from smoothcse.evaluation.retrieval import cosine_blocks
from smoothcse.experiments.adapt import maxsim_gain
from smoothcse.experiments.adapt.judge import Judge
from smoothcse.experiments.adapt.maxsim_gain import measure_maxsim, try_maxsim
from smoothcse.experiments.adapt.show import Progress, _table
from smoothcse.experiments.adapt.verdict import MaxSimComparison


def test_fused_and_reranked_are_compared_document_by_document(tiny_bert, monkeypatch):
    monkeypatch.setattr(maxsim_gain, "MOST_QUERIES", 8)
    monkeypatch.setattr(first_candidates, "__defaults__", (4,))
    model, judge = load_encoder(tiny_bert, "mean"), Judge(make_probe(documents(30), held_out=16))
    scores = judge.score(model, "fp32")
    found = measure_maxsim(model, scores, "fp32")
    rows = sorted(judge.queries("judging"), key=lambda row: (judge.relevant[row], row))[:8]
    queries, texts = [judge.task.queries[row] for row in rows], judge.task.documents
    cosines = np.concatenate(list(cosine_blocks(*scores.embeddings)))[rows]
    fused = fuse(cosines, judge.bm25.scores(queries), scores.cosine_weight)
    candidates = first_candidates(fused, 4)
    reranked = rerank(fused, candidates, late_interaction(model, queries, texts, candidates))
    means = []
    for by in (fused, reranked):
        of_document: dict[int, list[float]] = {}
        for row, rank in zip(rows, best_ranks(by, judge.relevant[rows][:, None]), strict=True):
            of_document.setdefault(int(judge.relevant[row]), []).append(100 / rank)
        means.append([np.mean(values) for values in of_document.values()])
    assert (found.before, found.after) == pytest.approx(tuple(map(np.mean, means)))
    assert (found.queries, found.difference.n) == (8, len(means[0]))
    assert found.difference.mean == pytest.approx(found.after - found.before)
    assert found.milliseconds > 0


def test_without_time_or_tokens_nothing_is_measured_and_the_reason_is_printed():
    tokenizer = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    for seconds, reason in ((0, "the time budget is used up"), (60, "the model has no token embeddings")):
        console = Console(record=True, width=100)
        assert try_maxsim(static, None, "fp32", Progress(console, seconds)) is None
        assert f"MaxSim was not measured: {reason}." in console.export_text()


@pytest.mark.parametrize(
    ("difference", "milliseconds", "rerank", "says"),
    [
        (
            GAIN,
            25,
            "maxsim",
            "Searches are reranked by MaxSim (--rerank none leaves it out): MRR +4.00 [+1.00, +7.00] for 25 ms per "
            "query.",
        ),
        (
            GAIN,
            501,
            "none",
            "--rerank maxsim is better but too slow to be the default: MRR +4.00 [+1.00, +7.00] for 501 ms per query.",
        ),
        (OPEN, 25, "none", "--rerank maxsim is not worth its 25 ms per query: MRR +1.00 [-2.00, +4.00]."),
        (LOSS, 25, "none", "--rerank maxsim is not worth its 25 ms per query: MRR -4.00 [-7.00, -1.00]."),
    ],
)
@pytest.mark.parametrize("alone", [GAIN, OPEN])
def test_the_verdict_says_whether_it_is_worth_it(difference, milliseconds, rerank, says, alone):
    without = verdict(alone, GAIN)
    maxsim = MaxSimComparison(60.0, 60.0 + difference.mean, difference, 90, float(milliseconds))
    with_maxsim = replace(without, maxsim=maxsim)
    assert (without.rerank, with_maxsim.rerank) == ("none", rerank)
    assert with_maxsim.sentence() == f"{without.sentence()} {says}"
    assert with_maxsim.keeps_start is without.keeps_start
    console = Console(record=True, width=140)
    console.print(_table(with_maxsim))
    [row] = [line for line in console.export_text().splitlines() if "MaxSim" in line]
    assert f"both, then MaxSim ({milliseconds} ms per query, 90 queries)" in row
    assert f"{60 + difference.mean:.1f}" in row
    assert f"{difference} to both" in row
