"""Conditions on the metadata as strings, in the part of SQL that compares fields with values.

::

    condition  = conjunction {OR conjunction}
    conjunction = negation {AND negation}
    negation   = NOT negation | "(" condition ")" | comparison
    comparison = field (= | != | <> | < | <= | > | >=) value
               | field [NOT] IN "(" value {"," value} ")"
               | field [NOT] BETWEEN value AND value
               | field [NOT] LIKE text
               | field IS [NOT] NULL
               | field                                          for a field of true and false
    field      = name | "`name`" | '"name"'                     quotes are doubled inside quotes
    value      = number | "'text'" | TRUE | FALSE

Conditions are not passed to the database as they are, because it would accept much more (functions, its own hidden
columns), with differences between versions, and its error messages use its own terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.search.filters import MOST, Filters

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)
    |'(?P<text>(?:[^']|'')*)'
    |`(?P<ticked>(?:[^`]|``)*)`
    |"(?P<quoted>(?:[^"]|"")*)"
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><>|!=|<=|>=|[=<>(),])
    )""",
    re.VERBOSE,
)
_SIGNS = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_KEYWORDS = {"and", "or", "not", "in", "between", "like", "is", "null", "true", "false"}
_DEEPEST = 16
_DIGITS = 400

Token = tuple[str, str]
"""Kind (number, text, field, keyword, sign or end) and content."""


def translate(text: str, filters: Filters) -> str:
    """Translate a condition into the database's language.

    Args:
        text: Condition.
        filters: Filters over the fields of the index.

    Raises:
        SmoothCSEError: If the condition is malformed, a field is unknown, or a value does not fit its field.
    """
    return _Parser(text, filters).parse()


class _Parser:
    def __init__(self, text: str, filters: Filters) -> None:
        self._filters = filters
        self._tokens = self._split(text)
        self._place = 0
        self._comparisons = 0

    def parse(self) -> str:
        found = self._any(0)
        if self._next[0] != "end":
            raise self._unexpected("AND, OR or the end")
        return found

    def _split(self, text: str) -> list[Token]:
        tokens: list[Token] = []
        place = 0
        text = text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._filters.refusal(f"The condition cannot be parsed from {text[place : place + 20]!r} on")
            tokens.append(_token(found))
            place = found.end()
        return [*tokens, ("end", "")]

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self, *tokens: str) -> bool:
        """Consume keywords or signs if all of them come next."""
        ahead = [what for kind, what in self._tokens[self._place : self._place + len(tokens)] if kind in _FIXED]
        if ahead != list(tokens):
            return False
        self._place += len(tokens)
        return True

    def _require(self, token: str) -> None:
        if not self._take(token):
            raise self._unexpected(token.upper())

    def _unexpected(self, wanted: str) -> SmoothCSEError:
        kind, what = self._next
        shown = what if len(what) <= 40 else what[:40] + "..."
        here = "at its end" if kind == "end" else f"instead of {shown!r}"
        return self._filters.refusal(f"The condition needs {wanted} {here}")

    def _any(self, depth: int) -> str:
        return self._joined("or", lambda: self._joined("and", lambda: self._negation(depth)))

    def _joined(self, word: str, part: Callable[[], str]) -> str:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else f"({f' {word.upper()} '.join(parts)})"

    def _negation(self, depth: int) -> str:
        if depth > _DEEPEST:
            raise self._filters.refusal(f"The condition has more than {_DEEPEST} levels of nesting")
        if self._take("not"):
            return f"(NOT {self._negation(depth + 1)})"
        if self._take("("):
            inner = self._any(depth + 1)
            self._require(")")
            return inner
        return self._comparison()

    def _comparison(self) -> str:
        self._comparisons += 1
        if self._comparisons > MOST:
            raise self._filters.refusal(f"The condition has more than {MOST:,} comparisons")
        name = self._field()
        if self._next[0] == "sign" and self._next[1] in _SIGNS:
            return self._filters.compare(name, _SIGNS[self._advance()], self._value())
        if self._take("is", "not", "null"):
            return f"(NOT {self._filters.missing(name)})"
        if self._take("is", "null"):
            return self._filters.missing(name)
        if self._take("not"):
            return f"(NOT {self._range(name, needed=True)})"
        return self._range(name, needed=False)

    def _range(self, name: str, *, needed: bool) -> str:
        """Parse what may follow NOT, or a field of true and false alone."""
        if self._take("in"):
            return self._filters.one_of(name, self._list())
        if self._take("between"):
            low = self._filters.compare(name, ">=", self._value())
            self._require("and")
            return f"({low} AND {self._filters.compare(name, '<=', self._value())})"
        if self._take("like"):
            return self._filters.like(name, self._value())
        if needed or self._filters.kind(name) != "true or false":
            raise self._unexpected("IN, BETWEEN or LIKE" if needed else f"a comparison after {name!r}")
        return self._filters.compare(name, "=", True)

    def _list(self) -> list[Any]:
        self._require("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        return values

    def _field(self) -> str:
        if self._next[0] != "field":
            raise self._unexpected("a field")
        return self._advance()

    def _value(self) -> Any:
        kind = self._next[0]
        if kind == "text":
            return self._advance()
        if kind == "number":
            return self._number(self._advance())
        if self._take("true"):
            return True
        if self._take("false"):
            return False
        raise self._unexpected("a number, a 'text', TRUE or FALSE")

    def _number(self, digits: str) -> float:
        if len(digits) > _DIGITS:
            raise self._filters.refusal(f"The condition has a number of {len(digits):,} characters")
        return int(digits) if digits.lstrip("+-").isdigit() else float(digits)

    def _advance(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1][1]


_FIXED = ("keyword", "sign")


def _token(found: re.Match[str]) -> Token:
    kind, what = found.lastgroup or "", found[found.lastgroup or 0]
    if kind in ("ticked", "quoted"):
        quote = "`" if kind == "ticked" else '"'
        return "field", what.replace(2 * quote, quote)
    if kind == "text":
        return kind, what.replace("''", "'")
    if kind == "word":
        return ("keyword", what.lower()) if what.lower() in _KEYWORDS else ("field", what)
    return kind, what
