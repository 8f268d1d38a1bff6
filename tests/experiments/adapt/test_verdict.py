"""The verdict hands the start back unless a gain is established."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smoothcse.evaluation.ranking import Ranking
from smoothcse.evaluation.retrieval import Rankings, RetrievalTask
from smoothcse.experiments.adapt.judge import Judge, ProbeScores
from smoothcse.experiments.adapt.verdict import BeforeAfter, LabelComparison, Verdict, compare_probe
from smoothcse.experiments.statistics import Difference

TINY = Difference(0.01, 0.002, 0.02, 100)
GAIN, LOSS, OPEN = Difference(4.0, 1.0, 7.0, 100), Difference(-4.0, -7.0, -1.0, 100), Difference(1.0, -2.0, 4.0, 100)


def verdict(alone: Difference, fused: Difference, labels: Difference | None = None) -> Verdict:
    def compared(difference: Difference) -> BeforeAfter:
        return BeforeAfter(40.0, 40.0 + difference.mean, difference)

    of_labels = labels and LabelComparison(40.0, 40.0 + labels.mean, labels, "own.jsonl", "MRR x 100", 50)
    return Verdict(38.0, compared(alone), compared(fused), 100, 200, [], [], labels=of_labels)


@pytest.mark.parametrize(
    ("alone", "fused", "labels", "keeps", "says"),
    [
        (GAIN, GAIN, None, False, "Adapted: MRR +4.00 [+1.00, +7.00] alone and +4.00 [+1.00, +7.00] fused"),
        (GAIN, OPEN, None, False, "fused with BM25 (the interval contains zero)"),
        (GAIN, LOSS, None, True, "Keep your model: fused with BM25 the adapted one is worse"),
        (OPEN, GAIN, None, True, "Keep your model: no gain was established on 100 held-out documents"),
        (LOSS, GAIN, None, True, "Keep your model: no gain was established"),
        (GAIN, GAIN, LOSS, True, "Keep your model: on your labels the adapted one is worse"),
        (OPEN, OPEN, GAIN, False, "; MRR x 100 +4.00 [+1.00, +7.00] on your labels."),
        (OPEN, LOSS, GAIN, False, "and -4.00 [-7.00, -1.00] fused with BM25, on 100 held-out documents"),
        (GAIN, OPEN, OPEN, False, "; MRR x 100 +1.00 [-2.00, +4.00] on your labels."),
        (OPEN, OPEN, OPEN, True, "Keep your model: no gain was established"),
        (TINY, GAIN, None, True, "[+0.00, +0.02]; less than 0.1 counts as none)"),
    ],
)
def test_the_start_is_kept_unless_a_gain_is_established(alone, fused, labels, keeps, says):
    found = verdict(alone, fused, labels)
    assert found.keeps_start is keeps
    assert says in found.sentence()


def judge_of(relevant: list[int]) -> Judge:
    judge = object.__new__(Judge)
    judge.task = RetrievalTask("probe", [f"q{n}" for n in range(len(relevant))], list("abcdefgh"), np.array(relevant))
    judge.relevant = judge.source = judge.task.relevant
    judge._queries = {"selecting": np.array([0, 1]), "judging": np.arange(2, len(relevant))}
    return judge


def scores_of(judge: Judge, cosine: list[int]) -> ProbeScores:
    ranking = Ranking(np.array(cosine), np.zeros(len(cosine)))
    same = Ranking(np.full(len(cosine), 2), np.zeros(len(cosine)))
    return ProbeScores(judge, 0.7, Rankings(cosine=ranking, bm25=same, fused=same))


def test_the_judging_half_is_compared_document_by_document():
    judge = judge_of([0, 1, 2, 2, 3, 4])
    before, after = scores_of(judge, [1, 1, 2, 4, 5, 1]), scores_of(judge, [9, 9, 1, 2, 5, 2])
    found = compare_probe(before, after)
    assert (found.documents, found.queries) == (3, 4)
    assert found.bm25 == pytest.approx(50)
    # Document 2: (1/2 + 1/4) / 2 before, (1 + 1/2) / 2 after; documents 3 and 4 have one query each.
    assert found.alone.before == pytest.approx(100 * (0.375 + 0.2 + 1) / 3)
    assert found.alone.after == pytest.approx(100 * (0.75 + 0.2 + 0.5) / 3)
    assert found.alone.difference.n == 3
    assert found.fused.difference.mean == 0


def test_the_documents_that_changed_most_are_named_once():
    judge = judge_of([0, 1, 2, 2, 3, 4])
    found = compare_probe(scores_of(judge, [1, 1, 2, 4, 5, 1]), scores_of(judge, [9, 9, 1, 2, 5, 2]))
    assert [(change.query, change.document, change.before, change.after) for change in found.risen] == [
        ("q2", "c", 2, 1)
    ]
    assert [(change.query, change.document) for change in found.fallen] == [("q5", "e")]


def test_a_comparison_without_an_interval_keeps_the_start():
    single = Difference(50.0, None, None, 1)
    assert replace(verdict(GAIN, GAIN), alone=BeforeAfter(0, 50, single)).keeps_start
