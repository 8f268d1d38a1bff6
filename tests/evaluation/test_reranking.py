"""Two stages are the fused ranking, and the same with its first documents reordered, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation import ranking
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import fuse
from smoothcse.evaluation.maxsim import first_candidates, late_interaction, rerank
from smoothcse.evaluation.reranking import rerank_fused
from smoothcse.evaluation.retrieval import RetrievalTask, cosine_blocks, embed_task
from tiny import sentences


@pytest.mark.parametrize("scores_in_memory", [1 << 24, 60])
def test_blocks_of_queries_do_not_affect_the_ranks(tiny_bert, monkeypatch, scores_in_memory):
    monkeypatch.setattr(ranking, "_MOST_SCORES", scores_in_memory)  # 60: three queries at a time
    monkeypatch.setattr(first_candidates, "__defaults__", (5,))
    model, texts = load_encoder(tiny_bert, "mean"), sentences(20)
    task = RetrievalTask("task", [text[:25] for text in texts[:8]], texts, np.arange(8))
    bm25, embeddings = BM25(texts), embed_task(model, task)
    found = rerank_fused(model, task, embeddings, bm25, 0.6)
    scores = fuse(np.concatenate(list(cosine_blocks(*embeddings))), bm25.scores(task.queries), 0.6)
    candidates = first_candidates(scores, 5)
    late = late_interaction(model, task.queries, texts, candidates)
    for ranked, by in ((found.fused, scores), (found.reranked, rerank(scores, candidates, late))):
        assert ranked.ranks.tolist() == ranking.best_ranks(by, task.relevant[:, None]).tolist()
    assert found.milliseconds > 0
