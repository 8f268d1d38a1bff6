"""Bulk encoding on a real Ray cluster of two local workers: exactly once per row, despite crashes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from commands import run_here
from forked import start_command
from smoothcse.bulk.ray.driver import _remove_leftovers, _workers, encode_on_ray
from smoothcse.bulk.ray.job import choose_columns, only_writer
from smoothcse.bulk.ray.shards import is_finished, plan_shards, read_rows, write_rows
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from tiny import save_tiny_model, sentences

QUIET = Console(quiet=True)
ROWS = 12_000
ROWS_PER_SHARD = 1_000
SHARDS = ROWS // ROWS_PER_SHARD


def write_input(folder, rows, files=2, row_group_size=700):
    """Write rows of (id, sentence) to files whose row groups are not aligned with shards."""
    folder.mkdir(parents=True, exist_ok=True)
    distinct = sentences(500)
    table = pa.table({"id": range(rows), "sentence": [distinct[i % 500] for i in range(rows)]})
    share = -(-rows // files)
    for index in range(files):
        part = table.slice(index * share, share)
        pq.write_table(part, folder / f"part-{index}.parquet", row_group_size=row_group_size)
    return table


def read_output(folder):
    return pq.read_table(sorted(folder.glob("*.parquet")))


def check_output(folder, table, model_path):
    """Check that every row exists once, in order, with its embedding."""
    assert pq.read_table(folder).num_rows == len(table)  # plain readers ignore the job's other files
    found = read_output(folder)
    assert found["id"].to_pylist() == table["id"].to_pylist()
    texts = table["sentence"].to_pylist()
    expected = encode(load_encoder(model_path, device="cpu"), texts[:500])
    vectors = np.stack(found["embedding"].to_numpy())
    assert vectors.dtype == np.float32
    assert np.abs(expected - expected.mean(0)).max() > 0.1  # the embeddings differ
    np.testing.assert_allclose(vectors, expected[np.arange(len(vectors)) % 500], atol=2e-5)
    assert not list(folder.glob("*.new"))


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - by default workers run at low priority
    ray.init(num_cpus=2, object_store_memory=150 * 2**20, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def finished(output):
    """Return the time at which each shard's file was written."""
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*.parquet")}


def busy_workers(output):
    """Return the local worker processes that are writing a shard to ``output``."""
    found = []
    for process in psutil.process_iter(["cmdline", "uids"]):
        if "ray::MapWorker" in " ".join(process.info["cmdline"] or []) and process.info["uids"].real == os.getuid():
            try:
                if any(file.path.startswith(f"{output}/") for file in process.open_files()):
                    found.append(process)
            except psutil.Error:
                continue
    return found


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.03)
    raise AssertionError("waited in vain")


@pytest.mark.slow
@pytest.mark.timeout(900)  # seconds on an idle machine, minutes on a busy one, since four processes import torch
def test_each_row_is_written_once_after_crashes(cluster, tiny_bert, tmp_path, monkeypatch):
    table = write_input(tmp_path / "in", ROWS)
    output = tmp_path / "out"
    command = ["encode", tiny_bert, tmp_path / "in", "-o", output, "--engine", "ray", "--keep", "id"]
    command += ["--precision", "fp32", "--batch-size", "16", "--rows-per-shard", ROWS_PER_SHARD]
    options = {"keep": ["id"], "precision": "fp32", "rows_per_shard": ROWS_PER_SHARD, "console": QUIET}

    # The whole job is killed after a few shards ...
    monkeypatch.setenv("RAY_ADDRESS", cluster.get_runtime_context().gcs_address)
    job = start_command(*command, said=tmp_path / "said.txt")
    try:
        wait_for(lambda: len(finished(output)) >= 3 or not job.is_alive())
    finally:
        job.kill()
    job.join()
    assert job.exitcode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
    monkeypatch.undo()
    wait_for(lambda: not busy_workers(output))  # Ray stops the workers of a killed driver
    before = finished(output)
    assert 3 <= len(before) <= SHARDS // 2
    (output / ".part-1-00005.parquet.deadbeef.new").touch()  # as a killed worker leaves it behind

    # ... and when it is resumed, a worker is killed in the middle of a shard.
    killed = []

    def kill_half_way():
        wait_for(lambda: len(finished(output)) >= len(before) + 2)
        victim = wait_for(lambda: busy_workers(output))[0]
        victim.kill()
        killed.append(len(finished(output)))

    killer = threading.Thread(target=kill_half_way)
    killer.start()
    assert encode_on_ray(tiny_bert, tmp_path / "in", output, batch_size=16, **options) == ROWS
    killer.join()
    assert killed
    assert killed[0] < SHARDS

    after = finished(output)
    assert len(after) == SHARDS
    assert {name: after[name] for name in before} == before
    check_output(output, table, tiny_bert)
    manifest = json.loads((output / "_manifest.json").read_text())
    assert manifest["fingerprint"] == fingerprint(load_encoder(tiny_bert, device="cpu"))

    # A finished job is not changed, and other models or changed rows are refused.
    assert encode_on_ray(tiny_bert, tmp_path / "in", output, **options) == ROWS
    assert finished(output) == after
    with pytest.raises(SmoothCSEError, match=r"other settings: fingerprint .* Use the same settings"):
        encode_on_ray(tiny_bert, tmp_path / "in", output, pooling="cls", **options)
    with pytest.raises(SmoothCSEError, match=r"other settings: normalize \(False before, True now\)"):
        encode_on_ray(tiny_bert, tmp_path / "in", output, normalize=True, **options)
    write_input(tmp_path / "in", ROWS, row_group_size=300)
    with pytest.raises(
        SmoothCSEError, match=r"part-0-00000.parquet was written from another version of .*part-0.parquet"
    ):
        encode_on_ray(tiny_bert, tmp_path / "in", output, **options)
    (tmp_path / "in" / "part-1.parquet").unlink()
    with pytest.raises(SmoothCSEError, match=r"part-1-00000.parquet belongs to no file of the input"):
        encode_on_ray(tiny_bert, tmp_path / "in", output, **options)


