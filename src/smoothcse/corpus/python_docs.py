"""The built-in corpus: the documentation that comes with the Python running this code.

Nothing is stored and nothing is downloaded. The docstrings of the standard library are read from its source
files (parsed, never imported) and from its compiled modules; the language reference is read from
``pydoc_data.topics``. The texts are therefore those of the running Python: the same on every call, slightly
different between versions.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from smoothcse.errors import SmoothCSEError


@dataclass(frozen=True)
class Docstring:
    """One documented object of the standard library.

    Attributes:
        name: Dotted name, such as ``"time.sleep"``; built-ins go without their module: ``"str.split"``.
        text: The docstring, dedented, without the call signature that some compiled modules put first.
    """

    name: str
    text: str

    @property
    def is_public(self) -> bool:
        """Whether no part of the name is private; special methods such as ``__enter__`` are public."""
        return all(part.endswith("__") or not part.startswith("_") for part in self.name.split("."))

    @property
    def summary(self) -> str:
        """The first sentence of the prose; empty when there is none."""
        sentences = split_sentences(next(prose_paragraphs(self.text), ""))
        return sentences[0] if sentences else ""


@dataclass(frozen=True)
class DocPair:
    """The opening paragraph of a docstring and the prose that follows it.

    Attributes:
        name: Dotted public name of the documented object.
        query: The first paragraph, one line, without markup.
        document: All later prose paragraphs, joined by spaces.
    """

    name: str
    query: str
    document: str


def iter_docstrings() -> Iterator[Docstring]:
    """Yield the docstrings of the standard library, in a fixed order and without repeated texts.

    The first call reads for a few seconds; later calls in the same process are free.

    Raises:
        SmoothCSEError: This Python comes without the sources of its standard library.
    """
    return iter(_docstrings())


def iter_sentences() -> Iterator[str]:
    """Yield the distinct sentences of all docstrings, then those of the language reference.

    Raises:
        SmoothCSEError: This Python comes without the sources of its standard library.
    """
    return iter(_sentences())


@cache
def _sentences() -> tuple[str, ...]:
    texts = [docstring.text for docstring in _docstrings()] + _reference_topics()
    found = (s for text in texts for paragraph in prose_paragraphs(text) for s in split_sentences(paragraph))
    return tuple(dict.fromkeys(s for s in found if _is_sentence(s)))


def labelled_pairs() -> list[DocPair]:
    """Return (first paragraph, remaining prose) of the docstrings that have both: retrieval with real labels.

    The author of the docstring is the labeller: a summary and the details after it are about the same object.
    What makes the task honest:

    * The name of the object is in neither side, unless the prose itself uses it.
    * A document that contains its query word for word is dropped: string matching would find it.
    * No two queries or documents are the same up to case and punctuation (the first is kept): a query has no
      second right answer in the same words. Near-duplicates stay; they are the hard part of the task.
    * A query has at least 4 words and a document 8: nobody can say what "Constructor." or "Non-standard."
      belongs to. No document is shortened; how much of it is read is the model's business.
    * Private objects are left out: their docstrings speak to those who have the code before them.

    The same prose is in `iter_sentences`. A model trained on those sentences has seen the texts, not which
    belongs to which, so a gain here is a gain on the domain it was trained on.

    Raises:
        SmoothCSEError: This Python comes without the sources of its standard library.
    """
    return list(_labelled_pairs())


@cache
def _labelled_pairs() -> tuple[DocPair, ...]:
    pairs: list[DocPair] = []
    seen: set[str] = set()
    for pair in (_as_pair(docstring) for docstring in _docstrings() if docstring.is_public):
        query, document = _fold(pair.query), _fold(pair.document)
        if _is_informative(query, document) and seen.isdisjoint({query, document}):
            seen |= {query, document}
            pairs.append(pair)
    return tuple(pairs)


def _as_pair(docstring: Docstring) -> DocPair:
    query, *details = [*prose_paragraphs(docstring.text)] or [""]
    return DocPair(docstring.name, query, " ".join(details))


def _is_informative(query: str, document: str) -> bool:
    return len(query.split()) >= 4 and len(document.split()) >= 8 and query not in document


def _fold(text: str) -> str:
    """Lower-case words of a text, the key under which two texts count as the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


