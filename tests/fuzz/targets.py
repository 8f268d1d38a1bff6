"""Targets of fuzzing: each reader as a function of bytes, with small files of its format as seeds.

A target returns if the bytes are read or are refused with a one-line ``SmoothCSEError``. Anything else is a finding.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from made_documents import save_docx, save_pdf
from smoothcse.bulk.quantisation import read_ranges
from smoothcse.corpus.documents.passages import count_words, split_passages
from smoothcse.corpus.documents.read_documents import Skipped, read_file
from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.readers import read_batches
from smoothcse.corpus.records import read_records
from smoothcse.encoders.safety import require_safe_folder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import _unpack
from smoothcse.evaluation.sts_tasks import load_task
from smoothcse.evaluation.transfer_tasks import load_transfer
from smoothcse.experiments.run_records import read_records as read_study_records
from smoothcse.experiments.study import read_study
from smoothcse.report.read import read_run
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.config_file import resolve_config
from smoothcse.search import Document, Index
from smoothcse.search.column_names import column_of, name_of

SCRATCH = Path(tempfile.mkdtemp(prefix="smoothcse-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
"""Folder for the inputs of this process, in memory if possible."""


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        read: Function of one input; raises an exception for a finding.
        seeds: Inputs of its format, of as many kinds as possible.
        share: Weight of the target in the inputs of a long run.
    """

    read: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    share: float = 1.0


