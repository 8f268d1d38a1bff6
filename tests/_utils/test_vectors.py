"""Unit rows, as arrays and as tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smoothcse._utils.vectors import unit_rows
from smoothcse.objectives.rows import at_least_float32
from smoothcse.objectives.rows import unit_rows as unit_rows_of_tensor

ROWS = np.array([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]])
UNIT = np.array([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_arrays_keep_their_precision_and_zeros_stay_zero(kind):
    found = unit_rows(ROWS.astype(kind))
    assert found.dtype == kind
    np.testing.assert_allclose(found[:2], UNIT[:2], rtol=1e-6)
    np.testing.assert_allclose(unit_rows(ROWS[0].astype(kind)), UNIT[0], rtol=1e-6)
    np.testing.assert_allclose(unit_rows(ROWS), UNIT)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_tensors_are_float32_at_least_and_zeros_stay_zero(kind, wanted):
    rows = torch.from_numpy(ROWS[:2]).to(kind)
    found = unit_rows_of_tensor(rows)
    assert found.dtype == at_least_float32(rows).dtype == wanted
    torch.testing.assert_close(found.double(), torch.from_numpy(UNIT[:2]), rtol=1e-6, atol=0)
    torch.testing.assert_close(unit_rows_of_tensor(rows[0]), found[0])
