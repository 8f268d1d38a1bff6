"""OpenAI's API as unmodified clients use it: token ids, LangChain at its defaults, and the examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repository import REPOSITORY
from served import listening
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402

from smoothcse.service import Served, create_app, openai_tokens  # noqa: E402

TEXTS = sentences(12)


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_encoder(tiny_bert)


@pytest.fixture(scope="module")
def expected(model):
    return encode(model, TEXTS, normalize=True)


@pytest.fixture(scope="module")
def address(model):
    with listening(create_app([Served("first", model)])) as url:
        yield url


@pytest.fixture
def vocabulary(monkeypatch):
    """OpenAI's vocabulary from the file that LlamaIndex carries, for both the client and the service."""
    tiktoken = pytest.importorskip("tiktoken", reason="needs the extra 'serve'")
    core = pytest.importorskip("llama_index.core", reason="needs the extra 'integrations'")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(Path(core.__file__).parent / "_static" / "tiktoken_cache"))
    return tiktoken.get_encoding("cl100k_base")


@pytest.fixture
def no_vocabulary(monkeypatch, tmp_path):
    """A machine without the file and without the network."""
    tiktoken = pytest.importorskip("tiktoken", reason="needs the extra 'serve'")

    def unreachable(url):
        raise ConnectionError("no network")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.load, "read_file", unreachable)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})


def test_token_ids_are_those_of_openais_models(address, vocabulary, expected):
    openai = pytest.importorskip("openai", reason="needs the package openai")
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0)
    several = client.embeddings.create(model="first", input=vocabulary.encode_batch(TEXTS))
    np.testing.assert_allclose([one.embedding for one in several.data], expected, atol=1e-3)
    one = client.embeddings.create(model="first", input=vocabulary.encode(TEXTS[0]), dimensions=8)
    np.testing.assert_allclose(one.data[0].embedding, expected[0, :8] / np.linalg.norm(expected[0, :8]), atol=1e-3)
    for unknown in (100_270, 2**40, -1):
        with pytest.raises(openai.BadRequestError, match="a token id that cl100k_base does not have"):
            client.embeddings.create(model="first", input=[unknown])
    with pytest.raises(openai.BadRequestError, match=r"text 1 \(from 0\) is empty"):
        client.embeddings.create(model="first", input=[[15339], []])


def test_langchain_at_its_defaults(address, vocabulary, expected):
    """It tokenises with OpenAI's vocabulary, whatever the model is."""
    langchain = pytest.importorskip("langchain_openai", reason="needs the extra 'integrations'")
    embeddings = langchain.OpenAIEmbeddings(model="first", base_url=f"{address}/v1", api_key="unused")
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-3)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[3]), expected[3], atol=1e-3)


def test_without_the_vocabulary_the_client_is_told_what_to_change(model, no_vocabulary):
    with listening(create_app([Served("first", model)])) as url:
        answer = httpx.post(f"{url}/v1/embeddings", json={"input": [[15339, 1070]]})
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "set check_embedding_ctx_length=False" in message
    assert "--token-ids model" in message
    assert "no network" in message


def test_token_ids_of_the_models_own_tokenizer(model, expected, monkeypatch):
    """As clients of vLLM send them: with special tokens or without."""
    monkeypatch.setattr(openai_tokens, "_read", lambda: pytest.fail("OpenAI's vocabulary is not needed"))
    with (
        listening(create_app([Served("first", model)], token_ids="model")) as url,
        httpx.Client(base_url=url) as client,
    ):
        for special in (True, False):
            ids = [model.tokenizer.encode(text, add_special_tokens=special) for text in TEXTS]
            answer = client.post("/v1/embeddings", json={"input": ids}).json()
            np.testing.assert_allclose([row["embedding"] for row in answer["data"]], expected, atol=1e-3)
        answer = client.post("/v1/embeddings", json={"input": [10**6]})
    assert answer.status_code == 400
    assert "no token with the id 1000000" in answer.json()["error"]["message"]


@pytest.mark.parametrize("example", ["langchain_search.py", "llama_index_search.py"])
def test_examples_of_stock_clients(example, address, tmp_path):
    package = {"langchain_search.py": "langchain_openai", "llama_index_search.py": "llama_index"}[example]
    pytest.importorskip(package, reason="needs the extra 'integrations'")
    (tmp_path / "docs.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    command = [sys.executable, REPOSITORY / "examples" / example, f"{address}/v1", "first", tmp_path / "docs.txt"]
    result = subprocess.run([*map(str, command), TEXTS[7]], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].endswith(TEXTS[7])
