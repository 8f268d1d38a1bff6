"""Quantisation and truncation of embeddings: values, dequantisation and reported cost."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from sentence_transformers.util import quantize_embeddings

from smoothcse.bulk import encode_file as bulk
from smoothcse.bulk.encode_file import encode_file, ranges_file
from smoothcse.bulk.quantisation import EmbeddingFormat, read_ranges
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from tiny import sentences

QUIET = Console(quiet=True)
PRECISIONS = ["float32", "int8", "uint8", "binary", "ubinary"]


@pytest.fixture(scope="module")
def vectors():
    """200 embeddings around 20 centres, so that they have close neighbours."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(20, 48))
    return (centres[np.arange(200) % 20] + 0.3 * generator.normal(size=(200, 48))).astype(np.float32)


def loops(vectors, ranges):
    """int8 by its definition: 256 steps between the minimum and the maximum."""
    out = np.zeros(vectors.shape, dtype=np.int64)
    for i, vector in enumerate(vectors):
        for j, value in enumerate(vector):
            low, high = ranges[0][j], ranges[1][j]
            out[i, j] = min(max(int(np.floor((value - low) / ((high - low) / np.float32(255)))), 0), 255)
    return out


def test_int8_equals_its_definition_and_is_dequantised_to_half_a_step(vectors):
    form = EmbeddingFormat(precision="uint8")
    shrunk = form.quantise(vectors)
    np.testing.assert_array_equal(form.ranges, [vectors.min(axis=0), vectors.max(axis=0)])
    np.testing.assert_array_equal(shrunk, loops(vectors, form.ranges))
    signed = EmbeddingFormat(precision="int8", ranges=form.ranges)
    np.testing.assert_array_equal(signed.quantise(vectors).astype(int) + 128, shrunk)
    steps = np.ptp(vectors, axis=0) / 255
    for kept in (form.dequantise(shrunk, 48), signed.dequantise(signed.quantise(vectors), 48)):
        assert (np.abs(kept - vectors) <= 0.501 * steps + 1e-6).all()


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
@pytest.mark.parametrize("dimensions", [None, 16, 13])
def test_binary_embeddings_are_the_signs_of_the_dimensions(precision, dimensions, vectors):
    form = EmbeddingFormat(dimensions, precision)
    shrunk = form.quantise(vectors)
    width = dimensions or 48
    assert shrunk.shape == (200, -(-width // 8))
    assert shrunk.itemsize == 1
    np.testing.assert_array_equal(form.dequantise(shrunk, width), np.where(vectors[:, :width] > 0, 1, -1))


def test_embeddings_are_truncated_before_they_are_normalised(vectors):
    cut = EmbeddingFormat(8, normalize=True).quantise(vectors)
    np.testing.assert_allclose(cut, vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True), rtol=1e-5)
    assert cut.dtype == np.float32


def test_ranges_are_computed_from_the_first_embeddings(vectors):
    form = EmbeddingFormat(precision="int8")
    form.quantise(vectors)
    later = form.quantise(100 * vectors)
    np.testing.assert_array_equal(later, quantize_embeddings(100 * vectors, "int8", ranges=form.ranges))
    assert {later.min(), later.max()} == {-128, 127}  # values outside of the ranges are clipped
    assert (form.ranges[1] == vectors.max(axis=0)).all()


def neighbours_by_loops(vectors, queries):
    found = []
    for query in queries:
        cosines = [
            -np.inf if other == query else float(
                vectors[query] @ vectors[other] / np.linalg.norm(vectors[query]) / np.linalg.norm(vectors[other])
            )
            for other in range(len(vectors))
        ]  # fmt: skip
        found.append(set(sorted(range(len(vectors)), key=lambda row: -cosines[row])[:10]))
    return found


@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
def test_neighbours_kept_equals_loops(precision, vectors):
    form = EmbeddingFormat(24, precision)
    shrunk = form.quantise(vectors)
    queries = [0, 50, 100, 149, 199]
    exact = neighbours_by_loops(vectors.astype(np.float64), queries)
    rough = neighbours_by_loops(form.dequantise(shrunk, 24).astype(np.float64), queries)
    expected = np.mean([len(a & b) / 10 for a, b in zip(exact, rough, strict=True)])
    # Binary embeddings have ties, and either of two tied neighbours may be counted.
    assert form.neighbours_kept(vectors, shrunk, queries=5) == pytest.approx(
        expected, abs=0.1 if precision == "binary" else 1e-9
    )


def test_larger_formats_keep_more_neighbours(vectors):
    kept = {}
    for name, form in {
        "float32": EmbeddingFormat(),
        "int8": EmbeddingFormat(precision="int8"),
        "binary": EmbeddingFormat(precision="binary"),
        "two": EmbeddingFormat(2),
    }.items():
        kept[name] = form.neighbours_kept(vectors, form.quantise(vectors))
    assert kept["float32"] == 1.0
    assert kept["float32"] > kept["int8"] > kept["binary"] > kept["two"]
    assert EmbeddingFormat().neighbours_kept(vectors[:11], vectors[:11]) is None


@pytest.fixture(scope="module")
def encoder(tiny_bert):
    return load_encoder(tiny_bert, "mean", device="cpu")


@pytest.fixture
def text(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(sentences(250)) + "\n")
    monkeypatch.setattr(bulk, "CHUNK", 120)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_file_is_encoded_in_the_requested_format(precision, suffix, encoder, text, tmp_path):
    target = tmp_path / f"out{suffix}"
    options = {"precision": "fp32", "dimensions": 24, "normalize": True, "console": QUIET}
    assert encode_file(encoder, text, target, embedding_precision=precision, **options) == 250
    full = encoder.encode(text.read_text().splitlines())
    cut = full[:, :24] / np.linalg.norm(full[:, :24], axis=1, keepdims=True)
    ranges = np.stack((cut[:120].min(axis=0), cut[:120].max(axis=0))) if "int8" in precision else None
    expected = quantize_embeddings(cut, precision, ranges=ranges)
    if suffix == ".npy":
        found = np.load(target)
    else:
        column = pq.read_table(target)["embedding"]
        found = np.array(column.to_pylist(), dtype=column.type.value_type.to_pandas_dtype())
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    difference = np.abs(found.astype(np.float64) - expected)
    if precision == "float32":
        assert difference.max() < 1e-5
    else:  # rounding may move a value to the next step, or change the sign of a value near zero
        assert np.mean(difference > 0) < 0.01
        assert difference.max() <= 1 or "binary" in precision
    assert ranges_file(target).is_file() == ("int8" in precision)
    if ranges is not None:
        np.testing.assert_allclose(read_ranges(ranges_file(target)), ranges, atol=1e-5)


def test_shards_share_the_ranges_of_the_first(encoder, text, tmp_path):
    options = {"precision": "fp32", "embedding_precision": "int8", "console": QUIET}
    whole, part = tmp_path / "whole.npy", tmp_path / "part.npy"
    encode_file(encoder, text, whole, **options)
    (tmp_path / "part.txt").write_text("\n".join(text.read_text().splitlines()[200:]) + "\n")
    encode_file(encoder, tmp_path / "part.txt", part, ranges=ranges_file(whole), **options)
    np.testing.assert_array_equal(np.load(ranges_file(part)), np.load(ranges_file(whole)))
    assert np.mean(np.load(part) != np.load(whole)[200:]) < 0.01


def test_the_cost_of_quantisation_is_printed(encoder, text, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    encode_file(encoder, text, tmp_path / "out.npy", embedding_precision="ubinary", console=console)
    told = console.file.getvalue()
    assert "4 bytes per embedding instead of 128; among the first 120 lines" in told
    assert "of the ten nearest neighbours stay the same" in told


def test_ranges_of_a_replaced_file_are_removed(encoder, text, tmp_path):
    target = tmp_path / "out.npy"
    encode_file(encoder, text, target, embedding_precision="int8", console=QUIET)
    assert ranges_file(target).is_file()
    encode_file(encoder, text, target, console=QUIET)
    assert not ranges_file(target).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_precision": "int4"}, "'int4' is unknown; choose one of float32, int8"),
        ({"dimensions": 33}, "33 dimensions cannot be kept: choose from 1 to 32"),
        ({"embedding_precision": "binary", "ranges": "good"}, "binary embeddings have no ranges"),
        ({"embedding_precision": "int8", "ranges": "nowhere.npy"}, "nowhere.npy cannot be read as ranges"),
        ({"embedding_precision": "int8", "ranges": "good", "dimensions": 8}, "ranges have 32 dimensions"),
        ({"embedding_precision": "int8", "ranges": "vectors"}, "contains no ranges"),
        ({"embedding_precision": "int8", "source": "short"}, "60 lines are too few to compute the ranges"),
    ],
)
def test_errors_are_one_sentence_and_leave_no_file(options, message, encoder, text, tmp_path):
    options = dict(options)
    np.save(tmp_path / "good.npy", np.stack((-np.ones(32), np.ones(32))).astype(np.float32))
    np.save(tmp_path / "vectors.npy", np.ones((5, 32), dtype=np.float32))
    (tmp_path / "short.txt").write_text("\n".join(sentences(60)) + "\n")
    source = tmp_path / "short.txt" if options.pop("source", None) else text
    if "ranges" in options:
        options["ranges"] = tmp_path / f"{options['ranges'].removesuffix('.npy')}.npy"
    before = set(tmp_path.iterdir())
    with pytest.raises(SmoothCSEError, match=message):
        encode_file(encoder, source, tmp_path / "out.npy", console=QUIET, **options)
    assert set(tmp_path.iterdir()) == before
