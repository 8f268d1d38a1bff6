from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sentence_transformers import SentenceTransformer

from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import maxsim
from smoothcse.evaluation.maxsim import first_candidates, late_interaction, rerank
from tiny import sentences


@pytest.fixture(scope="module")
def model(tiny_bert) -> SentenceTransformer:
    return load_encoder(tiny_bert, "mean")


def naive_late_interaction(model, queries, documents, candidates):
    def tokens(text):
        features = model.preprocess([text])
        with torch.no_grad():
            states = model(features)["token_embeddings"][0]
        return torch.nn.functional.normalize(states, dim=-1).tolist()

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    found = []
    for query, row in zip(queries, candidates.tolist(), strict=True):
        asked = tokens(query)
        known = [tokens(documents[index]) for index in row]
        found.append([sum(max(cosine(a, b) for b in text) for a in asked) / len(asked) for text in known])
    return found


def test_late_interaction_is_the_loop(model, monkeypatch):
    # Several blocks of queries and of texts, of different lengths, with documents that several queries share.
    monkeypatch.setattr(maxsim, "_QUERIES_AT_A_TIME", 3)
    monkeypatch.setattr(maxsim, "_TEXTS_AT_A_TIME", 2)
    texts = sentences(9)
    queries, documents = [text[: 5 + 4 * n] for n, text in enumerate(texts[:4])], [*texts[4:], texts[4][:9]]
    candidates = np.array([[0, 5, 2], [1, 0, 4], [3, 3, 0], [5, 1, 2]])
    late = late_interaction(model, queries, documents, candidates)
    assert late.dtype == np.float32
    np.testing.assert_allclose(late, naive_late_interaction(model, queries, documents, candidates), atol=2e-5)


def test_a_text_is_most_similar_to_itself(model):
    texts = sentences(5)
    late = late_interaction(model, texts, texts, np.tile(np.arange(5), (5, 1)))
    np.testing.assert_allclose(np.diag(late), 1, atol=1e-5)
    assert (late <= 1 + 1e-5).all()


def test_queries_and_documents_have_their_prompts(tiny_bert):
    model = load_encoder(tiny_bert, "mean")
    model.prompts = {"query": "query: ", "document": "document: "}
    plain = load_encoder(tiny_bert, "mean")
    one, other = sentences(2)
    late = late_interaction(model, [one], [other], np.array([[0]]))
    expected = late_interaction(plain, [f"query: {one}"], [f"document: {other}"], np.array([[0]]))
    np.testing.assert_allclose(late, expected, atol=1e-6)


def test_no_queries_are_no_scores(model):
    assert late_interaction(model, [], ["a"], np.zeros((0, 1), dtype=np.int64)).shape == (0, 1)


def test_an_encoder_without_token_embeddings_is_refused():
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    with pytest.raises(SmoothCSEError, match="no token embeddings"):
        late_interaction(static, ["a"], ["a"], np.array([[0]]))


@given(arrays(np.float64, (2, 6), elements=st.integers(0, 9).map(float)), st.integers(1, 8))
def test_the_first_candidates_are_the_best(scores, count):
    found = first_candidates(scores, count)
    for row, chosen in zip(scores.tolist(), found.tolist(), strict=True):
        assert chosen == sorted(range(6), key=lambda i: (-row[i], i))[:count]


def test_reranking_by_hand():
    scores = np.array([[0.9, 0.1, 0.8, 0.3, 0.7]])
    candidates = first_candidates(scores, 3)
    assert candidates.tolist() == [[0, 2, 4]]
    late = np.array([[0.2, 0.6, 0.4]])
    only_late = rerank(scores, candidates, late, 1.0)
    assert np.argsort(-only_late[0]).tolist() == [2, 4, 0, 3, 1]
    only_first = rerank(scores, candidates, late, 0.0)
    assert np.argsort(-only_first[0]).tolist() == [0, 2, 4, 3, 1]
    np.testing.assert_allclose(rerank(scores, candidates, late)[0, candidates[0]], [2.5, 2.75, 2.25])
