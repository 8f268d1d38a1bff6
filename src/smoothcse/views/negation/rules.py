"""Negation by word lists, a substitute for a parser."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smoothcse.views.negation.parsed import BE, CLIPPED, MODALS, with_case_of


def _words(text: str) -> list[str]:
    return text.split()


_VERBS = _words("""
add appear ask become begin bring build buy call carry catch chase clean climb close come cook cost cover cross cut
dance do draw drink drive drop eat enjoy enter fall feel fight fill find fly follow get give go grow happen hear help
hit hold jump keep kick know laugh lay lead lean learn let lie lift like listen live look lose love make mean meet
move need offer open paint pass pay perform play point pour practice prepare prove provide pull push put reach read
receive remain ride rise run say see seem sell send serve set share show sing sit skate sleep slide smile speak spend
stand stare start stay stop surf swim take talk teach tell think throw touch travel try turn use wait walk want wash
watch wear win wish work write
""")

_PAST = dict(
    pair.split("/")
    for pair in _words("""
    ate/eat became/become began/begin bought/buy brought/bring built/build came/come caught/catch cost/cost cut/cut
    did/do drank/drink drew/draw dropped/drop drove/drive fell/fall felt/feel flew/fly fought/fight found/find
    gave/give got/get grew/grow had/have heard/hear held/hold hit/hit kept/keep knew/know laid/lay led/lead let/let
    lost/lose made/make meant/mean met/meet paid/pay put/put ran/run read/read rode/ride rose/rise said/say sang/sing
    sat/sit saw/see sent/send set/set slept/sleep slid/slide sold/sell spent/spend spoke/speak stood/stand
    stopped/stop swam/swim taught/teach thought/think threw/throw told/tell took/take went/go won/win wore/wear
    wrote/write
    """)
)

_ENDING = re.compile(r"(?<=[^aeiou])y$")
_NEEDS_ES = ("s", "sh", "ch", "x", "z", "o")
_THIRD_PERSON = {
    (_ENDING.sub("ie", verb) if _ENDING.search(verb) else verb + "e" * verb.endswith(_NEEDS_ES)) + "s": verb
    for verb in _VERBS
} | {"has": "have"}
_PAST |= {
    (verb if verb.endswith("e") else _ENDING.sub("i", verb) + "e") + "d": verb
    for verb in _VERBS
    if verb not in _PAST.values()
}
_BASE = {*_VERBS, "have"}

_PLURAL = frozenset(_words("i you we they people men women children these those others"))
_NO_PLURAL = frozenset(_words("as has his is its this us was yes does"))
_BEFORE_NOUNS = frozenset(
    _words("a an the this that my your his her its our their some many few several no of in on at with for to from by")
)
_PERSONS = frozenset(_words("i you he she it we they"))
_PERFECT = re.compile(r"become|done|gone|had|made|\w+(?:ed|en)")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SHORT_NOT = re.compile(r"n['’]t$", re.IGNORECASE)
_SHORT_IS = re.compile(r"(?:it|he|she|that|there|here|what|who)['’]s|\w+['’](?:re|m|ll|ve)")


def negate_by_rules(sentence: str) -> str:
    """Negate an English sentence by word lists.

    The first "not" or "n't" is removed. If there is none, the first auxiliary, modal or form of "be" is followed by
    "not". If there is none of these either, the first of some 140 common verbs becomes "do not", "does not" or "did
    not" with its base form. Otherwise the sentence is preceded by "Not".

    This is a substitute for :func:`~smoothcse.views.negation.parsed.negate_parsed` without grammar. It sometimes
    mistakes a noun for a verb of the same spelling, or negates the auxiliary of a subordinate clause.

    Args:
        sentence: Any text.
    """
    matches = list(_WORD.finditer(sentence))
    words = [match.group().lower() for match in matches]
    for negate in (_without_not, _with_not_behind, _with_do):
        for place in range(len(words)):
            replacement = negate(words, place)
            if replacement is not None:
                start, end = matches[place].span()
                return _replaced(sentence, start, end, with_case_of(sentence[start:end], replacement))
    return f"Not {sentence}"


def _without_not(words: Sequence[str], place: int) -> str | None:
    """Return the word at a position without its "not"; None if it contains none."""
    word = words[place]
    if word in ("not", "cannot"):
        return word.removesuffix("not")
    if not _SHORT_NOT.search(word):
        return None
    rest = _SHORT_NOT.sub("", word)
    return CLIPPED.get(rest, rest)


def _with_not_behind(words: Sequence[str], place: int) -> str | None:
    """Return the word at a position followed by "not"; None if it is not an auxiliary."""
    word, after = words[place], words[place + 1] if place + 1 < len(words) else ""
    perfect = word in ("have", "has", "had") and _PERFECT.fullmatch(after)
    asking = word in ("do", "does", "did") and after in _PERSONS
    return f"{word} not" if word in BE | MODALS or perfect or asking or _SHORT_IS.fullmatch(word) else None


def _with_do(words: Sequence[str], place: int) -> str | None:
    """Return the negated form of a listed verb; None for other words and where the preceding word suggests a noun."""
    word, before = words[place], words[place - 1] if place else ""
    if not before or before in _BEFORE_NOUNS:
        return None
    plural = before in _PLURAL or (before.endswith("s") and before not in _NO_PLURAL and before.isalpha())
    if word in _BASE and plural:
        return f"do not {word}"
    if word in _THIRD_PERSON:
        return f"does not {_THIRD_PERSON[word]}"
    return f"did not {_PAST[word]}" if word in _PAST else None


def _replaced(sentence: str, start: int, end: int, word: str) -> str:
    """Replace a part of a sentence by a word. If the word is empty, one of the spaces around it is removed as well."""
    after = sentence[end:]
    if word:
        return sentence[:start] + word + after
    return (sentence[:start] + after.lstrip()) if after[:1].isspace() else sentence[:start].rstrip() + after
