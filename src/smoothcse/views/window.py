"""A random window of a long text, so that the time of a draw does not grow with the text."""

from __future__ import annotations

import re
from random import Random

from smoothcse.views.row_random import below

LONGEST = 1 << 15
"""Characters of a window: about 8,000 tokens of English, more than most encoders read."""

_FIRST_WORD = re.compile(r"\A\S*\s")
_LAST_WORD = re.compile(r"\s\S*\Z")


def window(text: str, random: Random) -> str:
    """Return a text, or a window of one that has more than ``LONGEST`` characters.

    A window starts and ends between words where it has white space. Its first and last sentence may be cut.

    Args:
        text: Text.
        random: Random generator; a text that is short enough takes no number from it.
    """
    if len(text) <= LONGEST:
        return text
    start = below(random, len(text) - LONGEST + 1)
    cut = text[start : start + LONGEST]
    if start:
        cut = _FIRST_WORD.sub("", cut)
    if start + LONGEST < len(text):
        cut = _LAST_WORD.sub("", cut)
    return cut.strip() or text  # a blank window has no views