def test_a_shard_that_kills_its_workers_fails_the_job(tiny_bert, tmp_path):
    from smoothcse.bulk.ray.job import Job
    from smoothcse.bulk.ray.worker import ATTEMPTS, OUTCOME, ShardEncoder

    write_input(tmp_path / "in", 20, files=1)
    [shard] = plan_shards(tmp_path / "in", tmp_path / "out", 100)
    model = fingerprint(load_encoder(tiny_bert, device="cpu"))
    job = Job(tiny_bert, None, model, "fp32", False, "sentence", ["sentence"], 100)
    worker = ShardEncoder(job, batch_size=8, threads=1, gpus=0)
    batch = pa.Table.from_pylist([vars(shard)])

    (tmp_path / "out").mkdir()
    for attempt in range(ATTEMPTS):
        (tmp_path / "out" / f".part-0-00000.parquet.{attempt:08x}.new").touch()
    [outcome] = worker(batch).to_pylist()
    assert outcome["rows"] == 0
    assert "workers died on rows 0 to 19 of" in outcome["error"]
    (tmp_path / "out" / f".part-0-00000.parquet.{0:08x}.new").unlink()
    assert worker(batch) == pa.Table.from_pylist([{"rows": 20, "error": None}], schema=OUTCOME)

    other = ShardEncoder(Job(**{**vars(job), "fingerprint": "0" * 32}), batch_size=8, threads=1, gpus=0)
    assert "has a different model under the name" in other(batch)["error"][0].as_py()


@pytest.mark.parametrize(
    ("rows", "rows_per_shard", "row_group_size", "chunk"), [(10, 4, 3, 2), (9, 3, 100, 8), (7, 50, 1, 3)]
)
def test_shards_contain_each_row_once(rows, rows_per_shard, row_group_size, chunk, tmp_path):
    table = write_input(tmp_path / "in" / "deep", rows, files=2, row_group_size=row_group_size)
    shards = plan_shards(tmp_path / "in", tmp_path / "out", rows_per_shard)
    assert shards == plan_shards(tmp_path / "in", tmp_path / "out", rows_per_shard)
    assert len({shard.target for shard in shards}) == len(shards)
    read = [chunk_ for shard in shards for chunk_ in read_rows(shard, ["id"], chunk)]
    assert max(map(len, read)) <= chunk
    assert [row for part in read for row in part["id"].to_pylist()] == table["id"].to_pylist()
    for shard in shards:
        assert not is_finished(shard)
        assert write_rows(shard, read_rows(shard, ["id", "sentence"], chunk)) == shard.rows
        assert is_finished(shard)
    assert read_output(tmp_path / "out" / "deep")["sentence"].to_pylist() == table["sentence"].to_pylist()


def test_a_shard_is_written_completely_or_not_at_all(tmp_path):
    write_input(tmp_path / "in", 20, files=1)
    [shard] = plan_shards(tmp_path / "in", tmp_path / "out", 100)

    def breaks_off():
        yield from list(read_rows(shard, ["id", "sentence"], 5))[:2]
        raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError):
        write_rows(shard, breaks_off())
    with pytest.raises(SmoothCSEError, match="changed while it was read"):
        write_rows(shard, iter(list(read_rows(shard, ["id", "sentence"], 5))[:2]))
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "part-0-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(SmoothCSEError, match="cannot be read as Parquet"):
        is_finished(shard)


