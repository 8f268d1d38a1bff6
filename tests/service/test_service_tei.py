"""The endpoints of text-embeddings-inference, by Hugging Face's client and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from served import listening
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402
from huggingface_hub import InferenceClient  # noqa: E402
from huggingface_hub.errors import HfHubHTTPError  # noqa: E402

from smoothcse.service import Limits, Served, create_app  # noqa: E402

TEXTS = sentences(6)
LONG = " ".join(["the cat sat on a mat"] * 20 + ["dogs ran past old houses"])


@pytest.fixture(scope="module")
def model(tiny_bert):
    found = load_encoder(tiny_bert)
    found.prompts = {"query": "stars ", "document": ""}
    return found


@pytest.fixture(scope="module")
def address(model):
    with listening(create_app([Served("first", model)], token="s3cret")) as url:
        yield url


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, headers={"Authorization": "Bearer s3cret"}, timeout=30) as found:
        yield found


def test_hugging_face_client(address, model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it would refuse this machine as well
    client = InferenceClient(token="s3cret")
    expected = encode(model, TEXTS, normalize=True)
    for path in ("/embed", ""):
        found = client.feature_extraction(TEXTS, model=f"{address}{path}")
        np.testing.assert_allclose(found, expected, atol=1e-3)
    found = client.feature_extraction(TEXTS[0], model=f"{address}/embed", normalize=False, prompt_name="query")
    np.testing.assert_allclose(found, encode(model, TEXTS[:1], prompt_name="query"), atol=1e-3)
    scores = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:], model=f"{address}/similarity")
    assert scores == pytest.approx((expected[1:] @ expected[0]).tolist(), abs=1e-3)
    with pytest.raises(HfHubHTTPError, match="The model has no prompt 'qeury'; it has: query, document"):
        client.feature_extraction("a", model=f"{address}/embed", prompt_name="qeury")


def test_embeddings_in_every_form(client, model):
    def embedded(inputs, **options):
        answer = client.post("/embed", json={"inputs": inputs, **options})
        assert answer.status_code == 200, answer.text
        return np.array(answer.json())

    expected = encode(model, TEXTS, normalize=True)
    np.testing.assert_allclose(embedded(TEXTS[0]), expected[:1], atol=1e-3)
    ids = [model.tokenizer.encode(text) for text in TEXTS]
    np.testing.assert_allclose(embedded(ids), expected, atol=1e-3)
    np.testing.assert_allclose(embedded([TEXTS[0], ids[1], TEXTS[2]]), expected[:3], atol=1e-3)
    np.testing.assert_allclose(embedded(ids[0]), expected[:1], atol=1e-3)
    raw = encode(model, TEXTS)
    np.testing.assert_allclose(embedded(TEXTS, normalize=False, dimensions=5), raw[:, :5], atol=1e-3)
    cut = expected[:, :5] / np.linalg.norm(expected[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(embedded(TEXTS, dimensions=5), cut, atol=1e-3)


def test_long_texts_are_truncated_at_a_side_or_refused(client, model):
    """The model reads 64 tokens; two of them are special."""
    words = LONG.split()
    for side, kept in (("right", words[:62]), ("Left", words[-62:])):
        found = client.post("/embed", json={"inputs": LONG, "truncation_direction": side}).json()
        np.testing.assert_allclose(found, encode(model, [" ".join(kept)], normalize=True), atol=1e-3)
    assert client.post("/embed", json={"inputs": " ".join(words[:62]), "truncate": False}).status_code == 200
    for path, body in (
        ("/embed", {"inputs": [TEXTS[0], LONG], "truncate": False}),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": [LONG]}, "parameters": {"truncate": False}},
        ),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 413
        assert "inputs: text 1 (from 0) has 127 tokens, and the model reads 64" in answer.json()["error"]["message"]
    assert model.tokenizer.truncation_side == "right"


def test_similarity_with_options(client, model):
    body = {
        "inputs": {"source_sentence": LONG, "sentences": TEXTS},
        "parameters": {"prompt_name": "query", "truncation_direction": "left"},
    }
    rows = encode(model, [" ".join(LONG.split()[-62:]), *("stars " + text for text in TEXTS)], normalize=True)
    assert client.post("/similarity", json=body).json() == pytest.approx((rows[1:] @ rows[0]).tolist(), abs=1e-3)


def test_tokens(client, model):
    tokenizer = model.tokenizer
    [tokens, _] = client.post("/tokenize", json={"inputs": [TEXTS[0], LONG]}).json()
    assert [token["id"] for token in tokens] == tokenizer.encode(TEXTS[0])
    assert tokens[0] == {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None}
    first = TEXTS[0].split()[0]
    assert tokens[1] == {
        "id": tokenizer.convert_tokens_to_ids(first),
        "text": first,
        "special": False,
        "start": 0,
        "stop": len(first),
    }
    [plain] = client.post(
        "/tokenize", json={"inputs": TEXTS[0], "add_special_tokens": False, "prompt_name": "query"}
    ).json()
    assert [token["text"] for token in plain] == ["stars", *TEXTS[0].split()]
    ids = [tokenizer.encode(text) for text in TEXTS]
    assert client.post("/decode", json={"ids": ids}).json() == TEXTS
    assert client.post("/decode", json={"ids": ids[0], "skip_special_tokens": False}).json() == [
        f"[CLS] {TEXTS[0]} [SEP]"
    ]


def test_info_and_health(client, address):
    found = client.get("/info").json()
    assert found["model_id"] == "first"
    assert found["model_type"] == {"embedding": {"pooling": "mean"}}
    assert found["model_dtype"] == "float32"
    assert found["max_input_length"] == 64
    assert found["max_client_batch_size"] == Limits().texts
    assert found["auto_truncate"] is True
    assert httpx.get(f"{address}/health").status_code == 200  # needs no token, as the health check of a container
    assert httpx.get(f"{address}/info").status_code == 401
    assert httpx.get(address).status_code == 200  # the page, whose address also takes texts, with a token
    assert httpx.post(address, json={"inputs": "a text"}).status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/embed", {}, 422, "The field 'inputs' is missing."),
        ("/embed", {"inputs": ""}, 400, "inputs: text 0"),
        ("/embed", {"inputs": [[]]}, 400, "inputs: text 0"),
        ("/embed", {"inputs": [[10**9]]}, 400, "no token with the id 1000000000"),
        ("/embed", {"inputs": "a", "prompt_name": "qeury"}, 400, "no prompt 'qeury'"),
        ("/embed", {"inputs": "a", "dimensions": 99}, 400, "32"),
        ("/decode", {"ids": [-1]}, 400, "no token with the id -1"),
        ("/decode", {"ids": "a"}, 422, "ids"),
        ("/decode", {"ids": [[2]] * 2049}, 413, "ids has 2049 texts"),
        ("/embed", {"inputs": [[2]] * 2049}, 413, "inputs has 2049 texts"),
        ("/tokenize", {"inputs": []}, 400, "inputs is empty"),
        ("/tokenize", {"inputs": ["a " * 9000] * 56}, 413, "inputs has 1008000 characters"),
        ("/similarity", {"inputs": {"source_sentence": "a"}}, 422, "'inputs.sentences' is missing"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "sentences is empty"),
    ],
)
def test_what_is_wrong_is_said(client, path, body, status, sentence):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]["message"]
