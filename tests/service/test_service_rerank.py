"""Reranking, as Cohere's client, Jina's API and text-embeddings-inference ask for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from scipy.special import expit

from served import listening
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import late_interaction_of
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402

from smoothcse.service import Served, create_app  # noqa: E402
from smoothcse.service.cross_encoder import load_reranker  # noqa: E402
from smoothcse.service.served import load_served  # noqa: E402

QUERY, *TEXTS = sentences(9)


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_encoder(tiny_bert)


@pytest.fixture(scope="module")
def save_classifier(tiny_bert, tmp_path_factory):
    def saving(outputs):
        folder = tmp_path_factory.mktemp("classifiers") / f"cross-{outputs}"
        config = transformers.AutoConfig.from_pretrained(tiny_bert, num_labels=outputs)
        torch.manual_seed(0)
        transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
        return str(folder)

    return saving


@pytest.fixture(scope="module")
def reranker(save_classifier):
    return load_reranker(save_classifier(1), [])


@pytest.fixture(scope="module")
def logits(reranker):
    pairs = reranker.model.tokenizer([QUERY] * len(TEXTS), TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return reranker.model.model(**pairs).logits[:, 0].numpy()


@pytest.fixture(scope="module")
def cosines(model):
    return encode(model, TEXTS, "document", normalize=True) @ encode(model, [QUERY], "query", normalize=True)[0]


@pytest.fixture(scope="module")
def address(model):
    served = [Served("first", model), Served("tokens", model, maxsim=True)]
    with listening(create_app(served)) as url:
        yield url


@pytest.fixture(scope="module")
def with_reranker(model, reranker):
    with listening(create_app([Served("first", model)], reranker=reranker)) as url:
        yield url


def ranked(scores):
    order = np.argsort(-np.asarray(scores), kind="stable")
    return [(int(place), pytest.approx(float(scores[place]), abs=1e-3)) for place in order]


def in_order(results):
    return [(one["index"], one["relevance_score"]) for one in results]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_an_encoder_reranks_by_cosine_similarity(address, path, cosines):
    body = {"query": QUERY, "documents": TEXTS, "model": "first"}
    answer = httpx.post(f"{address}{path}", json=body).json()
    assert set(answer) == {"id", "model", "results", "usage"}
    assert in_order(answer["results"]) == ranked(cosines)
    assert answer["model"] == "first"
    assert answer["usage"]["total_tokens"] > len(TEXTS)
    assert set(answer["results"][0]) == {"index", "relevance_score"}
    objects = {**body, "documents": [{"text": text, "year": 1} for text in TEXTS], "rank_fields": ["text"]}
    few = httpx.post(f"{address}{path}", json={**objects, "top_n": 2, "return_documents": True}).json()["results"]
    assert in_order(few) == ranked(cosines)[:2]
    assert few[0]["document"] == {"text": TEXTS[few[0]["index"]]}


def test_a_model_that_chose_maxsim_reranks_token_by_token(address, model):
    answer = httpx.post(f"{address}/v2/rerank", json={"query": QUERY, "documents": TEXTS, "model": "tokens"}).json()
    assert in_order(answer["results"]) == ranked(late_interaction_of(model, QUERY, TEXTS))


def test_the_search_settings_of_a_model_choose(tiny_bert, tmp_path):
    from smoothcse.runs.search_settings import SearchSettings, write_search_settings

    load_encoder(tiny_bert).save_pretrained(str(tmp_path))
    assert [one.maxsim for one in load_served([str(tmp_path)])] == [False]
    write_search_settings(tmp_path, SearchSettings(cosine_weight=0.5, rerank="maxsim"))
    assert [one.maxsim for one in load_served([str(tmp_path)])] == [True]
    assert [one.maxsim for one in load_served([str(tmp_path)], rerank="none")] == [False]


def test_a_model_is_named_by_its_folder_or_by_the_run_or_adaptation_that_it_is_a_part_of(
    tiny_bert, tmp_path, monkeypatch
):
    encoder = load_encoder(tiny_bert)
    folders = ["runs/first/last", "runs/first/best", "my/model", "plain/last"]
    for folder in folders:
        encoder.save_pretrained(str(tmp_path / folder))
    for record in ("runs/first/run.json", "my/adapt.json"):
        (tmp_path / record).write_text("{}")
    monkeypatch.chdir(tmp_path)

    def names(*models: str) -> list[str]:
        return [one.name for one in load_served(models)]

    assert names("runs/first/last", "my/model/", "plain/last") == ["first", "my", "last"]
    assert names("runs/first", "my") == ["first", "my"]
    assert names("runs/first/last", "runs/first/best") == ["runs/first/last", "runs/first/best"]
    monkeypatch.chdir(tmp_path / "my" / "model")
    assert names(".") == ["my"]


def test_cohere_client(address, with_reranker, cosines, logits):
    cohere = pytest.importorskip("cohere", reason="needs the package cohere")
    second = cohere.ClientV2(api_key="unused", base_url=address)
    answer = second.rerank(model="first", query=QUERY, documents=TEXTS, top_n=3)
    assert [(one.index, one.relevance_score) for one in answer.results] == ranked(cosines)[:3]
    first = cohere.Client(api_key="unused", base_url=with_reranker)
    answer = first.rerank(query=QUERY, documents=[{"text": text} for text in TEXTS], return_documents=True)
    assert [(one.index, one.relevance_score) for one in answer.results] == ranked(expit(logits))
    assert answer.results[0].document.text == TEXTS[answer.results[0].index]
    with pytest.raises(cohere.NotFoundError, match="There is no model 'rerank-v9'; available: first, cross-1"):
        first.rerank(model="rerank-v9", query=QUERY, documents=TEXTS)


def test_text_embeddings_inference_form(address, with_reranker, cosines, logits):
    def answer(url, **options):
        found = httpx.post(f"{url}/rerank", json={"query": QUERY, "texts": TEXTS, **options}).json()
        return [(one["index"], one["score"]) for one in found]

    assert answer(address) == ranked(cosines)
    assert answer(with_reranker) == ranked(expit(logits))
    assert answer(with_reranker, raw_scores=True) == ranked(logits)
    assert answer(with_reranker, model="first") == ranked(cosines)
    body = {"query": QUERY, "texts": TEXTS[:2], "return_text": True}
    found = httpx.post(f"{address}/rerank", json=body).json()
    assert {(one["index"], one["text"]) for one in found} == {(0, TEXTS[0]), (1, TEXTS[1])}


def test_long_pairs_are_truncated_at_a_side_or_refused(with_reranker, reranker):
    long = " ".join(["the cat"] * 40 + ["stars"])
    body = {"query": QUERY, "texts": [long]}
    scores = {
        side: httpx.post(f"{with_reranker}/rerank", json={**body, "truncation_direction": side}).json()[0]["score"]
        for side in ("Left", "right")
    }
    assert scores["Left"] != scores["right"]
    assert scores["right"] == pytest.approx(float(reranker.model.predict([(QUERY, long)])[0]), abs=1e-4)
    refused = httpx.post(f"{with_reranker}/rerank", json={**body, "truncate": False})
    assert refused.status_code == 413
    assert "texts: text 0 (from 0) has" in refused.json()["error"]["message"]


def test_the_reranker_is_listed_but_does_not_embed(with_reranker):
    assert [one["id"] for one in httpx.get(f"{with_reranker}/v1/models").json()["data"]] == ["first", "cross-1"]
    answer = httpx.post(f"{with_reranker}/v1/embeddings", json={"input": "x", "model": "cross-1"})
    assert answer.status_code == 404
    assert "There is no model 'cross-1'; available: first." in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/v1/rerank", {"query": "a", "documents": []}, 400, "documents is empty"),
        ("/v1/rerank", {"query": " ", "documents": ["x"]}, 400, "query: text 0"),
        ("/v2/rerank", {"query": "a", "documents": ["x"], "top_n": 0}, 422, "top_n: Input should be greater"),
        (
            "/v2/rerank",
            {"query": "a", "documents": ["x"], "rank_fields": ["title"]},
            422,
            "join other fields into the",
        ),
        ("/rerank", {"query": "a"}, 422, "The field 'documents' is missing."),
        ("/rerank", {"texts": ["a"]}, 422, "The field 'query' is missing."),
        ("/rerank", {"query": "a", "texts": "b"}, 422, "texts: Input should be a valid list."),
        ("/rerank", {"query": "a", "texts": ["b"], "truncation_direction": "up"}, 422, "truncation_direction: Input"),
        ("/rerank", ["a"], 422, "The body must be a JSON object"),
    ],
)
def test_what_is_wrong_is_said(address, path, body, status, sentence):
    answer = httpx.post(f"{address}{path}", json=body)
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]["message"]


def test_what_cannot_rerank(save_classifier, tiny_bert):
    with pytest.raises(SmoothCSEError, match="has 3 outputs; give a model with one"):
        load_reranker(save_classifier(3), [])
    with pytest.raises(SmoothCSEError, match=r"is not a cross-encoder.*names BertModel"):
        load_reranker(tiny_bert, [])
