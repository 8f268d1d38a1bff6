"""Docstrings of the standard library's sources and compiled modules, and the language reference."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from smoothcse.corpus.python_docs.prose import prose_paragraphs, split_sentences
from smoothcse.errors import SmoothCSEError

# Third-party code, tests and tools, and (encodings) one sentence that is generated a hundred times.
_SKIPPED_FOLDERS = """
    site-packages dist-packages test tests idlelib lib2to3 turtledemo __phello__ encodings pydoc_data __pycache__
"""

# The docstrings of compiled modules exist only after import. Importing runs code, so only these modules, which merely
# define names, are imported. Left out on purpose: readline (writes to the terminal), _tkinter (loads Tk), _asyncio and
# _zoneinfo (import whole packages), and everything made for CPython's own tests.
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


@dataclass(frozen=True)
class Docstring:
    """Docstring of one object of the standard library.

    Attributes:
        name: Dotted name, such as ``"time.sleep"``. Built-ins have no module: ``"str.split"``.
        text: Dedented docstring, without the call signature with which some compiled modules begin it.
    """

    name: str
    text: str

    @property
    def is_public(self) -> bool:
        """Whether the name has no private part; special methods such as ``__enter__`` are public."""
        return all(part.endswith("__") or not part.startswith("_") for part in self.name.split("."))

    @property
    def summary(self) -> str:
        """First sentence of the prose, or an empty string."""
        sentences = split_sentences(next(prose_paragraphs(self.text), ""))
        return sentences[0] if sentences else ""


def iter_docstrings() -> Iterator[Docstring]:
    """Yield the docstrings of the standard library, in a fixed order and without duplicates.

    The first call takes a few seconds; later calls in the same process return a cached result.

    Raises:
        SmoothCSEError: If the sources of the standard library are not installed.
    """
    return iter(_docstrings())


@cache
def _docstrings() -> tuple[Docstring, ...]:
    library = Path(sysconfig.get_path("stdlib"))
    sources = list(_source_docstrings(library))
    if not sources:
        raise SmoothCSEError(
            f"The built-in corpus needs the sources of Python's standard library, and {library} has none with "
            "docstrings: use a full Python installation, or give a text file as the corpus."
        )
    unique: dict[str, Docstring] = {}
    # Compiled modules come first, since source modules re-export their objects under other names.
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
        warnings.simplefilter("ignore")  # invalid escapes in old modules
        return ast.parse(path.read_bytes(), str(path))


def _module_name(parts: tuple[str, ...]) -> str:
    """Return the public dotted name of a source file: ``pathlib`` for ``pathlib/_local``, ``io`` for ``_pyio``."""
    top, *inner = parts
    return ".".join([_public_name(top), *(part for part in inner if not part.startswith("_"))])


def _public_name(module: str) -> str:
    return _PUBLIC_NAMES.get(module) or (module if module.startswith("__") else module.removeprefix("_"))


def _tree_docstrings(node: ast.AST, name: str) -> Iterator[Docstring]:
    if isinstance(node, ast.Module | _Definition):
        yield Docstring(name, _without_signature(ast.get_docstring(node) or ""))
    for child in ast.iter_child_nodes(node):
        inner = f"{name}.{child.name}" if isinstance(child, _Definition) else name
        if isinstance(child, ast.stmt | ast.excepthandler):  # expressions are most of the nodes, without docstrings
            yield from _tree_docstrings(child, inner)


def _compiled_docstrings() -> Iterator[Docstring]:
    """Read the compiled modules in a new interpreter, since shells, tests and servers replace some functions."""
    code = f"from {__name__} import print_compiled_docstrings; print_compiled_docstrings()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True).stdout
    return (Docstring(**fields) for fields in json.loads(printed))


def print_compiled_docstrings() -> None:
    """Print the docstrings of this interpreter's compiled modules as JSON."""
    found = [
        asdict(docstring)
        for name in _COMPILED_MODULES.split()
        if (module := _import_or_none(name))
        for docstring in _object_docstrings(module, "" if name == "builtins" else _public_name(name))
    ]
    sys.stdout.write(json.dumps(found))


def _import_or_none(name: str) -> ModuleType | None:
    with suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules warn when they are imported
        return importlib.import_module(name)
    return None  # not available on this platform or in this version


def _object_docstrings(owner: ModuleType | type, name: str) -> Iterator[Docstring]:
    """Yield the docstrings of a compiled module or class and of its public routines, attributes and classes."""
    yield Docstring(name or "builtins", _without_signature(_doc(owner)))
    for key, member in _public_members(owner):
        inner = f"{name}.{key}".removeprefix(".")
        if inspect.isclass(member):
            yield from _object_docstrings(member, inner)
        elif inspect.isroutine(member) or inspect.isdatadescriptor(member):
            yield Docstring(inner, _without_signature(_doc(member)))


def _public_members(owner: ModuleType | type) -> Iterator[tuple[str, object]]:
    """Yield names and values, aliases last."""
    members = vars(owner)
    for key in sorted(members, key=lambda key: (getattr(members[key], "__name__", key) != key, key)):
        if not key.startswith("_") and not inspect.isfunction(members[key]):
            yield key, members[key]


def _doc(documented: object) -> str:
    doc = getattr(documented, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


_SIGNATURE = re.compile(
    r"""\A[\w.]+\((?:[^()]|\([^()]*\))*\)      # a call: name(argument, ...)
        (?: \s*--?>.*(?:\n[ ].*)*(?:\n|\Z)     # followed by "->" and the return value, on one or more lines
          | [ ]*:?[ ]*(?:\n|\Z)                # or by the end of the line
          | [ ]+--?[ ]+ )                      # or by a dash and prose""",
    re.VERBOSE,
)


def _without_signature(text: str) -> str:
    while match := _SIGNATURE.match(text):
        text = text[match.end() :].lstrip()
    return inspect.cleandoc(text)


def reference_topics() -> list[str]:
    """Return the topics of the language reference that ``help()`` shows; some distributions do not include them."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return []
    return [topics[name] for name in sorted(topics)]
