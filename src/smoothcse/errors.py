"""The one exception that users are meant to see."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from itertools import islice

_LONGEST_MESSAGE = 4000  # characters: it may quote what a broken file holds
_MOST_NAMES = 1000  # compared with a slip
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\ufffd") | dict.fromkeys(map(ord, "\n\t"), " ")


class SmoothCSEError(Exception):
    """Something the user can mend.

    The message is one plain sentence (two at most): what is wrong, where (file, line, field), and what to do.
    The command line prints it without a traceback and exits with code 2; ``--debug`` shows the traceback.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # Names and values in it come from files, and must not drive the terminal that shows them.
        short = message if len(message) <= _LONGEST_MESSAGE else message[:_LONGEST_MESSAGE] + " ..."
        super().__init__(short.translate(_CONTROLS))


class Stopped(SmoothCSEError):
    """A run that was asked to stop and did, in good order; the exit code is the shell's for the signal.

    Args:
        message: what is kept and how to go on.
        signal_number: that asked for it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


FAILURE_FILE = "SMOOTHCSE_FAILURE_FILE"
"""Variable that names the file in which the ranks of a launched run leave the message of the first one to fail."""


def hand_over(error: SmoothCSEError) -> bool:
    """Leave an error to the process that launched this rank, which prints it once for all ranks.

    Args:
        error: Error that ends this process.

    Returns:
        Whether another process prints the error; False in a process that was not launched by another one.
    """
    file = os.environ.get(FAILURE_FILE)
    if not file:
        return False
    try:
        with open(file, "x", encoding="utf-8") as opened:
            opened.write(str(error))
    except FileExistsError:  # another rank failed first
        return True
    except OSError:
        return False
    return True


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or an empty string when none is close."""
    names = list(islice(known, _MOST_NAMES))
    begun = [other for other in names if len(name) > 2 and other.startswith(name)]
    close = begun or difflib.get_close_matches(name[:100], names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return names with commas between: the first few, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, to put another library's reason into our sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