def refusing(read: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Accept a ``SmoothCSEError`` if its message is one line of at most 5,000 characters."""

    def checked(data: bytes) -> None:
        try:
            read(data)
        except SmoothCSEError as error:
            message = str(error)
            if not message or "\n" in message or len(message) > 5000:
                raise AssertionError(f"not a one-line message: {message[:200]!r}") from error

    return checked


def _corpus(suffix: str) -> Callable[[bytes], None]:
    path = SCRATCH / f"corpus{suffix}"
    file = TextFile(path, path.name)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for batch in read_batches(file, block_bytes=64):  # small blocks, so that inputs cross their boundaries
            for text in batch.column(0):
                text.as_py()

    return read


def _records(suffix: str) -> Callable[[bytes], None]:
    path = SCRATCH / f"records{suffix}"
    file = TextFile(path, path.name)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for _, record in read_records(file):
            assert isinstance(record, dict)

    return read


def _document(suffix: str) -> Callable[[bytes], None]:
    path = SCRATCH / f"document{suffix}"
    file = TextFile(path, path.name)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        document = read_file(file)
        if isinstance(document, Skipped):
            raise SmoothCSEError(str(document))
        for passage in split_passages(document.text, 16, count_words):
            assert passage.text

    return read


def _task(load: Callable[[Path, str], object], name: str, *files: str) -> Callable[[bytes], None]:
    """Return a reader of an evaluation task whose files all have the same content."""
    folder = SCRATCH / name

    def read(data: bytes) -> None:
        for file in files:
            _write(folder / file, data)
        load(folder, name)

    return read


def _sts_year(data: bytes) -> None:
    folder = SCRATCH / "years" / "STS13-en-test"
    pairs, _, scores = data.partition(b"====")
    for subset in ("FNWN", "headlines", "OnWN"):
        _write(folder / f"STS.input.{subset}.txt", pairs)
        _write(folder / f"STS.gs.{subset}.txt", scores)
    load_task(folder.parent, "STS13")


def _archive(data: bytes) -> None:
    folder = SCRATCH / "unpacked" / "sts"
    _write(SCRATCH / "senteval.tar", data)
    try:
        _unpack(SCRATCH / "senteval.tar", ["SICK/SICK_test_annotated.txt"], folder)
        for path in folder.rglob("*"):
            assert path.resolve().is_relative_to(folder.resolve()), path
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _config(data: bytes) -> None:
    _write(SCRATCH / "config.yaml", data)
    config = resolve_config(file=SCRATCH / "config.yaml")
    json.dumps(config.as_dict())


def _study(data: bytes) -> None:
    _write(SCRATCH / "study.yaml", data)
    output = SCRATCH / "study"
    for run in read_study(SCRATCH / "study.yaml").runs():
        assert (output / run.name).resolve().is_relative_to(output), run.name


def _run(data: bytes) -> None:
    manifest, _, metrics = data.partition(b"====")
    _write(SCRATCH / "run" / "run.json", manifest)
    _write(SCRATCH / "run" / "metrics.jsonl", metrics)
    run = read_run(SCRATCH / "run")
    run.curve("loss"), run.last_step, run.finished
    run.path()


def _study_records(data: bytes) -> None:
    _write(SCRATCH / "runs.jsonl", data)
    read_study_records(SCRATCH / "runs.jsonl")


def _ranges(data: bytes) -> None:
    _write(SCRATCH / "ranges.npy", data)
    read_ranges(SCRATCH / "ranges.npy")


_MODEL_FILES = ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer_config.json")


def _model(data: bytes) -> None:
    for name, part in zip(_MODEL_FILES, data.split(b"===="), strict=False):
        _write(SCRATCH / "model" / name, part)
    _write(SCRATCH / "model" / "model.safetensors", bytes(4096))
    require_safe_folder(SCRATCH / "model")


def _index(data: bytes) -> None:
    _write(SCRATCH / "some.index" / "index.json", data)
    Index.fingerprint_of(SCRATCH / "some.index")


def _late(module: str, name: str, *arguments: object) -> Callable[[bytes], None]:
    """Return a target that is created at its first input, since other targets do not need its imports."""
    started: list[Callable[[bytes], None]] = []

    def read(data: bytes) -> None:
        if not started:
            started.append(getattr(import_module(module), name)(SCRATCH, *arguments))
        started[0](data)

    return read


def _json_filter(data: bytes) -> object:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _replaced(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _metadata_name(data: bytes) -> None:
    name = data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1")
    [name] = Document("text", metadata={name: 1}).metadata
    column = column_of(name)
    assert name_of(column) == name
    assert re.fullmatch(r"(?!_)[\w %-]+", column), column


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ---- seeds ----------------------------------------------------------------------------------------------

_LINES = "The cat sat.\r\nÄpfel fallen.\n\n日本語 \U0001f600\n".encode()
_JSONL = b'{"sentence": "a cat", "n": 1}\n\n{"sentence": "\\ud83d", "more": [null, {"a": 1e9}]}\n'
_CSV = b'id,text\n1,"a ""quoted"" cat"\n2,"two\nlines"\n'
_TSV = b'id\ttext\n1\ta "cat\n2\tb\n'
_STSB = b"".join(b"main\tnews\t2015\t1\t%d.5\tA man walks.\tA man sits.\textra\n" % score for score in (1, 4))
_SICK = b"pair_ID\tA\tB\tscore\n1\tA dog runs.\tA cat runs.\t2.5\n2\tA dog.\tThe dog.\t4.9\n"
_MRPC = b"Quality\tA\tB\tS1\tS2\n" + b"".join(b"%d\t1\t2\tone text\tother text %d\n" % (n % 2, n) for n in range(24))
_MRPC_FILES = ("MRPC/msr_paraphrase_train.txt", "MRPC/msr_paraphrase_test.txt")
_TREC = b"NUM:date When?\n" * 10 + b"HUM:ind Who?\n" * 10
_SST = b"a good film\t1\na bad one\t0\n" * 10
_SST_FILES = tuple(f"SST/binary/sentiment-{split}" for split in ("train", "dev", "test"))
_YAML = b"""base: &b {corpus: a.txt, noise_count: 0}
seeds: [0, 1]
control: plain
variants: {plain: {}, gs: {<<: *b, noise_count: 192}}
grid: {batch_size: {64: {learning_rate: 3.0e-5}, 128: {}}}
"""
_INDEX = b'{"model": "m", "pooling": null, "fingerprint": "f", "codes": "pq", "format": 1}'
_FILTERS = (
    b'{"year": {"gte": 2000.5, "ne": 7}, "source": ["a", "b\'"], "id": null}',
    b'{"a.b`c": {"lt": 1e300}, "_rowid": true, "odd": [false]}',
)
_CONDITIONS = (
    b"year >= 2000.5 AND NOT (source = 'it''s' OR `a.b``c` < -1e-7)",
    b"\"_rowid\" <> false or odd and source like '%a_' and id is not null",
    b"year not in (2000, 2001.5) and id between '0' and '2' and year not between -1 and +3",
)
_METADATA = (
    b'{"a.b": 1, "_rowid": "x", "*": 0.5, "`": true}',
    b'{"Year": 1, "year": -2, "\\ud83d": null, "%2E": 1e300}',
)
_METADATA_NAMES = (b"a`b.c", b"_rowid", "é %2E*".encode(), b"year", b"\xed\xa0\x80")
_HTTP = (
    b'/v1/embeddings\n{"input": ["a cat", "b"], "encoding_format": "base64", "dimensions": 8}',
    b'/search\n{"query": "a cat", "k": 3, "where": {"year": {"gte": 2005}, "kind": ["a", "b"]}}',
    b'/similarity\n{"a": ["a cat"], "b": ["a dog", "rain"]}',
)
_CONNECTION = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
    b'{"input": "a"}',
    b"POST /similarity HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b'4\r\n{"a"\r\n0\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.0\r\n\r\n",
)
_HTML = b"<!DOCTYPE html><title>T</title><script>run()</script><p>one <b>two</b> &eacute;<table><tr><td>x</table>"
_MARKDOWN = b"---\na: b\n---\n# Title\n\n* `code` and [link](http://x.example)\n\n| a | b |\n|---|---|\n| c | d |\n"
_CONFIG = b"recipe: simcse/bert-base-uncased\ncorpus: a.txt\nnoise_std: 2\nepochs: 1.5\ndev: null\nseed: 0x1F\n"


def _parquet(**settings: object) -> bytes:
    table = pa.table({"text": ["a cat", None, "b", "b"], "n": [1, 2, 3, None], "l": [[1], [], None, [2]]})
    sink = io.BytesIO()
    pq.write_table(table, sink, **settings)
    return sink.getvalue()


def _packed(data: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def _tar(mode: str) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in (("data/SICK/SICK_test_annotated.txt", _SICK), ("../up", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _run_seed() -> bytes:
    result = {"start_score": 1.0, "best_score": 2.0, "best_step": 10, "last_score": 1.5, "criterion": "dev score"}
    manifest = {"status": "finished", "config": TrainConfig().as_dict(), "result": result}
    metrics = [{"step": 0, "eval_dev_score": 1.0}, {"step": 10, "loss": 0.5, "noise_share": 0.1}]
    metrics.append({"step": 10, "eval_dev_score": 2.0, "eval_uniformity": -1.0, "eval_alignment": 0.1})
    return json.dumps(manifest).encode() + b"====" + b"".join(json.dumps(entry).encode() + b"\n" for entry in metrics)


def _record_seed() -> bytes:
    record = {"variant": "gs", "point": {"batch_size": 64}, "seed": 0, "start": 1.0, "best": 2.0, "last": 1.5}
    record |= {"curve": [[0, 1.0], [10, 2.0]], "noise_share": None, "seconds": 9.5}
    record |= {"config": TrainConfig().as_dict(), "environment": {"started": "now"}}
    return (json.dumps(record) + "\n").encode() * 2


def _model_seed() -> bytes:
    config = {"model_type": "bert", "hidden_size": 8, "vocab_size": 9, "num_hidden_layers": 2}
    kinds = {"0": "base.modules.Transformer", "1": "sentence_transformer.modules.Pooling"}
    modules = [
        {"idx": int(n), "name": n, "path": f"{n}_M", "type": f"sentence_transformers.{k}"} for n, k in kinds.items()
    ]
    parts = (config, modules, {"max_seq_length": 32, "model_args": {"dtype": "float32"}}, {"do_lower_case": True})
    return b"====".join(json.dumps(part).encode() for part in parts)


def _made(save: Callable[[Path, list[str], str], Path]) -> bytes:
    return save(SCRATCH / "made", ["First page.", "Second (page)."], "A title").read_bytes()


def _npy() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.zeros((2, 4), np.float32))
    return sink.getvalue()


@cache
def targets() -> dict[str, Target]:
    """Return the targets by name."""
    table, plain = _parquet(), _parquet(use_dictionary=False, compression="zstd", data_page_version="2.0")
    years = b"a cat\tb dog\nc\td\n====1.0\n2.5\n"
    archives = (_tar("w"), _tar("w:gz"), _tar("w:xz"))
    found = {
        "txt": Target(_corpus(".txt"), (_LINES,), 2),
        "txt.gz": Target(_corpus(".txt.gz"), (_packed(_LINES, "gzip"),)),
        "txt.zst": Target(_corpus(".txt.zst"), (_packed(_LINES, "zstd"),)),
        "jsonl": Target(_corpus(".jsonl"), (_JSONL,), 2),
        "csv": Target(_corpus(".csv"), (_CSV,), 2),
        "tsv": Target(_corpus(".tsv"), (_TSV,)),
        "parquet": Target(_corpus(".parquet"), (table, plain), 2),
        "records jsonl": Target(_records(".jsonl"), (_JSONL,)),
        "records csv": Target(_records(".csv"), (_CSV,)),
        "records parquet": Target(_records(".parquet"), (table, plain)),
        "STS-B": Target(_task(load_task, "STSBenchmark", "STSBenchmark/sts-test.csv"), (_STSB,)),
        "SICK": Target(_task(load_task, "SICKRelatedness", "SICK/SICK_test_annotated.txt"), (_SICK,)),
        "STS years": Target(_sts_year, (years,)),
        "MR": Target(_task(load_transfer, "MR", "MR/rt-polarity.pos", "MR/rt-polarity.neg"), (_LINES * 4,), 0.5),
        "TREC": Target(_task(load_transfer, "TREC", "TREC/train_5500.label", "TREC/TREC_10.label"), (_TREC,), 0.5),
        "SST2": Target(_task(load_transfer, "SST2", *_SST_FILES), (_SST,), 0.5),
        "MRPC": Target(_task(load_transfer, "MRPC", *_MRPC_FILES), (_MRPC,), 0.5),
        "senteval.tar": Target(_archive, archives, 0.5),
        "configuration": Target(_config, (_CONFIG,), 0.5),
        "study": Target(_study, (_YAML,), 0.5),
        "run.json": Target(_run, (_run_seed(),)),
        "runs.jsonl": Target(_study_records, (_record_seed(),)),
        "ranges.npy": Target(_ranges, (_npy(),)),
        "model folder": Target(_model, (_model_seed(),)),
        "index.json": Target(_index, (_INDEX,)),
        "metadata names": Target(_metadata_name, _METADATA_NAMES),
    }
    if all(find_spec(package) for package in ("lancedb", "fastapi", "prometheus_client")):
        found["HTTP"] = Target(_late("http_target", "http_target"), _HTTP, 0.1)
        found["connection"] = Target(_late("http_target", "connection_target"), _CONNECTION, 0.01)
    if find_spec("lancedb"):
        found["search filter"] = Target(_late("index_target", "filter_target", _json_filter), _FILTERS)
        found["search condition"] = Target(_late("index_target", "filter_target", _replaced), _CONDITIONS)
        found["metadata"] = Target(_late("index_target", "metadata_target"), _METADATA, 0.1)
    if all(find_spec(package) for package in ("docx", "lxml", "markdown_it", "pypdf", "rensa", "semchunk")):
        found["html"] = Target(_document(".html"), (_HTML,))
        found["md"] = Target(_document(".md"), (_MARKDOWN, _HTML))
        found["pdf"] = Target(_document(".pdf"), (_made(save_pdf),), 0.5)
        found["docx"] = Target(_document(".docx"), (_made(save_docx),), 0.5)
    return {name: Target(refusing(target.read), target.seeds, target.share) for name, target in found.items()}
