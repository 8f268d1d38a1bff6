"""Splitting of documents: nothing is lost, spans point at their text, no passage is above the limit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.corpus.documents import passages
from smoothcse.corpus.documents.extracted import canonical, extracted_pages, fold
from smoothcse.corpus.documents.html_text import html_text, markdown_text
from smoothcse.corpus.documents.near_duplicates import NearDuplicates, bands_for, shingles
from smoothcse.corpus.documents.passages import count_words, split_passages

SAMPLES = ["Dr. Smith went home. ", "One, two; three! ", "\n\n", "\n", "  ", "\t", "x" * 90, "e\u0301", "...", "\r\n"]
PIECES = st.one_of(st.text(max_size=40), st.sampled_from(SAMPLES))
DOCUMENTS = st.lists(PIECES, max_size=40).map("".join)


@settings(deadline=None)
@given(DOCUMENTS, st.integers(16, 40), st.sampled_from([64, 50_000]), st.sampled_from([count_words, len]))
def test_the_invariants_of_passages(text, limit, section, count):
    document = canonical(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passages, "SECTION", section)
        found = list(split_passages(document, limit, count))
    covered = 0
    for passage in found:
        assert passage.text, "no passage is empty"
        assert count(passage.text) <= limit
        assert fold(document[passage.start : passage.end]) == passage.text
        assert not document[covered : passage.start].strip(), "in order, and only white space between passages"
        covered = passage.end
    assert not document[covered:].strip()


def test_golden_passages():
    document = (
        "A short heading\n\nThe first sentence is here. The second sentence,\nwhich wraps, is longer. And a third."
        "\n\n    An indented paragraph:  with two spaces, and a clause; and one more."
    )
    assert [passage.text for passage in split_passages(document, 16, count_words)] == [
        "A short heading",
        "The first sentence is here. The second sentence, which wraps, is longer.",
        "And a third.",
        "An indented paragraph: with two spaces, and a clause; and one more.",
    ]


def test_one_word_is_one_passage():
    assert list(split_passages("word", 16, count_words)) == [passages.Passage("word", 0, 4)]
    assert list(split_passages(" \n ", 16, count_words)) == []


def test_sections_end_between_sentences():
    document = "A sentence of six words here. " * 5000
    found = list(split_passages(document, 128, count_words))
    assert all(passage.text.endswith(".") for passage in found)
    assert sum(count_words(passage.text) for passage in found) == 5000 * 7


@settings(deadline=None)
@given(st.text())
def test_canonical_text_is_stable(text):
    once = canonical(text)
    assert canonical(once) == once
    assert not set(once) & set(map(chr, [*range(9), *range(11, 32), 127, 133]))


def test_half_of_a_surrogate_pair_is_replaced():
    assert canonical("a\ud83d") == "a\ufffd"


def test_pages_are_found_by_position():
    document = extracted_pages("a.pdf", ["one", "", "three"], None)
    assert document.text == "one\n\n\n\nthree"
    assert [document.page(position) for position in (0, 2, 7)] == [1, 1, 3]


def test_html_becomes_one_paragraph_for_each_block():
    html = (
        "<html><head><title>The\n title</title><style>p {}</style></head><body><nav><a>Home</a></nav>"
        "<h1>Head<br>line</h1><p>one <b>two</b> caf&eacute; &lt;p&gt;<p>three<table><tr><td>x<td>y</table>"
        "<script>alert('<p>no</p>')</script><!-- no --><template>no</template></body></html>"
    )
    text = "Head\n\nline\n\none two café <p>\n\nthree\n\nx\n\ny"
    assert html_text(html) == (text, "The title")
    assert html_text("") == ("", "")
    assert html_text("<h1>Only a heading</h1>") == ("Only a heading", "Only a heading")


def test_markdown_becomes_plain_text():
    markdown = (
        "# A *title*\n\nSome `code` and\n[a link](http://x.example).\n\n* item\n\n| a | b |\n|---|---|\n| c | d |\n"
    )
    assert markdown_text(markdown) == ("A title\n\nSome code and a link.\n\nitem\n\na\n\nb\n\nc\n\nd", "A title")


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("---\ntitle: x\n---\n\nBody", "Body"),
        ("---  \ntitle: x\n...\nBody", "Body"),
        ("---\ntitle: x\nweight: 10\n---", ""),
        ("---\n---\nOne\n\n---\n\nTwo", "One\n\nTwo"),
        ("---\n\nOne\n\n---\n\nTwo", "One\n\nTwo"),
        ("One\n\n---\n\nTwo\n\n---\n", "One\n\nTwo"),
    ],
)
def test_front_matter_is_left_out_and_rules_are_not_taken_for_it(markdown, text):
    assert markdown_text(markdown)[0] == text


def test_long_markdown_is_parsed_in_sections(monkeypatch):
    # The fenced code contains a blank line and a shorter fence, neither of which may end a section.
    markdown = "# Title\n\nA *word*.\n\n````py\na\n\n```\n*b*\n````\n\n* c\n* d\n\n" * 20
    whole = markdown_text(markdown)
    monkeypatch.setattr("smoothcse.corpus.documents.html_text.SECTION", 50)
    assert markdown_text(markdown) == whole
    assert whole[0].count("a ``` *b*") == 20


def jaccard(one: str, other: str) -> float:
    a, b = set(shingles(one)), set(shingles(other))
    return len(a & b) / len(a | b)


def test_near_duplicates_are_those_of_exact_jaccard_similarity():
    draw = random.Random(0)
    for changes in (0, 1, 8, 20):
        outcomes = []
        for _ in range(50):
            words = [f"w{draw.randrange(5000)}" for _ in range(120)]
            changed = list(words)
            for place in draw.sample(range(120), changes):
                changed[place] = "changed"
            texts = " ".join(words), " ".join(changed)
            outcomes.append((jaccard(*texts) >= 0.8, not NearDuplicates(0.8).keep(texts)[1]))
        # The estimate errs near the threshold only.
        assert sum(exact != found for exact, found in outcomes) <= 1, changes


@pytest.mark.parametrize("threshold", [0.3, 0.4, 0.5, 0.6, 0.7])
def test_lower_thresholds_find_most_pairs_too(threshold):
    draw = random.Random(1)
    found = []
    while len(found) < 40:
        words = [f"w{draw.randrange(5000)}" for _ in range(120)]
        changed = words[: draw.randrange(120)]
        changed += [f"w{draw.randrange(5000)}" for _ in range(120 - len(changed))]
        texts = " ".join(words), " ".join(changed)
        if threshold + 0.1 < jaccard(*texts) < threshold + 0.2:  # well above it, where the estimate does not err
            found.append(not NearDuplicates(threshold).keep(texts)[1])
    assert sum(found) >= 36


def test_the_default_threshold_has_the_bands_of_before():
    assert [bands_for(threshold) for threshold in (1, 0.8, 0.6, 0.3)] == [16, 16, 32, 64]


def test_of_similar_texts_the_first_is_kept():
    text = " ".join(f"word{number}" for number in range(50))
    assert NearDuplicates(0.8).keep([text, text.upper(), "other", text]) == [True, False, True, False]
    assert NearDuplicates(0.8).keep(["?", "!", "a b", "a c"]) == [True] * 4, "short texts are compared whole"
