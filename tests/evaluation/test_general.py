"""General quality: the average of fixed samples of the seven STS tasks."""

from __future__ import annotations

from statistics import fmean

import pytest

from smoothcse import SmoothCSEError
from smoothcse.encoders.build import build_encoder
from smoothcse.evaluation.general import general_quality
from smoothcse.evaluation.sts import SEVEN_STS, evaluate_sts
from smoothcse.evaluation.sts_tasks import files_of, load_task, sample_pairs
from sts_files import sts_file, write


def test_the_average_of_fixed_samples(tiny_bert, tmp_path):
    for number, path in enumerate(path for name in SEVEN_STS for path in files_of(name)):
        write(tmp_path / "sts" / path, sts_file(path, number))
    model = build_encoder(tiny_bert, device="cpu")
    score = general_quality(model, tmp_path, pairs=8)
    assert tuple(score.metrics) == SEVEN_STS
    assert (score.rows, score.diagnosis) == (7 * 8, None)
    assert score.main == pytest.approx(fmean(score.metrics.values()))
    [sts16] = evaluate_sts(model, [sample_pairs(load_task(tmp_path / "sts", "STS16"), 8)])
    assert score.metrics["STS16"] == pytest.approx(sts16.main, abs=1e-3)
    assert general_quality(model, tmp_path, pairs=8) == score
    assert general_quality(model, tmp_path, pairs=8, seed=1).metrics != score.metrics


def test_missing_data_is_one_sentence(tiny_bert, tmp_path):
    with pytest.raises(SmoothCSEError, match="STS12"):
        general_quality(build_encoder(tiny_bert, device="cpu"), tmp_path)
