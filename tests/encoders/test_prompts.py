"""Each text gets the same prompt as in sentence-transformers: in every command, in training and in the service."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from typer.testing import CliRunner

from smoothcse import TrainConfig, train
from smoothcse.cli import app
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode, token_counts
from smoothcse.encoders.length import require_room
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.retrieval import RetrievalTask, evaluate_retrieval
from smoothcse.evaluation.sts import STSTask, Subset, evaluate_sts
from smoothcse.export.export_model import export_model
from smoothcse.fastpath import accelerate
from smoothcse.fastpath.token_ids import PadTokenIds, tokenised_once
from smoothcse.methods.esimcse import ESimCSE, ESimCSELoss
from smoothcse.training.selection import label_free
from smoothcse.views.collator import CollateViews
from smoothcse.views.embed import dropout_views
from smoothcse.views.mixture import TextViews
from tiny import sentences

TEXTS = sentences(24)
PROMPTS = {"query": "small books about: ", "document": "winter light: ", "other": "the dogs "}
QUIET = Console(quiet=True)


def save(folder, tiny_bert, prompts=PROMPTS, default="other", include_prompt=True):
    model = load_encoder(tiny_bert, "mean", device="cpu")
    model = SentenceTransformer(modules=list(model), prompts=prompts, default_prompt_name=default, device="cpu")
    model.set_pooling_include_prompt(include_prompt)
    model.save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="module", params=[True, False], ids=["with-prompt", "prompt-left-out"])
def prompted(request, tiny_bert, tmp_path_factory):
    return save(tmp_path_factory.mktemp("prompted") / "model", tiny_bert, include_prompt=request.param)


@pytest.fixture(scope="module")
def left_out(tiny_bert, tmp_path_factory):
    return save(tmp_path_factory.mktemp("left-out") / "model", tiny_bert, include_prompt=False)


@pytest.fixture(scope="module")
def host(prompted):
    return SentenceTransformer(prompted, device="cpu")


def assert_equal(rows, expected, atol=2e-6):
    np.testing.assert_allclose(rows, expected, atol=atol)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "prompts", [{}, PROMPTS, {"query": "a "}, {"passage": "b "}, {"corpus": "c "}, {"document": "", "passage": "d "}]
)
@pytest.mark.parametrize("default", [None, "query", "other"])
def test_prompt_selection_equals_the_hosts(prompts, default, tiny_bert, tmp_path, monkeypatch):
    prompts = prompts | ({default: "by default "} if default else {})
    model = load_encoder(save(tmp_path, tiny_bert, prompts, default), device="cpu")
    asked = []
    monkeypatch.setattr(model, "_inference", lambda inputs, *, prompt, **_: asked.append(prompt or "") or [])
    model.encode(["x"]), model.encode_query(["x"]), model.encode_document(["x"])
    assert [prompt_of(model, kind) for kind in (None, "query", "document")] == asked
    for name, text in model.prompts.items():
        assert prompt_of(model, "query", prompt_name=name) == text
    assert prompt_of(model, "query", prompt="") == ""


def test_invalid_prompts_are_refused(prompted):
    model = load_encoder(prompted, device="cpu")
    with pytest.raises(
        SmoothCSEError, match=r"no prompt 'qery'; it has: query, document, other\. Did you mean 'query'"
    ):
        encode(model, TEXTS, prompt_name="qery")
    with pytest.raises(SmoothCSEError, match="input_type 'passage' is unknown"):
        encode(model, TEXTS, "passage")
    with pytest.raises(SmoothCSEError, match="Both a prompt and a prompt_name"):
        encode(model, TEXTS, prompt="a ", prompt_name="query")


def test_embeddings_equal_the_hosts(prompted, host):
    model = load_encoder(prompted, device="cpu")
    assert_equal(encode(model, TEXTS), host.encode(TEXTS))
    assert_equal(encode(model, TEXTS, "query"), host.encode_query(TEXTS))
    assert_equal(encode(model, TEXTS, "document"), host.encode_document(TEXTS))
    assert_equal(encode(model, TEXTS, prompt_name="query"), host.encode(TEXTS, prompt_name="query"))
    assert_equal(encode(model, TEXTS, prompt="ran past "), host.encode(TEXTS, prompt="ran past "))
    assert np.abs(host.encode_query(TEXTS) - host.encode(TEXTS)).max() > 0.01  # the prompts make a difference
    ids = host.tokenizer([PROMPTS["other"] + text for text in TEXTS])["input_ids"]
    assert token_counts(model, TEXTS, prompt_of(model)).tolist() == [len(row) for row in ids]


def test_a_replaced_pooling_still_excludes_the_prompt(tiny_bert, tmp_path):
    path = save(tmp_path, tiny_bert, include_prompt=False)
    host = SentenceTransformer(path, device="cpu")
    host[1].pooling_mode = "max"
    assert_equal(encode(load_encoder(path, "max", device="cpu"), TEXTS), host.encode(TEXTS))


def test_scores_equal_the_hosts(prompted, host):
    model = load_encoder(prompted, device="cpu")
    queries, documents = TEXTS[:12], [f"{text} by the sea" for text in reversed(TEXTS[:12])]
    relevant = np.arange(12)[::-1]
    names = {str(row): text for row, text in enumerate(documents)}
    theirs = InformationRetrievalEvaluator(
        {f"q{row}": text for row, text in enumerate(queries)},
        names,
        {f"q{row}": {str(answer)} for row, answer in enumerate(relevant)},
        mrr_at_k=[12],
        accuracy_at_k=[1],
    )(host)
    ours = evaluate_retrieval(model, RetrievalTask("t", queries, documents, relevant))
    assert ours["MRR"] == pytest.approx(100 * theirs["cosine_mrr@12"])
    assert ours["R@1"] == pytest.approx(100 * theirs["cosine_accuracy@1"])

    gold = [float(row % 6) for row in range(12)]
    theirs = EmbeddingSimilarityEvaluator(TEXTS[:12], TEXTS[12:], gold)(host)
    task = STSTask("t", (Subset("s", tuple(TEXTS[:12]), tuple(TEXTS[12:]), tuple(gold)),))
    [ours] = evaluate_sts(model, [task])
    assert ours.main == pytest.approx(100 * theirs["spearman_cosine"], abs=1e-4)


def smoothcse(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_commands_apply_prompts(prompted, host, tmp_path):
    file, rows = tmp_path / "texts.txt", tmp_path / "rows.npy"
    file.write_text("\n".join(TEXTS) + "\n")
    fp32 = ("--precision", "fp32", "-o", rows)
    for options, expected in (
        ((), host.encode(TEXTS)),
        (("--input-type", "document"), host.encode_document(TEXTS)),
        (("--prompt-name", "query"), host.encode(TEXTS, prompt_name="query")),
        (("--prompt", "ran past "), host.encode(TEXTS, prompt="ran past ")),
        (("--prompt", ""), host.encode(TEXTS, prompt="")),
    ):
        smoothcse("encode", prompted, file, *fp32, *options)
        assert_equal(np.load(rows), expected)
    rows.unlink()
    with pytest.raises(SmoothCSEError, match="no prompt 'nothing'"):
        smoothcse("encode", prompted, file, *fp32, "--prompt-name", "nothing")
    assert not rows.exists()
    [[score]] = host.similarity(host.encode(TEXTS[:1]), host.encode(TEXTS[1:2])).tolist()
    assert smoothcse("similarity", prompted, TEXTS[0], TEXTS[1]) == f"{score:.4f}\n"


def test_an_index_applies_document_and_query_prompts(prompted, host, tmp_path):
    pytest.importorskip("lancedb", reason="needs the extra 'search'")
    from smoothcse.search import Document, Index
    from smoothcse.search.simcse_tool import SimCSE

    index = Index.build(tmp_path / "index", prompted, map(Document, TEXTS), console=QUIET)
    index = Index.open(tmp_path / "index")
    expected = (unit(host.encode_query(["small books"])) @ unit(host.encode_document(TEXTS)).T)[0]
    atol = 0.02 if index._encoder is not index.model else 1e-5  # bf16 on hardware with bf16 instructions
    found = {hit.text: hit.cosine for hit in index.search("small books", len(TEXTS), exact=True)}
    assert_equal([found[text] for text in TEXTS], expected, atol)

    tool = SimCSE(prompted)
    tool.build_index(TEXTS)
    found = dict(tool.search("small books", threshold=-1, top_k=len(TEXTS)))
    assert_equal([found[text] for text in TEXTS], expected, atol)


def test_an_index_without_prompts_is_not_extended(left_out, tmp_path):
    pytest.importorskip("lancedb", reason="needs the extra 'search'")
    from smoothcse.encoders import fingerprint as module
    from smoothcse.search import Document, Index

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "has_prompts", lambda model: False)  # as in older versions
        Index.build(tmp_path / "index", left_out, map(Document, TEXTS[:3]), console=QUIET)
    with pytest.raises(SmoothCSEError, match="build a new index"):
        Index.open(tmp_path / "index")


def test_ray_workers_apply_prompts(prompted, host, tmp_path):
    from smoothcse.bulk.ray.job import Job
    from smoothcse.bulk.ray.shards import plan_shards
    from smoothcse.bulk.ray.worker import ShardEncoder
    from smoothcse.encoders.fingerprint import fingerprint

    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "in" / "a.parquet")
    model = load_encoder(prompted, device="cpu")
    for kind, prompt, expected in (
        (None, prompt_of(model), host.encode(TEXTS)),
        ("document", prompt_of(model, "document"), host.encode_document(TEXTS)),
        (None, None, host.encode(TEXTS, prompt="")),
    ):
        job = Job(prompted, None, fingerprint(model), "fp32", False, "text", ["text"], 100, kind, prompt)
        out = tmp_path / f"out-{kind}-{prompt}"
        out.mkdir()
        [shard] = plan_shards(tmp_path / "in", out, 100)
        worker = ShardEncoder(job, None, torch.get_num_threads(), 0)
        assert worker._attempt(shard) == {"rows": len(TEXTS), "error": None}
        assert_equal(pq.read_table(shard.target)["embedding"].to_pylist(), expected)


@pytest.fixture(scope="module")
def client(prompted, tmp_path_factory):
    for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
        pytest.importorskip(package, reason="needs the extra 'serve'")
    import httpx

    from served import listening
    from smoothcse.search import Document, Index
    from smoothcse.service import Served, create_app

    path = tmp_path_factory.mktemp("service") / "index"
    index = Index.build(path, prompted, map(Document, TEXTS), console=QUIET)
    with (
        listening(create_app([Served("it", index.model, index)])) as url,
        httpx.Client(base_url=url, timeout=30) as found,
    ):
        yield found


def test_the_service_applies_prompts(client, prompted, host):
    from smoothcse.encoders.inference import in_precision

    atol = 0.02 if in_precision(host, "auto") is not host else 1e-5
    for options, expected in (
        ({}, host.encode(TEXTS)),
        ({"input_type": "query"}, host.encode_query(TEXTS)),
        ({"input_type": "document", "user": "me"}, host.encode_document(TEXTS)),
        ({"prompt_name": "query"}, host.encode(TEXTS, prompt_name="query")),
    ):
        answer = client.post("/v1/embeddings", json={"input": TEXTS, **options}).json()
        assert_equal([entry["embedding"] for entry in answer["data"]], unit(expected), atol)
        name = options.get("prompt_name") or options.get("input_type") or "other"
        counted = token_counts(host, TEXTS, PROMPTS[name]).sum()
        assert answer["usage"]["total_tokens"] == counted
    for options, status, words in (
        ({"prompt_name": "nothing"}, 400, "no prompt 'nothing'; it has: query, document, other"),
        ({"input_type": "passage"}, 422, "input_type: Input should be 'query' or 'document'"),
        ({"prompt": "a "}, 400, "field prompt is not supported; choose a prompt with input_type or prompt_name"),
        ({"task": "retrieval.query"}, 400, "field task is not supported"),
    ):
        answer = client.post("/v1/embeddings", json={"input": TEXTS, **options})
        assert answer.status_code == status
        assert words in answer.json()["error"]["message"]

    expected = (unit(host.encode_query(["small books"])) @ unit(host.encode_document(TEXTS)).T)[0]
    asked = {"query": "small books", "k": len(TEXTS), "cosine_weight": 1}
    found = client.post("/search", json=asked).json()["results"]
    assert_equal([hit["score"] for hit in found], np.sort(expected)[::-1], atol)
    scores = client.post("/similarity", json={"a": TEXTS[:2], "b": TEXTS[2:4]}).json()["scores"]
    assert_equal(scores, unit(host.encode(TEXTS[:2])) @ unit(host.encode(TEXTS[2:4])).T, atol)


def test_a_batch_may_mix_prompts(prompted, host):
    from smoothcse.service.batcher import Batcher
    from smoothcse.service.readings import Embeddings

    model = load_encoder(prompted, device="cpu")
    batcher = Batcher(model, batch_texts=64, waiting_texts=1000)
    kinds = [None, "query", "document"] * 4
    futures = [batcher.submit([text], Embeddings.of(model, kind)) for text, kind in zip(TEXTS, kinds, strict=False)]
    rows = np.concatenate([future.result(30).vectors for future in futures])
    batcher.close()
    methods = {None: host.encode, "query": host.encode_query, "document": host.encode_document}
    expected = [methods[kind]([text])[0] for text, kind in zip(TEXTS, kinds, strict=False)]
    assert_equal(rows, unit(np.array(expected)), 0.02)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_exported_models_apply_prompts(format, left_out, tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    pytest.importorskip("onnxruntime" if format == "onnx" else "openvino", reason=f"needs the extra {format!r}")
    host = SentenceTransformer(left_out, device="cpu")
    export_model(load_encoder(left_out, device="cpu"), tmp_path / "out", format, TEXTS, console=QUIET)
    model = load_encoder(tmp_path / "out")
    assert_equal(encode(model, TEXTS), host.encode(TEXTS), 1e-5)
    assert_equal(encode(model, TEXTS, "query"), host.encode_query(TEXTS), 1e-5)
    assert_equal(encode(model, TEXTS, "document"), host.encode_document(TEXTS), 1e-5)


# ---- training -------------------------------------------------------------------------------------------------------


def test_training_applies_the_same_prompt_as_encode(prompted, host, corpus_file):
    corpus = load_sentences(str(corpus_file))
    model = build_encoder(prompted, projection=False, max_length=None, device="cpu")
    dataset, collate = tokenised_once(corpus.dataset, model, 16)
    rows = [dataset[row] for row in range(8)]
    texts = [corpus.dataset[row] for row in range(8)]
    theirs = SentenceTransformerDataCollator(host.preprocess, max_length=16, prompts=PROMPTS["other"])(texts)
    ours = collate(rows)
    assert isinstance(collate, PadTokenIds)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(*map(torch.as_tensor, (ours[key], theirs[key]))) for key in ours if "modality" not in key)
    assert ours["sentence_prompt_length"] == len(host.tokenizer(PROMPTS["other"])["input_ids"]) - 1

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for view in dropout_views(model, TEXTS):
        assert_equal(view, host.encode(TEXTS), 1e-5)


def test_left_padding_is_handled_by_the_host(prompted, tmp_path):
    model = load_encoder(prompted, device="cpu")
    model.tokenizer.padding_side = "left"
    # The rows compared have one length, later rows another.
    (tmp_path / "t.txt").write_text("\n".join([f"the {w} sat" for w in ("cat", "dogs", "old", "sea")] + TEXTS) + "\n")
    corpus = load_sentences(str(tmp_path / "t.txt"))
    dataset, collate = tokenised_once(corpus.dataset, model, 16)
    assert isinstance(collate, SentenceTransformerDataCollator)
    assert dataset is corpus.dataset


@pytest.mark.parametrize("method", ["simcse", "esimcse"])
def test_a_run_trains_with_the_prompt(method, left_out, tmp_path, corpus_file):
    def losses(model, name):
        config = TrainConfig(
            corpus=str(corpus_file), model=model, output=str(tmp_path / name), method=method, batch_size=16,
            max_steps=2, eval_steps=2, log_steps=1, dev="none", precision="fp32",
        )  # fmt: skip
        folder = train(config, console=QUIET).folder
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if "loss" in line], folder

    with_prompt, folder = losses(left_out, "with")
    shipped = SentenceTransformer(str(folder / "last"), device="cpu")
    assert shipped.prompts == PROMPTS
    assert shipped.default_prompt_name == "other"
    assert_equal(encode(load_encoder(folder / "last", device="cpu"), TEXTS), shipped.encode(TEXTS))
    if method != "simcse":
        return
    model = SentenceTransformer(left_out, device="cpu")
    model.default_prompt_name = None
    model.save_pretrained(str(tmp_path / "plain"))
    without, _ = losses(str(tmp_path / "plain"), "without")
    assert with_prompt[0] != without[0]


@pytest.mark.parametrize(
    ("weights", "first"),
    [
        ({"sentence": 1.0}, "query"),
        ({"title": 1.0}, "query"),
        ({"crops": 1.0}, "document"),
        ({"crops": 1.0, "sentence": 1.0}, "query"),
    ],
)
def test_views_drawn_from_the_text_have_the_prompts_of_their_roles(weights, first, prompted, host):
    texts = Dataset.from_dict({"sentence": [f"{one}. {two}." for one, two in pairwise(TEXTS)]})
    texts = texts.add_column("title", TEXTS[1:])
    views = TextViews(texts, weights, seed=0)
    model = load_encoder(prompted, device="cpu")
    batch = CollateViews(views, model, 60)([{"row": row} for row in range(4)])
    columns = views.draw(range(4), epoch=0)
    for name, role, column in zip(("sentence", "positive"), (first, "document"), columns, strict=True):
        features = {key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")}
        if f"{name}_prompt_length" in batch:
            features["prompt_length"] = batch[f"{name}_prompt_length"]
        encoded = host.encode_query(column) if role == "query" else host.encode_document(column)
        with torch.no_grad():
            assert_equal(model.eval()(features)["sentence_embedding"].numpy(), encoded, 1e-5)


def test_a_prompt_without_room_for_text_is_refused_in_training(prompted):
    model = load_encoder(prompted, device="cpu")
    needed = len(model.tokenizer(PROMPTS["other"])["input_ids"])
    require_room(model, needed + 1)
    with pytest.raises(SmoothCSEError, match=f"adds {needed} tokens"):
        require_room(model, needed)


def test_the_label_free_criterion_applies_prompts(prompted, host, corpus_file):
    corpus = load_sentences(str(corpus_file))
    scores = label_free(corpus, 32).score(load_encoder(prompted, device="cpu"))
    rows = torch.from_numpy(unit(host.encode(corpus.dataset["sentence"])))
    expected = torch.pdist(rows).pow(2).mul(-2).exp().mean().log()
    assert scores["uniformity"] == pytest.approx(float(expected), abs=2e-3)


def test_cls_pooling_reads_the_first_token_with_a_prompt(left_out):
    """If the last layer computed only [CLS], it would skip the token that is pooled."""
    for include_prompt in (True, False):
        model = load_encoder(left_out, "cls", device="cpu")
        model.set_pooling_include_prompt(include_prompt)
        with accelerate(model, parts=["read token"]):
            assert ("forward" in vars(model[0].model.encoder.layer[-1])) == include_prompt


def test_esimcse_does_not_repeat_tokens_of_the_prompt(left_out):
    model = build_encoder(left_out, max_length=None, device="cpu")
    features = model.preprocess(TEXTS, prompt=PROMPTS["other"])
    loss = ESimCSELoss(model, settings=ESimCSE(repetition_rate=1.0, queue_size=0))
    [first, second] = loss.views([features])
    length = features["prompt_length"]
    assert second["prompt_length"] == length
    assert torch.equal(first["input_ids"][:, :length], second["input_ids"][:, :length])
    assert second["attention_mask"].sum() > first["attention_mask"].sum()
