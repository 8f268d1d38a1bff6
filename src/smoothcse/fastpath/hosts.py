"""Tested versions of the host libraries; other versions use the plain path."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.specifiers import SpecifierSet

TESTED = {
    "torch": ">=2.8,<2.14",
    "transformers": ">=5.0,<5.24",
    "sentence-transformers": ">=6.2,<6.3",
}
"""Ranges in which tests/fastpath pass; tests/fastpath/test_canaries.py reports what another version changes."""


def untested_hosts() -> Iterator[str]:
    """Yield a sentence for each library whose installed version is outside its tested range."""
    for name, tested in TESTED.items():
        installed = metadata.version(name)
        if not SpecifierSet(tested).contains(installed, prereleases=True):
            yield (
                f"The fast path was tested with {name} {tested}, not with {installed}, and stays off: training gives "
                f"equally good models but takes longer. Install a tested version of {name} for speed."
            )
