"""The views drawn from text: what they are for every text, and which ones a seed draws."""

from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from smoothcse.views.crops import crops
from smoothcse.views.mixture import TextViews
from smoothcse.views.neighbours import neighbour
from smoothcse.views.row_random import below, row_random
from smoothcse.views.sentence import sentence_and_rest
from smoothcse.views.window import LONGEST, window

TEXT = "The cat sat on a mat. Dr. Smith read a small book, 3.5 pages a day!  It rained. Who sang?"
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda text: " ".join(text.split()))
PIECES = ["One two.", "Dr. Who?", "三つの文。", "Ça va", "…", "(e.g. this)", "It is 3.5!"]
TEXTS = st.one_of(PLAIN.filter(bool), st.lists(st.sampled_from(PIECES), min_size=1).map(" ".join))
RANDOM = st.integers(0, 2**32).map(lambda seed: row_random(seed, 0, 0))
FRACTIONS = st.lists(st.floats(0.01, 1), min_size=2, max_size=2).map(sorted)
COUNTS = st.lists(st.integers(1, 40), min_size=2, max_size=2).map(sorted).filter(lambda pair: pair[1] > 1)


@given(TEXTS, RANDOM, st.one_of(FRACTIONS, COUNTS))
def test_a_crop_is_a_span_of_the_text_and_never_empty(text, random, lengths):
    for crop in crops(text, random, lengths=lengths):
        assert crop in text
        assert crop == crop.strip() != ""


@given(TEXTS, RANDOM, FRACTIONS, st.floats(0.01, 1))
def test_deletion_leaves_a_subsequence_of_the_text_and_at_least_a_word(text, random, lengths, deletion):
    for crop in crops(text, random, lengths=lengths, deletion=deletion):
        assert crop == crop.strip() != ""
        characters = iter(text)
        assert all(character in characters for character in crop)


@given(st.integers(1, 60), RANDOM, COUNTS)
def test_a_crop_has_as_many_words_as_asked_for_or_the_whole_text(words, random, lengths):
    text = " ".join(map(str, range(words)))
    for crop in crops(text, random, lengths=lengths):
        assert min(lengths[0], words) <= len(crop.split()) <= min(lengths[1], words)


def test_the_length_of_a_crop_is_a_fraction_of_the_text_and_its_place_is_anywhere():
    text = " ".join(map(str, range(100)))
    drawn = [crops(text, row_random(0, 0, row), lengths=(0.2, 0.4)) for row in range(300)]
    lengths = Counter(len(crop.split()) for pair in drawn for crop in pair)
    assert (min(lengths), max(lengths)) == (20, 40)
    starts = [int(crop.split()[0]) for pair in drawn for crop in pair]
    assert min(starts) < 3
    assert max(starts) > 70
    assert sum(first == second for first, second in drawn) < 5  # they are independent


def test_scripts_without_spaces_are_cropped_by_character():
    text = "吾輩は猫である名前はまだ無い"
    first, second = crops(text, row_random(1, 0, 0), lengths=(3, 5))
    assert 3 <= len(first) <= 5
    assert 3 <= len(second) <= 5
    assert first in text


def test_crops_never_part_a_character_from_its_marks_nor_an_emoji_from_its_joiners():
    thai, family = "ที่นี่มีน้ำเย็นและเก้าอี้", "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    starts = [place for place, char in enumerate(thai) if not unicodedata.category(char).startswith("M")]
    letters = [thai[first:last] for first, last in pairwise([*starts, len(thai)])]
    for row in range(40):
        for crop in crops(thai, row_random(0, 0, row), lengths=(1, 4)):
            assert crop in {"".join(letters[first:last]) for first in range(len(letters)) for last in range(first + 5)}
        for crop in crops(f"猫{family}犬 {family} \U00020bb7野家", row_random(0, 0, row), lengths=(1, 3)):
            assert crop.count("\u200d") == 2 * crop.count("\U0001f467")
    assert crops("\U00020bb7野家", row_random(0, 0, 0), lengths=(1, 1))[0] in "\U00020bb7野家"


@pytest.mark.parametrize(
    ("language", "pieces"),
    [
        ("zh", ["今天下雨了。", "我们在家看书！", "你呢？"]),
        ("ja", ["吾輩は猫である。", "名前はまだ無い。"]),
        ("ar", ["هل قرأت الكتاب؟", "قرأته أمس."]),
        ("he", ["החתול ישן.", "הכלב רץ."]),
        ("en", ["The cat sleeps \U0001f63a.", "Dogs run \U0001f415\u200d\U0001f9ba!"]),
    ],
)
def test_sentences_end_where_the_script_ends_them(language, pieces):
    text = ("" if language in ("zh", "ja") else " ").join(pieces)
    drawn = {sentence_and_rest(text, row_random(0, 0, row), language=language)[0] for row in range(60)}
    assert drawn == set(pieces)


