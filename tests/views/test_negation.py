"""Negation: the rule on parsed tokens, written by hand and parsed by spaCy if installed, and the word lists."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from smoothcse.errors import SmoothCSEError
from smoothcse.views.negation import negations
from smoothcse.views.negation.parsed import negate_parsed
from smoothcse.views.negation.rules import negate_by_rules
from smoothcse.views.negation.spacy_parser import load_parser

# Each token is text|tag|dep|lemma. A leading "_" means that no space separates it from the token before.
PARSED = {
    "A|DT|det|a cat|NN|nsubj|cat is|VBZ|aux|be sitting|VBG|ROOT|sit _.|.|punct|.": "A cat is not sitting.",
    "It|PRP|nsubj|it was|VBD|auxpass|be sold|VBN|ROOT|sell": "It was not sold",
    "To|TO|aux|to see|VB|csubj|see is|VBZ|ROOT|be fun|NN|attr|fun": "To not see is fun",
    "It|PRP|nsubj|it is|VBZ|ROOT|be _.|.|punct|.": "It is not.",
    "It|PRP|nsubj|it _'s|VBZ|ROOT|be red|JJ|acomp|red": "It's not red",
    "You|PRP|nsubj|you can|MD|ROOT|can": "You can not",
    "Dogs|NNS|nsubj|dog run|VBP|ROOT|run fast|RB|advmod|fast": "Dogs do not run fast",
    "He|PRP|nsubj|he rides|VBZ|ROOT|ride _,|,|punct|, smiling|VBG|advcl|smile": "He does not ride, smiling",
    "She|PRP|nsubj|she went|VBD|ROOT|go home|RB|advmod|home _!|.|punct|!": "She did not go home!",
    "Rides|VBZ|ROOT|ride well|RB|advmod|well": "Does not ride well",
    "Two|CD|nummod|two men|NNS|ROOT|man playing|VBG|acl|play": "Not Two men playing",
    "Be|VB|ROOT|be quiet|JJ|acomp|quiet": "Not Be quiet",
    "hm|UH|intj|hm": "Not hm",
    "He|PRP|nsubj|he is|VBZ|aux|be not|RB|neg|not here|RB|ROOT|here": "He is here",
    "He|PRP|nsubj|he is|VBZ|ROOT|be not|RB|neg|not _.|.|punct|.": "He is.",
    "Not|RB|neg|not bad|JJ|ROOT|bad _,|,|punct|, not|RB|neg|not good|JJ|conj|good": "bad, not good",
    "We|PRP|nsubj|we do|VBP|aux|do _n't|RB|neg|not go|VB|ROOT|go": "We do go",
    "Ca|MD|aux|can _n't|RB|neg|not we|PRP|nsubj|we go|VB|ROOT|go _?|.|punct|?": "Can we go?",
    "You|PRP|nsubj|you can|MD|aux|can _not|RB|neg|not go|VB|ROOT|go": "You can go",
}


def tokens_of(line):
    found = [[*word.removeprefix("_").split("|"), word.startswith("_")] for word in line.split()]
    blanks = ["" if later[-1] else " " for later in found[1:]] + [""]
    return [
        SimpleNamespace(text=text, tag_=tag, dep_=dep, lemma_=lemma, whitespace_=blank)
        for (text, tag, dep, lemma, _), blank in zip(found, blanks, strict=True)
    ]


@pytest.mark.parametrize(("line", "negated"), PARSED.items())
def test_a_parsed_sentence_is_negated_by_the_rule(line, negated):
    assert negate_parsed(tokens_of(line)) == negated


@pytest.mark.parametrize(("line", "negated"), PARSED.items())
def test_spacy_documents_satisfy_the_token_protocol(line, negated):
    spacy = pytest.importorskip("spacy", reason="needs the extra 'negation'")
    tokens = tokens_of(line)
    root = next((place for place, token in enumerate(tokens) if token.dep_ == "ROOT"), 0)
    document = spacy.tokens.Doc(
        spacy.blank("en").vocab,
        words=[token.text for token in tokens],
        spaces=[bool(token.whitespace_) for token in tokens],
        tags=[token.tag_ for token in tokens],
        lemmas=[token.lemma_ for token in tokens],
        deps=[token.dep_ for token in tokens],
        heads=[root] * len(tokens),
    )
    assert negate_parsed(document) == negated


@pytest.mark.parametrize(
    ("sentence", "negated"),
    [
        ("A cat is sitting.", "A cat is not sitting."),
        ("A cat isn't sitting.", "A cat is sitting."),
        ("He is not, I think.", "He is, I think."),
        ("Not bad, not good", "bad, not good"),
        ("We cannot go.", "We can go."),
        ("Won’t you?", "Will you?"),
        ("It's red.", "It's not red."),
        ("The boy's dog barks.", "Not The boy's dog barks."),
        ("She has been there.", "She has not been there."),
        ("She has a cat.", "She does not have a cat."),
        ("Did you see it?", "Did not you see it?"),
        ("A man plays the guitar", "A man does not play the guitar"),
        ("The plays of his time, he wrote", "The plays of his time, he did not write"),
        ("Dogs run fast", "Dogs do not run fast"),
        ("His play ended", "Not His play ended"),
        ("A boy stopped", "A boy did not stop"),
        ("Two men on a bench.", "Not Two men on a bench."),
    ],
)
def test_rules_negate_by_words(sentence, negated):
    assert negate_by_rules(sentence) == negated


@given(st.text(max_size=60))
def test_rules_change_any_text(sentence):
    assert negate_by_rules(sentence) != sentence


def dataset(*sentences):
    return Dataset.from_dict({"sentence": list(sentences)})


def made(texts):
    return [text for (column,) in texts.batches for text in column]


def test_final_punctuation_does_not_matter():
    """The released code looks up negations by a sentence that it has modified, and finds none of these."""
    assert made(negations(dataset("A dog is here", "A dog is here."), "rules")) == [
        "A dog is not here",
        "A dog is not here.",
    ]


def test_the_note_says_that_rules_are_a_substitute():
    texts = negations(dataset("It is."), "rules")
    assert texts.columns == ("negation",)
    assert "substitute for a parser" in texts.note


def test_auto_uses_rules_without_spacy_and_notes_the_reason(monkeypatch):
    sentences = dataset("It is.")  # before spaCy is hidden, since datasets imports it, too
    monkeypatch.setitem(sys.modules, "spacy", None)
    texts = negations(sentences)
    assert 'pip install -c constraints.txt ".[negation]"' in texts.note
    with pytest.raises(SmoothCSEError, match=r'constraints.txt "\.\[negation\]"'):
        negations(sentences, "spacy")
    monkeypatch.undo()
    assert made(texts) == ["It is not."]


class Pipeline:
    """The part of a spaCy pipeline that is used."""

    def __init__(self, names):
        self.pipe_names = names

    def pipe(self, texts):
        return ([SimpleNamespace(text=text, tag_="NN", dep_="dep", lemma_=text, whitespace_="")] for text in texts)


def fake_spacy(installed, names):
    util = SimpleNamespace(is_package=lambda name: name in installed)
    return SimpleNamespace(util=util, load=lambda name, exclude: Pipeline(names))


def test_a_missing_or_incomplete_pipeline_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", fake_spacy([], []))
    with pytest.raises(SmoothCSEError, match="python -m spacy download en_core_web_sm"):
        load_parser("en_core_web_sm")
    monkeypatch.setitem(sys.modules, "spacy", fake_spacy(["one"], ["tagger"]))
    with pytest.raises(SmoothCSEError, match="'one' has no parser"):
        load_parser("one")


def test_auto_uses_spacy_if_it_is_installed(monkeypatch):
    sentences = dataset("is")
    monkeypatch.setitem(sys.modules, "spacy", fake_spacy(["en_core_web_sm"], ["tagger", "parser"]))
    texts = negations(sentences)
    monkeypatch.undo()
    assert made(texts) == ["Not is"]  # the fake parse has no auxiliary
    assert "spaCy's en_core_web_sm" in texts.note
