"""The map: neighbours stay neighbours, the same seed gives the same map, and no corpus is too small."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smoothcse.search.documents import Document
from smoothcse.service.corpus_map import TEXT_LIMIT, corpus_map
from smoothcse.service.limits import Refusal
from smoothcse.service.map_layout import find_clusters, project
from smoothcse.service.map_process import MapProcess


class FakeIndex:
    """As much of an index as the map uses."""

    fields: tuple[str, ...] = ("topic",)
    incomplete: str | None = None
    language = "english"

    def __init__(self, vectors: np.ndarray, text: str = "text") -> None:
        self.vectors = vectors
        self.documents = [Document(f"{text} {row}", str(row), {"topic": row % 2}) for row in range(len(vectors))]

    def __len__(self) -> int:
        return len(self.vectors)

    def sample(self, count: int, seed: int = 0) -> tuple[list[Document], np.ndarray]:
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.vectors))[:count])
        return [self.documents[row] for row in rows], self.vectors[rows]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay maps out here, since each process takes seconds to start."""

    def here(self: MapProcess, vectors: np.ndarray, texts: list[str], stop_words: list[str], seed: int) -> dict:
        positions, method = project(vectors, seed)
        clusters = find_clusters(positions, texts, stop_words, seed)
        return {"positions": positions.tolist(), "method": method, "clusters": clusters}

    monkeypatch.setattr(MapProcess, "lay_out", here)


def _clusters(count: int, each: int, width: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centres = np.eye(width, dtype=np.float32)[:count]
    labels = np.repeat(np.arange(count), each)
    noise = 0.1 * generator.standard_normal((len(labels), width))
    return (centres[labels] + noise).astype(np.float32), labels


def test_neighbours_stay_neighbours() -> None:
    vectors, labels = _clusters(4, 25)
    positions, method = project(vectors)
    assert method == "t-SNE"
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    assert np.abs(positions).max() == pytest.approx(1)


def test_the_length_of_a_vector_does_not_matter() -> None:
    vectors, _ = _clusters(3, 10)
    stretched = vectors * 2.0 ** (np.arange(len(vectors)) % 4 - 1)[:, None]  # exact, as t-SNE magnifies rounding
    np.testing.assert_array_equal(project(vectors)[0], project(stretched.astype(np.float32))[0])


def test_a_seed_gives_the_same_map_and_another_sample_another(in_this_process: None) -> None:
    index = FakeIndex(_clusters(4, 20)[0])
    assert corpus_map(index, limit=40, seed=1) == corpus_map(index, limit=40, seed=1)
    ids = [[point["id"] for point in corpus_map(index, limit=40, seed=seed)["points"]] for seed in (1, 2)]
    assert ids[0] != ids[1]
    assert len(ids[0]) == 40


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 17])
def test_any_number_of_documents_has_a_map(count: int, in_this_process: None) -> None:
    found = corpus_map(FakeIndex(_clusters(3, 6)[0][:count]))
    assert len(found["points"]) == count
    assert found["fields"] == ["topic"]
    numbers = [point[axis] for point in found["points"] for axis in "xy"]
    assert all(-1 <= number <= 1 for number in numbers)  # false for nan, too
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "vectors",
    [np.ones((7, 8)), np.zeros((7, 8)), np.repeat(np.eye(6), 5, axis=0), np.array([[1.0], [-1.0]] * 6)],
    ids=["all the same", "all zero", "copies", "one dimension"],
)
def test_vectors_without_neighbourhoods_have_a_map(vectors: np.ndarray) -> None:
    positions, _ = project(vectors.astype(np.float32))
    assert positions.shape == (len(vectors), 2)
    assert np.isfinite(positions).all()


def test_two_documents_lie_apart() -> None:
    positions, method = project(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32))
    assert method == "PCA"
    assert np.linalg.norm(positions[0] - positions[1]) == pytest.approx(2)


def test_long_texts_are_cut(in_this_process: None) -> None:
    [point] = corpus_map(FakeIndex(np.ones((1, 4), dtype=np.float32), text="word " * 500))["points"]
    assert len(point["text"]) <= TEXT_LIMIT
    assert point["text"].endswith("word…")


def test_regions_are_named_by_the_words_of_their_documents() -> None:
    vectors, labels = _clusters(3, 30)
    words = (["cats", "kittens"], ["ships", "harbours"], ["taxes", "budgets"])
    texts = [f"the {words[label][0]} and the {words[label][1]} {row}" for row, label in enumerate(labels)]
    positions = project(vectors)[0]
    found = find_clusters(positions, texts, ["the", "and"])
    assert sorted(sorted(one["name"].split(", ")) for one in found) == sorted(sorted(pair) for pair in words)
    assert [one["documents"] for one in found] == [30, 30, 30]
    for one in found:
        nearest = np.linalg.norm(positions - [one["x"], one["y"]], axis=1).argmin()
        assert set(one["name"].split(", ")) == set(words[labels[nearest]])
    assert find_clusters(positions, [""] * 90) == []  # no words, no names
    assert find_clusters(positions[:8], texts[:8]) == []  # too few documents


def test_a_process_computes_the_same_map_and_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    report = property(lambda self: shares[-1], lambda self, share: shares.append(share))
    monkeypatch.setattr(MapProcess, "share", report, raising=False)
    index = FakeIndex(_clusters(4, 20)[0])
    found = corpus_map(index, limit=40)
    assert (len(found["points"]), found["documents"]) == (40, 80)
    positions = project(index.sample(40)[1])[0]
    assert [[point["x"], point["y"]] for point in found["points"]] == positions.round(4).tolist()
    assert shares == sorted(shares)
    assert {0.125, 0.5, 1.0} < set(shares)


def test_a_stopped_process_is_one_sentence() -> None:
    process = MapProcess()
    process.stop()
    with pytest.raises(Refusal, match=r"^The map could not be computed \(exit status -9\); try again\.$"):
        process.lay_out(np.eye(4, dtype=np.float32), list("abcd"), [], 0)
