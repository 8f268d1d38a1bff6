"""OpenAI's batches, by its unmodified client: uploaded, answered in the background, downloaded, and not lost."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from served import listening
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "multipart"):
    pytest.importorskip(package, reason="needs the extra 'serve'")
openai = pytest.importorskip("openai", reason="needs the package openai")

from smoothcse.service import Limits, Served, batch_runner, create_app  # noqa: E402
from smoothcse.service.server import serve_models  # noqa: E402

TEXTS = sentences(12)
URL = "/v1/embeddings"


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_encoder(tiny_bert)


def serving(model, folder: Path, token: str | None = "secret", **limits):
    folder.mkdir(exist_ok=True)
    chosen = Limits(**limits)
    app = create_app([Served("first", model)], token=token, batches=folder, limits=chosen)
    return listening(app, chosen)


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0)


def lines(*bodies: dict, **changes) -> bytes:
    rows = [
        {"custom_id": f"row {number}", "method": "POST", "url": URL, "body": body, **changes}
        for number, body in enumerate(bodies)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def start(client, content: bytes):
    file = client.files.create(file=("mine.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")


def ended(client, batch):
    deadline = time.monotonic() + 30
    while (batch := client.batches.retrieve(batch.id)).status not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.02)
    return batch


def rows(client, id: str) -> dict[str, dict]:
    found = [json.loads(line) for line in client.files.content(id).text.splitlines()]
    return {row["custom_id"]: row["response"] for row in found}


def test_a_batch_has_the_answers_of_its_requests_and_the_errors_of_the_wrong_ones(model, tmp_path):
    wrong = [{"input": ""}, {"input": "a", "model": "none"}, {"input": 3}, {}, {"input": "a", "dimensions": 0}]
    with serving(model, tmp_path / "batches") as url:
        client = client_of(url)
        batch = start(client, lines(*({"input": text, "model": "first"} for text in TEXTS), *wrong))
        assert (batch.object, batch.endpoint) == ("batch", URL)
        batch = ended(client, batch)
        assert batch.status == "completed"
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (17, 12, 5)
        output, errors = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
        found = [output[f"row {number}"]["body"]["data"][0]["embedding"] for number in range(12)]
        np.testing.assert_allclose(found, encode(model, TEXTS, normalize=True), atol=1e-5)
        assert output["row 3"]["status_code"] == 200
        statuses = [errors[f"row {number}"]["status_code"] for number in range(12, 17)]
        assert statuses == [400, 404, 422, 422, 422]
        assert "There is no model 'none'" in errors["row 13"]["body"]["error"]["message"]
        assert "'input' is missing" in errors["row 15"]["body"]["error"]["message"]
        assert [one.id for one in client.batches.list()] == [batch.id]
        stored = client.files.list().data
        assert {file.purpose for file in stored} == {"batch", "batch_output"}
        client.files.delete(batch.output_file_id)
        with pytest.raises(openai.NotFoundError):
            client.files.content(batch.output_file_id)
    assert not [path for path in (tmp_path / "batches").iterdir() if path.suffix in (".output", ".errors", ".new")]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "has no requests"),
        (lines({"input": "a"}) + b"{\n", 2, "not a JSON object"),
        (lines({"input": "a"}) * 2, 2, "custom_id must be a text that no other line has"),
        (lines({"input": "a"}, url="/v1/chat/completions"), 1, "method and url must be POST and /v1/embeddings"),
        (lines(3), 1, "body, an object"),
        (b"\n\n" + lines({"input": "a"}) + b"\n{\n", 5, "not a JSON object"),
        (lines({"input": "a" * 3000}), 1, "The line is larger than 2000 bytes; divide the request."),
        (lines({"input": "a"}, {"input": "b"}, {"input": "c"}), 3, "The limit is 2 requests per batch"),
    ],
)
def test_a_file_that_is_no_batch_fails_and_its_lines_are_named(content, line, message, model, tmp_path):
    with serving(model, tmp_path / "batches", batch_requests=2, body_bytes=2000) as url:
        batch = ended(client_of(url), start(client_of(url), content))
    assert batch.status == "failed"
    [error] = batch.errors.data
    assert error.line == line
    assert message in error.message


def test_a_batch_continues_in_the_next_service(model, tmp_path, monkeypatch):
    """Each answer is there once, although a line was half written."""
    folder = tmp_path / "batches"
    answer, answering = batch_runner.BatchRunner._one, []

    async def slow(self, line):
        if len(answering) == 8:
            await batch_runner.asyncio.sleep(60)
        answering.append(line)
        return await answer(self, line)

    monkeypatch.setattr(batch_runner.BatchRunner, "_one", slow)
    with serving(model, folder) as url:
        batch = start(client_of(url), lines(*({"input": text} for text in TEXTS)))
        while len(answering) < 8 or client_of(url).batches.retrieve(batch.id).request_counts.completed < 8:
            time.sleep(0.02)
    monkeypatch.undo()
    with (folder / f"{batch.id}.output").open("ab") as part:
        part.write(b'{"custom_id": "row 8", "resp')
    with serving(model, folder) as url:
        client = client_of(url)
        batch = ended(client, batch)
        assert batch.request_counts.completed == 12
        assert len(client.files.content(batch.output_file_id).text.splitlines()) == 12
        assert len(rows(client, batch.output_file_id)) == 12


def test_any_custom_id_is_answered(model, tmp_path):
    """Half of a surrogate pair is JSON, but no text in UTF-8."""
    with serving(model, tmp_path / "batches") as url:
        client = client_of(url)
        batch = ended(client, start(client, lines({"input": "a"}, custom_id="\ud800")))
        assert batch.status == "completed"
        assert list(rows(client, batch.output_file_id)) == ["\ud800"]


def test_a_bug_in_one_batch_does_not_end_the_others(model, tmp_path, monkeypatch):
    async def broken(self, batch, total):
        raise ZeroDivisionError

    with serving(model, tmp_path / "batches") as url:
        client = client_of(url)
        with monkeypatch.context() as patch:
            patch.setattr(batch_runner.BatchRunner, "_answer_all", broken)
            batch = ended(client, start(client, lines({"input": "a"})))
        assert batch.status == "failed"
        assert batch.errors.data[0].message == "Internal error (ZeroDivisionError)."
        assert ended(client, start(client, lines({"input": "a"}))).status == "completed"


def test_a_cancelled_batch_keeps_its_answers(model, tmp_path, monkeypatch):
    async def slow(self, line):
        await batch_runner.asyncio.sleep(0.05)
        return 200, b"{}"

    monkeypatch.setattr(batch_runner.BatchRunner, "_one", slow)
    with serving(model, tmp_path / "batches") as url:
        client = client_of(url)
        batch = start(client, lines(*({"input": "a"} for _ in range(400))))
        while not client.batches.retrieve(batch.id).request_counts.completed:
            time.sleep(0.01)
        with pytest.raises(openai.BadRequestError, match="is the input of a batch that has not ended"):
            client.files.delete(batch.input_file_id)
        cancelling = client.batches.cancel(batch.id)
        assert cancelling.status == "cancelling"
        batch = ended(client, batch)
        assert batch.status == "cancelled"
        assert batch.cancelling_at == cancelling.cancelling_at is not None
        assert 0 < batch.request_counts.completed == len(rows(client, batch.output_file_id)) < 400
        with pytest.raises(openai.BadRequestError, match="cannot be cancelled, because it is cancelled"):
            client.batches.cancel(batch.id)


def test_what_is_refused(model, tmp_path):
    with serving(model, tmp_path / "batches", file_bytes=1000, body_bytes=500, stored_bytes=900) as url:
        client = client_of(url)
        with pytest.raises(openai.BadRequestError, match="purpose 'fine-tune' is not supported"):
            client.files.create(file=b"{}", purpose="fine-tune")
        with pytest.raises(openai.APIStatusError, match="larger than 1000 bytes"):
            client.files.create(file=b"x" * 1000, purpose="batch")
        client.files.create(file=b"x" * 600, purpose="batch")
        with pytest.raises(openai.APIStatusError, match="no room for another one"):
            client.files.create(file=b"x" * 400, purpose="batch")
        for id in ("file-1", "../secret", "file-" + "0" * 32, "batch_" + "0" * 32):
            with pytest.raises(openai.NotFoundError):
                client.files.retrieve(id)
        with pytest.raises(openai.UnprocessableEntityError):
            client.batches.create(input_file_id="x", endpoint="/v1/responses", completion_window="24h")
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).files.list()
    with serving(model, tmp_path / "batches", token=None) as url, pytest.raises(openai.PermissionDeniedError):
        client_of(url).files.list()
    with (
        listening(create_app([Served("first", model)], token="secret")) as url,
        pytest.raises(openai.NotFoundError, match="--batches FOLDER"),
    ):
        client_of(url).files.list()


def test_a_file_may_be_uploaded_compressed(model, tmp_path):
    """The limit of files holds for what it expands to, not that of other bodies."""
    form = httpx.Request("POST", "http://x", data={"purpose": "batch"}, files={"file": b"x" * 4000})
    headers = {
        "Authorization": "Bearer secret",
        "Content-Encoding": "gzip",
        "Content-Type": form.headers["content-type"],
    }
    with serving(model, tmp_path / "batches", file_bytes=5000, body_bytes=500) as url:
        answer = httpx.post(f"{url}/v1/files", content=gzip.compress(form.read()), headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["bytes"] == 4000
        broken = {**headers, "Content-Type": "multipart/form-data"}
        answer = httpx.post(f"{url}/v1/files", content=gzip.compress(b"x"), headers=broken)
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            400,
            "The body cannot be read: Missing boundary in multipart.",
        )


def test_the_command_needs_a_token(tiny_bert, tmp_path):
    with pytest.raises(SmoothCSEError, match="--batches stores what clients upload and needs a token"):
        serve_models([tiny_bert], batches=tmp_path / "batches")