# ----------------------------------------------------------------------------------------------------------
# Where docstrings come from
# ----------------------------------------------------------------------------------------------------------

# Not the library's own, made for somebody else, or (encodings) one sentence generated a hundred times.
_SKIPPED_FOLDERS = """
    site-packages dist-packages test tests idlelib lib2to3 turtledemo __phello__ encodings pydoc_data __pycache__
"""

# Compiled modules carry docstrings that exist only after import. Importing is limited to this list because it
# runs code: these only define names. Left out on purpose: readline (writes to the terminal), _tkinter (loads
# Tk), _asyncio and _zoneinfo (import whole packages), everything made for CPython's own tests.
_COMPILED_MODULES = """
    builtins sys time math cmath itertools _functools _operator _collections _io posix nt _socket _thread
    _signal _codecs _string _struct _random _bisect _heapq _statistics _datetime _decimal _json _csv _pickle
    _sre _ssl _hashlib _blake2 _sha3 _bz2 _lzma zlib binascii _sqlite3 _elementtree pyexpat _ctypes _curses
    _curses_panel _queue _contextvars _locale _tracemalloc _warnings _weakref _abc array atexit faulthandler
    fcntl gc grp marshal mmap pwd resource select syslog termios unicodedata audioop msvcrt winreg winsound
"""

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_PUBLIC_NAMES = {
    "_blake2": "hashlib",
    "_collections_abc": "collections.abc",
    "_curses_panel": "curses.panel",
    "_elementtree": "xml.etree.ElementTree",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_sha3": "hashlib",
    "_sre": "re",
    "_thread": "_thread",
    "nt": "os",
    "posix": "os",
    "pyexpat": "xml.parsers.expat",
}


@cache
def _docstrings() -> tuple[Docstring, ...]:
    library = Path(sysconfig.get_path("stdlib"))
    sources = list(_source_docstrings(library))
    if not sources:
        raise SmoothCSEError(
            f"The built-in corpus needs the sources of Python's standard library and {library} has none with "
            "docstrings: use a full Python build, or give a text file as the corpus."
        )
    unique: dict[str, Docstring] = {}
    # Compiled modules first: their objects are re-exported under other names, and built-ins own theirs.
    for docstring in (*_compiled_docstrings(), *sources):
        if docstring.text:
            unique.setdefault(docstring.text, docstring)
    return tuple(unique.values())


def _source_docstrings(library: Path) -> Iterator[Docstring]:
    skipped = set(_SKIPPED_FOLDERS.split())
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if skipped.isdisjoint(parts):
            yield from _tree_docstrings(_parse(path), _module_name(parts))


def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are not our user's business
        return ast.parse(path.read_bytes(), str(path))


def _module_name(parts: tuple[str, ...]) -> str:
    """Public dotted name of a source file: ``pathlib/_local`` is ``pathlib``, ``_pyio`` is ``io``."""
    top, *inner = parts
    return ".".join([_public_name(top), *(part for part in inner if not part.startswith("_"))])


def _public_name(module: str) -> str:
    return _PUBLIC_NAMES.get(module) or (module if module.startswith("__") else module.removeprefix("_"))


def _tree_docstrings(node: ast.AST, name: str) -> Iterator[Docstring]:
    if isinstance(node, ast.Module | _Definition):
        yield Docstring(name, _without_signature(ast.get_docstring(node) or ""))
    for child in ast.iter_child_nodes(node):
        inner = f"{name}.{child.name}" if isinstance(child, _Definition) else name
        if isinstance(child, ast.stmt | ast.excepthandler):  # expressions hold no docstrings and are most nodes
            yield from _tree_docstrings(child, inner)


def _compiled_docstrings() -> Iterator[Docstring]:
    for name in _COMPILED_MODULES.split():
        if module := _import_or_none(name):
            yield from _object_docstrings(module, "" if name == "builtins" else _public_name(name))