def test_words_are_deleted_at_the_rate_asked_for():
    text = " ".join(map(str, range(1000)))
    kept = [len(crop.split()) for crop in crops(text, row_random(0, 0, 0), lengths=(1, 1), deletion=0.3)]
    assert all(650 < count < 750 for count in kept)


@given(TEXTS, RANDOM)
def test_a_sentence_and_the_rest_make_the_passage(text, random):
    sentence, rest = sentence_and_rest(text, random)
    assert sentence.strip()
    assert rest.strip()
    if (sentence, rest) != (text, text):
        places = [place for place in range(len(text)) if text.startswith(sentence, place)]
        without = ["".join(f"{text[:place]}{text[place + len(sentence) :]}".split()) for place in places]
        assert "".join(rest.split()) in without


def test_each_sentence_is_drawn_and_abbreviations_end_none():
    drawn = {sentence_and_rest(TEXT, row_random(0, 0, row)) for row in range(100)}
    assert {sentence for sentence, _ in drawn} == {
        "The cat sat on a mat.",
        "Dr. Smith read a small book, 3.5 pages a day!",
        "It rained.",
        "Who sang?",
    }
    assert ("It rained.", "The cat sat on a mat. Dr. Smith read a small book, 3.5 pages a day!  Who sang?") in drawn


def test_abbreviations_are_those_of_the_language():
    text = "Tiere, z. B. Hunde, schlafen. Katzen auch."
    drawn = {sentence_and_rest(text, row_random(0, 0, row), language="de")[0] for row in range(30)}
    assert drawn == {"Tiere, z. B. Hunde, schlafen.", "Katzen auch."}


def test_a_passage_of_one_sentence_is_returned_twice():
    assert sentence_and_rest("Who sang?", row_random(0, 0, 0)) == ("Who sang?", "Who sang?")


@given(st.integers(2, 50), st.data())
def test_a_neighbour_is_one_row_away_and_inside_the_corpus(rows, data):
    row = data.draw(st.integers(0, rows - 1))
    other = neighbour(row, rows, data.draw(RANDOM))
    assert abs(other - row) == 1
    assert 0 <= other < rows


def test_both_neighbours_are_drawn():
    assert Counter(neighbour(5, 10, row_random(0, epoch, 5)) for epoch in range(100)).keys() == {4, 6}


def test_the_draws_of_a_seed_never_change():
    random = row_random(42, 1, 7)
    assert [below(random, 1000) for _ in range(4)] == [344, 806, 627, 686]
    assert crops(TEXT, row_random(42, 0, 3), lengths=(0.2, 0.6), deletion=0.1) == (
        "pages a day!  It rained.",
        "small book, 3.5 pages a It rained.",
    )
    assert sentence_and_rest(TEXT, row_random(42, 0, 3))[0] == "The cat sat on a mat."
    assert [neighbour(4, 9, row_random(42, epoch, 4)) for epoch in range(6)] == [3, 5, 3, 3, 3, 5]


def test_a_window_of_a_short_text_is_the_text_and_takes_no_number():
    random = row_random(0, 0, 0)
    assert window("x " * (LONGEST // 2), random) == "x " * (LONGEST // 2)
    assert random.random() == row_random(0, 0, 0).random()


@pytest.mark.parametrize("space", [" ", ""])
def test_a_window_of_a_long_text_is_anywhere_in_it_and_ends_between_words(space):
    text = space.join(f"word{number}" for number in range(20_000))
    windows = [window(text, row_random(0, 0, row)) for row in range(60)]
    assert all(LONGEST - 20 <= len(cut) <= LONGEST and cut in text for cut in windows)
    starts = [text.index(cut) for cut in windows]
    assert min(starts) < len(text) / 8
    assert max(starts) > (len(text) - LONGEST) * 7 / 8
    if space:
        assert {cut.split()[0] for cut in windows} <= set(text.split())
        assert {cut.split()[-1] for cut in windows} <= set(text.split())


def test_a_window_is_never_blank():
    blank = "word" + " " * 3 * LONGEST + "word"
    assert all(window(blank, row_random(0, 0, row)).strip() for row in range(20))


@pytest.mark.parametrize("view", ["sentence", "crops"])
def test_a_draw_takes_no_longer_for_a_longer_text(view):
    """Ten megabytes would take a tenth of a second to split into sentences, and longer to tokenize."""
    short = "The cat sat on a mat. It rained all day. " * (LONGEST // 41)
    views = TextViews(Dataset.from_dict({"sentence": [short * 40, short]}), {view: 1.0}, seed=0)
    for epoch in range(5):
        (of_long, _), (other, _) = views.draw([0, 1], epoch)
        assert len(of_long) <= LONGEST
        assert len(other) <= LONGEST
        assert views.draw([0], epoch) == [[of_long], [other]]


@pytest.mark.parametrize("other", [(43, 1, 7), (42, 2, 7), (42, 1, 8), (421, 7, 0), (4, 21, 7)])
def test_seed_epoch_and_row_each_change_the_draws(other):
    assert row_random(*other).random() != row_random(42, 1, 7).random()