def test_the_fingerprint_covers_everything_that_determines_embeddings(tiny_bert, tmp_path):
    here = load_encoder(tiny_bert, device="cpu")
    expected = fingerprint(here)
    here.encode(["a cat", "the cat sat"])  # sets the padding of the tokenizer
    assert fingerprint(here) == expected
    shutil.copytree(tiny_bert, tmp_path / "moved")
    assert fingerprint(load_encoder(tmp_path / "moved", device="cpu")) == expected
    here.max_seq_length = 8
    assert fingerprint(here) != expected
    assert fingerprint(load_encoder(tiny_bert, "cls", device="cpu")) != expected
    nudged = load_encoder(tiny_bert, device="cpu")
    with torch.no_grad():
        next(nudged.parameters())[3, 3] += 1e-6
    assert fingerprint(nudged) != expected
    other = save_tiny_model(tmp_path / "other", layer_norm_eps=1e-3)
    assert fingerprint(load_encoder(other, device="cpu")) != expected


def test_invalid_arguments_are_refused_before_anything_is_written(tiny_bert, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    write_input(tmp_path / "in", 20)
    output = tmp_path / "out"
    with pytest.raises(SmoothCSEError, match="is inside the input"):
        encode_on_ray(tiny_bert, tmp_path / "in", tmp_path / "in" / "out")
    with pytest.raises(SmoothCSEError, match="precision 'fp8' is unknown"):
        encode_on_ray(tiny_bert, tmp_path / "in", output, precision="fp8")
    with pytest.raises(SmoothCSEError, match="has no column 'ident' to keep"):
        encode_on_ray(tiny_bert, tmp_path / "in", output, keep=["ident"])
    with pytest.raises(SmoothCSEError, match="column 'id' does not contain text"):
        encode_on_ray(tiny_bert, tmp_path / "in", output, column="id")
    (tmp_path / "text.txt").write_text("a sentence\n")
    for source in (tmp_path / "text.txt", tmp_path / "nothing.parquet"):
        with pytest.raises(SmoothCSEError, match=r"must be a \.parquet file or a folder of them"):
            encode_on_ray(tiny_bert, source, output)
    pq.write_table(pa.table({"id": ["a"], "sentence": ["b"]}), tmp_path / "in" / "part-2.parquet")
    with pytest.raises(
        SmoothCSEError, match=r"part-2.parquet: column 'id' has the type string, in the files before it int64"
    ):
        choose_columns(sorted((tmp_path / "in").iterdir()), None, ["id"])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SmoothCSEError, match=r'pip install -c constraints.txt "\.\[ray\]"'):
        encode_on_ray(tiny_bert, tmp_path / "in", output)
    assert not output.exists()


def test_two_jobs_cannot_share_an_output(tmp_path):
    with only_writer(tmp_path / "out"):  # noqa: SIM117
        with pytest.raises(SmoothCSEError, match="Another job is writing"), only_writer(tmp_path / "out"):
            pass
    with only_writer(tmp_path / "out"):
        pass


def test_the_options_of_the_engine_are_checked(tiny_bert, corpus_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for extra, message in (
        (["--keep", "id"], "--keep needs --engine ray"),
        (["--engine", "dask"], "Invalid value for '--engine'"),
    ):
        assert run_here("encode", tiny_bert, corpus_file, "-o", "x.npy", *extra) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_workers_in_another_folder_read_relative_paths(cluster, tiny_bert, tmp_path, monkeypatch):
    """The workers of a running cluster stay in the folder in which it was started."""
    table = write_input(tmp_path / "in", 40, files=1)
    shutil.copytree(tiny_bert, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert encode_on_ray("model", Path("in"), Path("out"), keep=["id"], precision="fp32", console=QUIET) == 40
    check_output(tmp_path / "out", table, tiny_bert)
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["model"] == "model"


def test_workers_are_counted_by_node():
    """A worker cannot have CPUs of two nodes; Ray would wait for ever."""

    def found(*nodes, cpus):
        rows = [{"Alive": True, "Resources": dict(zip(("CPU", "GPU"), node, strict=False))} for node in nodes]
        return _workers(SimpleNamespace(nodes=lambda: [*rows, {"Alive": False, "Resources": {"CPU": 64}}]), cpus)

    assert found((4,), (4,), (7,), cpus=2) == (7, 0)
    assert found((4, 2), (16,), (16, 8), cpus=4) == (5, 1)
    for nodes in ([(4,)] * 4, [(4, 1), (64,)], []):
        with pytest.raises(SmoothCSEError, match=r"No worker with 8 CPUs fits on a node of the cluster"):
            found(*nodes, cpus=8)


def test_leftovers_of_workers_alone_are_removed(tmp_path):
    mine = [tmp_path / "notes.new", tmp_path / "old.new" / "a.parquet.new"]
    left = tmp_path / "in" / ".part-1-00005.parquet.deadbeef.new"
    for file in (*mine, left):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    _remove_leftovers(tmp_path)
    assert all(file.exists() for file in mine)
    assert not left.exists()


def test_an_input_that_a_worker_cannot_read_is_named(tmp_path):
    write_input(tmp_path / "in", 40, files=1)
    [shard] = plan_shards(tmp_path / "in", tmp_path / "out", 100)
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(SmoothCSEError, match=r"part-0.parquet cannot be read on the machine of a worker"):
        write_rows(shard, read_rows(shard, ["sentence"], 10))