def _import_or_none(name: str) -> ModuleType | None:
    with suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few modules announce their retirement when imported
        return importlib.import_module(name)
    return None  # not built for this platform or version


def _object_docstrings(owner: ModuleType | type, name: str) -> Iterator[Docstring]:
    """Docstrings of a compiled module or class and of its public routines, attributes and classes."""
    yield Docstring(name or "builtins", _without_signature(_doc(owner)))
    for key, member in _public_members(owner):
        inner = f"{name}.{key}".removeprefix(".")
        if inspect.isclass(member):
            yield from _object_docstrings(member, inner)
        elif inspect.isroutine(member) or inspect.isdatadescriptor(member):
            yield Docstring(inner, _without_signature(_doc(member)))


def _public_members(owner: ModuleType | type) -> Iterator[tuple[str, object]]:
    """Yield names and values, aliases last, without what shells and test runners put there since the start."""
    members = vars(owner)
    for key in sorted(members, key=lambda key: (getattr(members[key], "__name__", key) != key, key)):
        # sys.excepthook and its like are there to be replaced; the original is sys.__excepthook__.
        member = members.get(f"__{key}__", members[key]) if key.endswith("hook") else members[key]
        if not key.startswith("_") and not inspect.isfunction(member):
            yield key, member


def _doc(documented: object) -> str:
    doc = getattr(documented, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


_SIGNATURE = re.compile(
    r"""\A[\w.]+\((?:[^()]|\([^()]*\))*\)      # a call: name(argument, ...)
        (?: \s*--?>.*(?:\n[ ].*)*(?:\n|\Z)     # -> what it returns, maybe over several lines
          | [ ]*:?[ ]*(?:\n|\Z)                # or nothing
          | [ ]+--?[ ]+ )                      # or a dash, and the prose goes on""",
    re.VERBOSE,
)


def _without_signature(text: str) -> str:
    while match := _SIGNATURE.match(text):
        text = text[match.end() :].lstrip()
    return inspect.cleandoc(text)


def _reference_topics() -> list[str]:
    """The chapters of the language reference that ``help()`` shows; some distributions leave them out."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return []
    return [topics[name] for name in sorted(topics)]


# ----------------------------------------------------------------------------------------------------------
# From marked-up text to prose
# ----------------------------------------------------------------------------------------------------------

_BULLET = re.compile(r"\s*(?:[*+•-]|\(?(?:\d{1,2}|[a-z])[.)])\s+(?=\S)")
_OPTION = re.compile(
    # "name -- meaning", "name : type", "name: meaning", "-v", ":param name:", a bare "Args:"
    r"\S+(?: \S+)? --? |\S+ : |[a-z_*]\S*: |[-@:]\S|\w+(?: \w+)?:$"
)
_HEADING_RULE = re.compile(r"\s*([=\-*~^#\"+.`])\1{2,}[\s=|+-]*")
_WORD = re.compile(r"[\"'(\[“‘]*[A-Za-z]+(?:['’/-][A-Za-z]+)*[\"')\]”’]*[.,;:!?]*[\"')\]”’]*")


def prose_paragraphs(text: str) -> Iterator[str]:
    """Yield the prose of a docstring: one unwrapped paragraph at a time, without markup.

    Left out: doctests, literal blocks, directives, tables, headings, grammar, lists of options.

    Args:
        text: A dedented docstring, in reStructuredText or anything close to it.
    """
    for lines in _unwrapped_blocks(text):
        paragraph = strip_markup(" ".join(line.strip() for line in lines))
        if _is_prose(paragraph):
            yield paragraph


def _unwrapped_blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines of one paragraph at a time, outside literal blocks and directives."""
    literal_indent: int | None = None
    for block in re.split(r"\n\s*\n", text.expandtabs()):
        lines = _without_headings([line for line in block.split("\n") if line.strip()])
        indent = _indent(lines[0]) if lines else 0
        if not lines or (literal_indent is not None and indent > literal_indent):
            continue
        opens_literal = lines[-1].rstrip().endswith("::") or lines[0].lstrip().startswith("..")
        literal_indent = indent if opens_literal else None
        if not lines[0].lstrip().startswith(".."):
            yield from _paragraphs_of(lines)


def _without_headings(lines: list[str]) -> list[str]:
    rules = {i for i, line in enumerate(lines) if _HEADING_RULE.fullmatch(line)}
    return [line for i, line in enumerate(lines) if i not in rules and i + 1 not in rules]


def _paragraphs_of(lines: list[str]) -> Iterator[list[str]]:
    """Cut a block where the indentation changes or a bullet starts."""
    paragraph: list[str] = []
    hang = 0  # where the continuation lines of the current paragraph start
    for line in lines:
        if line.lstrip().startswith(">>>"):
            break  # a doctest goes on to the end of its block
        bullet = _BULLET.match(line)
        if bullet or _indent(line) != hang:
            yield paragraph
            paragraph = []
            hang = bullet.end() if bullet else _indent(line)
        paragraph.append(line[hang:])
    yield paragraph


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph is mostly plain words, and neither code, nor grammar, nor one of a list of options."""
    words = paragraph.split()
    if not words or "::=" in paragraph or ">>>" in paragraph or _OPTION.match(paragraph):
        return False
    return sum(_WORD.fullmatch(word) is not None for word in words) >= 0.7 * len(words)


_MARKUP = [
    (re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),  # :func:`name`, :ref:`text <target>`
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r"`([^`']+?)(?:\s*<[^`>]*>)?[`']_{0,2}"), r"\1"),  # `name`, `text <address>`_, `old quotes'
    (re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*]*[^\s*])\1(?![\w*])"), r"\2"),  # *emphasis*, **strong**
    (re.compile(r"\"([A-Za-z_][\w.]*(?:\(\))?)\""), r"\1"),  # how the language reference quotes code
    (re.compile(r"\s+\[(?:\d+|#\w*)\]_?(?=[\s.,;:)]|$)"), ""),  # footnote marks
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\s+"), " "),
]


def strip_markup(text: str) -> str:
    """Remove reStructuredText's inline markup and collapse white space; the words stay.

    >>> strip_markup("See :func:`time.sleep` and *args*; ``None`` means   forever.")
    'See time.sleep and args; None means forever.'
    """
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


# A full stop ends a sentence when white space and something that can begin one follow it ...
_BOUNDARY = re.compile(r"(?<=[.!?])(?<!\.\.\.)[\"')\]”’]*\s+(?=[\"'(\[“‘]*[A-Z])")
# ... unless it belongs to one of these, which never end one.
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|resp|viz|approx|Mr|Mrs|Dr|Fig|Sec)|(?:^|[\s(])[A-Z])\.$")


def split_sentences(paragraph: str) -> list[str]:
    """Split one unwrapped paragraph into sentences.

    Full stops inside names (``os.path``), numbers (3.11) and abbreviations (e.g., i.e., initials) do not
    split, nor does one that a lower-case letter follows: two sentences in one are better than half a one.

    >>> split_sentences("Use os.path, e.g. Path. It needs 3.11.")
    ['Use os.path, e.g. Path.', 'It needs 3.11.']
    """
    sentences: list[str] = []
    start = 0
    for boundary in _BOUNDARY.finditer(paragraph):
        if not _ABBREVIATION.search(paragraph[start : boundary.start()]):
            sentences.append(paragraph[start : boundary.end()].strip())
            start = boundary.end()
    return [*sentences, paragraph[start:].strip()] if paragraph[start:].strip() else sentences


# Headless or tailless pieces of tables and lists: a sentence opens with a capital or ends with a full stop.
_FRAGMENT = re.compile(r"(?![\"'(\[“‘]*[A-Z]).*[^.!?\"')\]’”]|.*[,;:]", re.DOTALL)


def _is_sentence(text: str) -> bool:
    """3 to 80 words, mostly plain ones: no bare names at one end, no run-on lists at the other."""
    return 3 <= len(text.split()) <= 80 and _is_prose(text) and not _FRAGMENT.fullmatch(text)
