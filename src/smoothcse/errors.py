"""The exception that all expected errors raise, and helpers for its messages."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from itertools import islice

_LONGEST_MESSAGE = 4000  # characters; a message may quote a broken file
_MOST_NAMES = 1000  # names that did_you_mean compares
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\ufffd") | dict.fromkeys(map(ord, "\n\t"), " ")


class SmoothCSEError(Exception):
    """An error that the user can fix.

    The message is one plain sentence (two at most): what is wrong, where (file, line, field), and what to do.
    The command line prints it without a traceback and exits with code 2; ``--debug`` shows the traceback.

    Args:
        message: The message. Control characters are replaced, and anything beyond 4,000 characters is cut.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # The message may quote files. Their control characters must not reach the terminal.
        short = message if len(message) <= _LONGEST_MESSAGE else message[:_LONGEST_MESSAGE] + " ..."
        super().__init__(short.translate(_CONTROLS))


class Stopped(SmoothCSEError):
    """A run that stopped in good order because of a signal.

    The exit code is the one that shells use for the signal, 128 + ``signal_number``.

    Args:
        message: Message that says what was saved and how to continue.
        signal_number: Signal that stopped the run.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


FAILURE_FILE = "SMOOTHCSE_FAILURE_FILE"
"""Environment variable with the file that receives the error message of the first rank to fail."""


def hand_over(error: SmoothCSEError) -> bool:
    """Pass an error to the process that launched this rank, which prints it once for all ranks.

    Args:
        error: Error that ends this process.

    Returns:
        Whether another process prints the error. False if this process was not launched by another one.
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
    """Suggest a known name for an unknown one.

    Args:
        name: Unknown name.
        known: Known names.

    Returns:
        ``" Did you mean 'x'?"`` with the closest known name, or an empty string if none is close.
    """
    names = list(islice(known, _MOST_NAMES))
    begun = [other for other in names if len(name) > 2 and other.startswith(name)]
    close = begun or difflib.get_close_matches(name[:100], names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, separated by commas, and the number of those left out.

    Args:
        names: Names to list.
        most: Names to show at most. Default 5.
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class name if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
