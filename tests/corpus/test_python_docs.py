from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from smoothcse.corpus.python_docs import Docstring, docstrings, iter_docstrings, iter_sentences, labelled_pairs
from smoothcse.corpus.python_docs.prose import prose_paragraphs, split_sentences, strip_markup
from smoothcse.errors import SmoothCSEError


@pytest.mark.parametrize(
    ("marked_up", "plain"),
    [
        ("Use ``x = 1`` here.", "Use x = 1 here."),
        ("See :func:`time.sleep` and :py:class:`~os.PathLike`.", "See time.sleep and os.PathLike."),
        ("See :ref:`the tutorial <tut-intro>` first.", "See the tutorial first."),
        ("See `the site <https://example.org>`_ and `name`.", "See the site and name."),
        ("Old quotes like `this' were common.", "Old quotes like this were common."),
        ("*width* is **always** positive.", "width is always positive."),
        ("Pass *args and **kwargs on.", "Pass *args and **kwargs on."),
        ("Calls f(*args, **kwds) and 2**3 * 4.", "Calls f(*args, **kwds) and 2**3 * 4."),
        ('The "assert" statement and "str.format()".', "The assert statement and str.format()."),
        ('It says "two words" aloud.', 'It says "two words" aloud.'),
        ("As proved elsewhere [1]_.", "As proved elsewhere."),
        ("The item x[1] is\n   the second.", "The item x[1] is the second."),
        ("It doesn't change an object's state.", "It doesn't change an object's state."),
    ],
)
def test_markup_is_stripped_and_words_stay(marked_up, plain):
    assert strip_markup(marked_up) == plain
    assert strip_markup(plain) == plain


@pytest.mark.parametrize(
    "sentences",
    [
        ["One ends.", "Another starts."],
        ["Is it?", "It is!", "Good."],
        ["Use os.path.join, not +.", "It needs Python 3.11."],
        ["Some names, e.g. Path, i.e. A class, are known.", "Others are not."],
        ["It waits for 0.5 seconds, etc.", "Then it returns."],
        ["By J. R. Hacker and Dr. Who."],
        ["He said (quietly.)", "Then nothing."],
        ['It is "final."', '"Never" is long.'],
        ["And so on ... More of it."],
        ["This ends. lower-case names may start a sentence."],
        ["No full stop at all"],
    ],
)
def test_sentences_are_split(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


def test_an_empty_paragraph_has_no_sentences():
    assert split_sentences("") == []


NOTHING_BUT_PROSE = """Open a window
that stays open.

The title
*****

Use it like this::

    window = open_window(title="x")

    window.close()

It can also be closed later.  For example:

>>> window.close()
Closed the window for good.

.. note::
   This directive is left out.

Options are:

    size -- the size of the window in pixels
    colour: the colour of the window

* The first item has its own
  continuation line.
* So has the second one.

    Args:
        title: The title of the window.

=====  ======
Size   Colour
=====  ======

window ::= "open" title
"""


def test_prose_is_kept_and_everything_else_left_out():
    assert list(prose_paragraphs(NOTHING_BUT_PROSE)) == [
        "Open a window that stays open.",
        "Use it like this:",
        "It can also be closed later. For example:",
        "The first item has its own continuation line.",
        "So has the second one.",
    ]


@pytest.mark.parametrize(
    "doc",
    [
        "sleep(seconds)\n\nWait for a while.",
        "sleep(seconds[, more]) -> None\n\nWait for a while.",
        "sleep(seconds, f=print(1)) --> (a, b,\n                      c)\n\nWait for a while.",
        "time.sleep(a) -> int\ntime.sleep(b) -> str\n\nWait for a while.",
        "sleep(seconds) -- Wait for a while.",
        "Wait for a while.",
    ],
)
def test_signature_lines_are_removed(doc):
    assert docstrings._without_signature(doc) == "Wait for a while."


def test_a_sentence_that_starts_with_a_call_is_not_a_signature():
    assert docstrings._without_signature("exit() raises SystemExit.") == "exit() raises SystemExit."


def test_summary_and_visibility_of_a_docstring():
    docstring = Docstring("os.PathLike.__fspath__", "Return the *path*. It is a string.\n\nMore.")
    assert docstring.summary == "Return the path."
    assert docstring.is_public
    assert not Docstring("os._walk", ">>> 1").is_public
    assert not Docstring("os.Path.__mangled", "").is_public
    assert Docstring("os._walk", ">>> 1").summary == ""


def test_docstrings_are_many_and_unique():
    texts = [docstring.text for docstring in iter_docstrings()]
    assert 5_000 < len(texts) < 20_000
    assert len(set(texts)) == len(texts)
    assert all(texts)


def test_docstrings_have_public_names():
    names = {docstring.name for docstring in iter_docstrings()}
    assert {"time.sleep", "str.split", "os.getcwd", "json.dumps", "itertools.chain", "socket.socket"} <= names
    assert not any(name.startswith(("test.", "idlelib", "pip.")) for name in names)


def test_compiled_functions_have_docstrings():
    [sleep] = [docstring for docstring in iter_docstrings() if docstring.name == "time.sleep"]
    assert sleep.summary == "Delay execution for a given number of seconds."
    assert sleep.summary in set(iter_sentences())


def test_sentences_are_prose():
    sentences = list(iter_sentences())
    assert 10_000 < len(sentences) < 40_000
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert not any(code in sentence for code in (">>>", "::=", "``", ":func:", "\n", "\t"))
        assert 3 <= len(sentence.split()) <= 80


def everything() -> list[str]:
    return [*iter_sentences(), *(str(pair) for pair in labelled_pairs())]


def test_another_process_reads_the_same_documentation():
    replaced = "import sys, time; sys.excepthook = time.sleep = lambda *given: None; "  # as shells and servers do
    code = replaced + "import json, test_python_docs; print(json.dumps(test_python_docs.everything()))"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parent)}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert other.returncode == 0, other.stderr
    here, there = everything(), json.loads(other.stdout)
    assert {*here} ^ {*there} == set()
    assert here == there


def test_the_pairs_satisfy_their_rules():
    pairs = labelled_pairs()
    assert 1_500 < len(pairs) < 6_000
    assert len({pair.query.lower() for pair in pairs}) == len(pairs)
    assert len({pair.document.lower() for pair in pairs}) == len(pairs)
    assert not any(pair.query in pair.document for pair in pairs)
    assert all(Docstring(pair.name, "").is_public for pair in pairs)


def test_the_caller_may_change_the_list_of_pairs():
    labelled_pairs().clear()
    assert labelled_pairs()


def test_source_names_are_public(tmp_path: Path):
    folder = tmp_path / "pathlib"
    folder.mkdir()
    (folder / "_local.py").write_text(
        'class Path:\n    "A path."\n    if True:\n        async def read(self):\n            "Read it."\n'
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_it.py").write_text('"Not wanted."')
    found = [docstring for docstring in docstrings._source_docstrings(tmp_path) if docstring.text]
    assert found == [Docstring("pathlib.Path", "A path."), Docstring("pathlib.Path.read", "Read it.")]


def test_a_python_without_sources_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(SmoothCSEError, match="needs the sources of Python's standard library"):
        docstrings._docstrings.__wrapped__()


def test_a_missing_language_reference_is_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert docstrings.reference_topics() == []
