"""Malicious and damaged files: bounded memory, one sentence with the place, no path outside of a folder."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from smoothcse._utils.strict_yaml import read_yaml
from smoothcse.bulk.quantisation import read_ranges
from smoothcse.corpus import blocks, load_sentences, parquet
from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.readers import read_batches
from smoothcse.corpus.records import MOST_COLUMNS, read_records
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import benchmark_files
from smoothcse.evaluation.benchmark_files import read_lines
from smoothcse.evaluation.data import _unpack
from smoothcse.experiments.run_records import read_records as read_study_records
from smoothcse.experiments.study import read_study
from smoothcse.report.read import read_run
from smoothcse.runs.config_file import read_config_file, resolve_config
from smoothcse.runs.manifest import read_manifest

LIMIT_MB = 700
"""Memory limit of a process that reads an extreme file; its imports take about half of it."""


def text_file(path: Path) -> TextFile:
    return TextFile(path, path.name)


def all_of(path: Path, column: str | None = None) -> list[str]:
    batches = read_batches(text_file(path), [column] if column else None)
    return [text for batch in batches for text in batch.column(0).to_pylist()]


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(SmoothCSEError) as error:
        all_of(path, column)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- full size, in a process whose memory is measured -------------------------------------------------

_MEASURED = """
import sys
from pathlib import Path
from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.readers import read_batches
from smoothcse.errors import SmoothCSEError
for line in sys.stdin:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    path = Path(line.rstrip())
    try:
        print("read", sum(len(batch) for batch in read_batches(TextFile(path, path.name))))
    except SmoothCSEError as error:
        print(error)
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had when it forked
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024, flush=True)
"""


@pytest.fixture(scope="module")
def measured() -> Iterator[Callable[[Path], tuple[str, int]]]:
    """Return a function that reads a file in another process and returns its message and peak memory in MB."""
    command = [sys.executable, "-c", _MEASURED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def read(path: Path) -> tuple[str, int]:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            return process.stdout.readline().strip(), int(process.stdout.readline())

        yield read
        process.stdin.close()


def pieces(total: int, piece: bytes) -> Iterator[bytes]:
    for _ in range(total // len(piece)):
        yield piece


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv"])
def test_a_sparse_gigabyte_without_a_line_end_uses_little_memory(tmp_path, suffix, measured):
    path = tmp_path / f"long{suffix}"
    path.write_bytes(b"a" * 100)
    os.truncate(path, 1 << 30)  # the rest is NUL bytes that take no disk space
    said, peak = measured(path)
    assert said.startswith(f"long{suffix}:1 ")
    assert peak < LIMIT_MB


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_line_of_a_gigabyte_uses_little_memory(tmp_path, suffix, measured):
    path = tmp_path / f"long{suffix}"
    with path.open("wb") as file:
        file.writelines(pieces(1 << 30, b"a" * (1 << 20)))
    said, peak = measured(path)
    assert f"long{suffix}:1 is longer than 10 MB" in said
    assert peak < LIMIT_MB


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_decompression_bomb_of_one_line_is_refused_early(tmp_path, codec, measured):
    path = tmp_path / f"bomb.txt.{'gz' if codec == 'gzip' else 'zst'}"
    with pa.CompressedOutputStream(str(path), codec) as stream:
        for piece in pieces(512 << 20, b"a" * (4 << 20)):
            stream.write(piece)
    assert path.stat().st_size < 1 << 20
    started = time.perf_counter()
    said, peak = measured(path)
    assert f"{path.name}:1 is longer than 10 MB" in said
    assert peak < LIMIT_MB
    assert time.perf_counter() - started < 30


@pytest.mark.slow
def test_a_decompression_bomb_of_many_lines_is_read_in_constant_memory(tmp_path, measured):
    path = tmp_path / "bomb.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces(1 << 29, b"a cat sat on the mat\n" * 50_000):
            file.write(piece)
    said, peak = measured(path)
    assert said == f"read {(1 << 29) // 1_050_000 * 50_000}"
    assert peak < LIMIT_MB


def test_ten_million_columns_are_refused_with_a_short_message(tmp_path, measured):
    path = tmp_path / "wide.csv"
    path.write_bytes(b"," * 10_000_000 + b"\n" + b"," * 10_000_000 + b"\n")
    said, peak = measured(path)
    assert said == (
        f"wide.csv:1 has 10,000,001 columns, and at most {MOST_COLUMNS:,} are supported: check the separator, "
        "or keep only the columns you need."
    )
    assert peak < LIMIT_MB


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_parquet_file_that_repeats_a_long_text_is_read_in_parts(tmp_path, dictionary, measured):
    """Its few kilobytes expand to 16,384 rows of one megabyte."""
    path = tmp_path / "bomb.parquet"
    rows = 16_384 if dictionary else 400
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * (1 << 20)]))
    pq.write_table(pa.table({"text": column if dictionary else column.dictionary_decode()}), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    said, peak = measured(path)
    assert said == f"read {rows}"
    assert peak < (LIMIT_MB if dictionary else 2 * LIMIT_MB)


# ---- small files ----------------------------------------------------------------


def test_an_overlong_line_is_reported_with_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "a.txt"
    path.write_bytes(b"short\n" * 3 + b"b" * (6 << 20) + b"\nshort\n")  # longer than a block
    assert refusal(path).startswith("a.txt:4 is longer than 1 MB")


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv"])
def test_nul_and_invalid_bytes_are_reported_with_their_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    start = b'{"text": "a"}\n' if suffix == ".jsonl" else b"text\n"
    for broken in (b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"):
        path.write_bytes(start + b"two\n"[: 4 * (suffix != ".jsonl")] + broken + b"\n")
        assert f"a{suffix}:{2 if suffix == '.jsonl' else 3} " in refusal(path)


def test_messages_list_only_some_of_a_thousand_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"column {number}" for number in range(1000)) + "\n")
    assert "and 980 more" in refusal(path)
    assert len(refusal(path, column="x" * 100_000)) < 5000


def test_escapes_in_a_file_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "a\x1b]0;evil\x07\nb.txt"
    path.write_bytes(b"\xff")
    assert refusal(path).isprintable()


def test_a_pipe_in_a_folder_is_ignored(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    assert len(load_sentences(tmp_path)) == 3


# ---- Parquet --------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a cat", None, "b"], "n": [1, 2, 3]}), path, compression="none")
    return path


def test_an_inconsistent_footer_is_refused(table):
    good = table.read_bytes()
    length = int.from_bytes(good[-8:-4], "little")
    lies = [good[:-8] + n.to_bytes(4, "little") + good[-4:] for n in (0, 1, length + 1, 2**31 - 1, 2**32 - 1)]
    lies += [good[: len(good) // 2], good[4:], b"PAR1PAR1", good[:4] + bytes(len(good) - 12) + good[-8:]]
    for lie in lies:
        table.write_bytes(lie)
        assert "cannot be read as Parquet" in refusal(table)


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    pq.write_table(pa.table({"text": text}), path, store_schema=False)
    assert "cannot be read as Parquet" in refusal(path)
    with pytest.raises(SmoothCSEError, match="cannot be read as Parquet"):
        list(read_records(text_file(path)))


def test_two_columns_of_a_name_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    assert "2 columns called 'text'" in refusal(path, "text")


@pytest.mark.parametrize("name", ["a.b", "text.list.element", "", "`", "\n"])
def test_columns_with_unusual_names_are_read(tmp_path, name):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({name: ["x", "y"]}), path)
    assert all_of(path) == ["x", "y"]


def test_a_parquet_value_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "LONGEST_TEXT", 1 << 20)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a" * (2 << 20)]}), path)
    assert "a text of more than 1 MB" in refusal(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_split_batches_have_all_rows_in_order(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(parquet, "BATCH_BYTES", 100)
    path = tmp_path / "a.parquet"
    texts = [f"{number % 90} " * 10 if number % 7 else None for number in range(500)]
    pq.write_table(pa.table({"text": pa.array(texts).cast(kind)}), path)
    assert all_of(path) == [text or "" for text in texts]
    assert [record["text"] for _, record in read_records(text_file(path))] == texts


# ---- benchmark files ------------------------------------------------------------------------------------


def test_a_benchmark_file_of_many_megabytes_is_not_read(tmp_path):
    path = tmp_path / "sts-test.csv"
    path.touch()
    os.truncate(path, benchmark_files.LARGEST_FILE + 1)
    with pytest.raises(SmoothCSEError, match="is larger than 256 MB"):
        read_lines(path)


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return path


def member(name: str, size: int = 0, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("name", ["../../SICK/a.txt", "/SICK/a.txt", "x/../../../SICK/a.txt"])
def test_an_archive_is_unpacked_to_fixed_names_only(tmp_path, name):
    path = archive(tmp_path / "a.tar", (member(name, 3), b"abc"), (member("../evil.txt", 1), b"x"))
    _unpack(path, ["SICK/a.txt"], tmp_path / "deep" / "er" / "sts")
    assert (tmp_path / "deep" / "er" / "sts" / "SICK" / "a.txt").read_bytes() == b"abc"
    found = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert found == {"a.tar", "a.txt"}


def test_links_and_devices_in_an_archive_are_ignored(tmp_path):
    link = member("SICK/a.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    device = member("SICK/a.txt", type=tarfile.CHRTYPE, devmajor=1, devminor=5)
    path = archive(tmp_path / "a.tar", (link, b""), (device, b""))
    with pytest.raises(SmoothCSEError, match="contains no sts files"):
        _unpack(path, ["SICK/a.txt"], tmp_path / "sts")
    assert not (tmp_path / "sts").exists()


def test_a_member_that_would_fill_the_disk_is_refused(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(member("SICK/a.txt", 1 << 40).tobuf() + bytes(1024))
    with pytest.raises(SmoothCSEError, match="would take 1099511627776 bytes"):
        _unpack(path, ["SICK/a.txt"], tmp_path / "sts")


# ---- YAML -----------------------------------------------------------------------------------------------

_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
EVIL_YAML = {
    "object": "corpus: !!python/object/apply:os.mkdir ['RAN']\n",
    "new object": "corpus: !!python/object/new:os.mkdir ['RAN']\n",
    "name": "corpus: !!python/name:os.mkdir\n",
    "laughs": _LAUGHS + "corpus: *a9\n",
    "itself": "corpus: &a [*a]\n",
    "deep": "corpus: " + "[" * 50_000,
    "date": "corpus: 2001-99-99\n",
    "number": "seed: " + "9" * 10_000 + "\n",
    "hex": "seed: 0x" + "f" * 10_000 + "\n",
    "empty number": "seed: 0b_\n",
    "key": "? [a, b]\n: c\n",
    "set": "corpus: !!set {a}\n",
    "binary": "corpus: !!binary '='\n",
    "nul": 'output: "a\\0b"\n',
    "half": 'output: "\\ud800"\n',
    "recipe": "recipe: [a]\n",
    "long": "corpus: " + "x" * (2 << 20) + "\n",
    "control": "corpus: \x07\n",
}


@pytest.mark.parametrize("name", EVIL_YAML)
def test_malicious_configurations_are_refused_with_a_short_message(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(EVIL_YAML[name].replace("RAN", str(tmp_path / "ran")), encoding="utf-8")
    with pytest.raises(SmoothCSEError) as error:
        resolve_config(file=path)
    assert "config.yaml" in str(error.value)
    assert len(str(error.value)) < 5000
    assert not (tmp_path / "ran").exists()


def test_yaml_aliases_are_read_if_they_expand_little(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("base: &b {corpus: a.txt}\nvariants: {x: {<<: *b}, y: *b}\n")
    assert read_config_file(path)["variants"] == {"x": {"corpus": "a.txt"}, "y": {"corpus": "a.txt"}}


def test_a_key_that_overrides_a_merged_one_is_given_once(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("- &a {k: 1, l: 1}\n- [[&b {<<: *a, k: 2}]]\n- {<<: *b, k: 3, m: {<<: *b}}\n")
    merged = read_yaml(path.read_text())
    assert merged == [{"k": 1, "l": 1}, [[{"k": 2, "l": 1}]], {"k": 3, "l": 1, "m": {"k": 2, "l": 1}}]


def test_a_duplicate_variant_is_reported_with_its_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("seeds: [0]\nvariants:\n  a: {}\n  b: {}\n  a: {seed: 1}\n")
    with pytest.raises(SmoothCSEError, match=r"study\.yaml:5 .*the key 'a' is given twice"):
        read_study(path)


# ---- studies and runs -----------------------------------------------------------------------------------


def study(folder: Path, **values: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"seeds": [0], "variants": {"a": {}}, **values}))
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..", "a\\..\\..\\evil"])
def test_a_variant_cannot_leave_the_studys_folder(tmp_path, name):
    with pytest.raises(SmoothCSEError, match="outside of the study's folder"):
        read_study(study(tmp_path, variants={name: {}}))


def test_a_value_of_the_grid_cannot_leave_the_studys_folder(tmp_path):
    with pytest.raises(SmoothCSEError, match="outside of the study's folder"):
        read_study(study(tmp_path, grid={"model": ["x/../../../evil"]}))


def test_a_grid_of_a_billion_runs_is_refused(tmp_path):
    grid = {name: list(range(2, 1002)) for name in ("batch_size", "eval_steps", "log_steps")}
    with pytest.raises(SmoothCSEError, match="1,000,000,000 runs"):
        read_study(study(tmp_path, grid=grid))


@pytest.mark.parametrize(
    ("manifest", "metrics"),
    [
        ("[]", ""),
        ("7", ""),
        ("[" * 100_000, ""),
        ('{"config": []}', ""),
        ('{"config": {"seed": "x"}}', ""),
        ('{"config": {}, "status": "finished"}', ""),
        ('{"config": {}, "status": "finished", "result": {"start_score": "x"}}', ""),
        ('{"config": {}}', "7\n"),
        ('{"config": {}}', "{}\n"),
        ('{"config": {}}', '{"step": "x"}\n'),
        ('{"config": {}}', '{"step": 1, "eval_dev_score": "x"}\n'),
        ('{"config": {}}', "[" * 100_000 + "\n"),
        ("\xff", ""),
    ],
)
def test_a_damaged_run_is_reported_with_its_file(tmp_path, manifest, metrics):
    (tmp_path / "run.json").write_text(manifest, encoding="latin-1")
    (tmp_path / "metrics.jsonl").write_text(metrics)
    with pytest.raises(SmoothCSEError, match="run.json" if not metrics else "metrics.jsonl:1"):
        read_run(tmp_path)


def test_an_oversized_run_json_is_not_read(tmp_path):
    (tmp_path / "run.json").touch()
    os.truncate(tmp_path / "run.json", 1 << 30)
    with pytest.raises(SmoothCSEError, match="larger than 256 MB"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("line", ["7", "{}", "[" * 100_000, '{"variant": 1}'])
def test_a_damaged_record_of_a_study_is_reported_with_its_line(tmp_path, line):
    (tmp_path / "runs.jsonl").write_text(line + "\n")
    with pytest.raises(SmoothCSEError, match=r"runs.jsonl:1 is not a record"):
        read_study_records(tmp_path / "runs.jsonl")


# ---- ranges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 4), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000000000000), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, -1), }\n",
        b"{'descr': \0",
        b"(" * 5000 + b"\n",
        b"__import__('os').mkdir('ran')\n",
    ],
)
def test_malicious_ranges_are_refused(tmp_path, header, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.ranges.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32))
    with pytest.raises(SmoothCSEError, match="ranges"):
        read_ranges(path)
    assert not (tmp_path / "ran").exists()
