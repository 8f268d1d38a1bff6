"""A deprecation in our own code fails the test that reaches it; one in another library does not."""

from __future__ import annotations

import warnings

import pytest


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning, PendingDeprecationWarning])
@pytest.mark.parametrize("module", ["smoothcse", "smoothcse.corpus.load"])
def test_a_deprecation_of_ours_is_an_error(category, module):
    with pytest.raises(category):
        warnings.warn_explicit("gone in the next release", category, "a.py", 1, module=module)


def test_a_deprecation_of_another_library_is_none():
    warnings.warn_explicit("gone in the next release", DeprecationWarning, "a.py", 1, module="torch.nn")
