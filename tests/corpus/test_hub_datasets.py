"""Datasets from a local hub: downloads, resuming and error messages."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys

import huggingface_hub.constants
import pytest

from loopback_hub import Fault, LoopbackHub
from smoothcse.corpus import load_sentences
from smoothcse.corpus.hub_datasets import HubAddress
from smoothcse.errors import SmoothCSEError

LARGE = "".join(f"Sentence number {i} of a larger file.\n" for i in range(5000)).encode()


@pytest.fixture
def hub(tmp_path, monkeypatch, no_backoff):
    """A hub with one dataset, empty caches, and no delay between retries."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(tmp_path / "cache"))
    with LoopbackHub(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.write("datasets/me/data/large.txt", LARGE)
        server.write("datasets/me/data/README.md", b"# Data\n")
        yield server


def refusal(source):
    with pytest.raises(SmoothCSEError) as caught:
        load_sentences(source)
    return str(caught.value)


def test_one_file(hub):
    corpus = load_sentences("me/data:large.txt")
    assert len(corpus) == 5000
    assert corpus.report.source == "me/data:large.txt"
    load_sentences("me/data:large.txt")
    assert hub.count("GET", "large.txt") == 1


def test_a_whole_repository_prefers_training_files(hub):
    hub.write("datasets/me/data/train/b.jsonl", b'{"text": "two"}\n')
    hub.write("datasets/me/data/train-a.txt.gz", gzip.compress(b"one\n"))
    corpus = load_sentences("me/data")
    assert corpus.dataset["sentence"][:] == ["one", "two"]
    assert corpus.report.notes == ("files read: train-a.txt.gz, train/b.jsonl",)


def test_a_revision(hub):
    commit = huggingface_hub.HfApi(endpoint=hub.url).dataset_info("me/data").sha
    assert len(load_sentences(f"me/data@{commit}:large.txt")) == 5000
    message = refusal("me/data@v2:large.txt")
    assert "me/data@v2:large.txt has no such revision" in message
    assert "branch, tag or commit" in message


def test_wiki1m_is_downloaded_and_its_size_is_noted(hub):
    hub.write("datasets/princeton-nlp/datasets-for-simcse/wiki1m_for_simcse.txt", LARGE)
    report = load_sentences("wiki1m").report
    assert report.source == "wiki1m"
    assert report.notes == ("5,000 lines read, but wiki1m has 1,000,000: the file on the hub may have changed",)


def test_an_interrupted_download_is_resumed(hub, monkeypatch):
    monkeypatch.setattr(
        huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 500
    )  # the default of 10 MB would lose the first part
    hub.inject(Fault("large.txt", cut_after=1000))
    assert len(load_sentences("me/data:large.txt")) == 5000
    assert hub.count("GET", "large.txt") == 2
    assert hub.ranges == ["bytes=1000-"]


def test_a_wrong_checksum_is_refused_and_the_next_download_works(hub):
    hub.inject(Fault("large.txt", content=LARGE.replace(b"larger", b"LARGER")))
    message = refusal("me/data:large.txt")
    assert "me/data:large.txt was damaged during the download (sha256" in message
    assert "run the command again" in message
    assert load_sentences("me/data:large.txt").dataset["sentence"][0] == "Sentence number 0 of a larger file."


def test_a_downloaded_dataset_loads_without_network(hub, monkeypatch):
    load_sentences("me/data")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert len(load_sentences("me/data")) == 5000


def test_a_downloaded_dataset_loads_in_offline_mode(hub, monkeypatch):
    load_sentences("me/data")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    before = hub.requests.total()
    assert len(load_sentences("me/data")) == 5000
    assert len(load_sentences("me/data:large.txt")) == 5000
    assert hub.requests.total() == before


@pytest.mark.parametrize("source", ["you/unknown", "you/unknown:x.txt"])
def test_unknown_repository(hub, source):
    message = refusal(source)
    assert f"Dataset {source} does not exist on the hub, or is private" in message
    assert "spelling" in message
    assert "./" in message


def test_unknown_file(hub):
    message = refusal("me/data:larg.txt")
    assert "Dataset me/data has no file 'larg.txt'; it has large.txt." in message
    assert "Did you mean 'large.txt'?" in message


def test_files_in_unsupported_formats(hub):
    hub.write("datasets/me/pictures/a.png", b"")
    assert "me/pictures contains no file in a supported format: supported are .txt" in refusal("me/pictures")
    assert "me/data:README.md has an unsupported format" in refusal("me/data:README.md")


@pytest.mark.parametrize(("status", "part"), [(401, "hf auth whoami"), (403, "hf auth whoami"), (503, "503")])
def test_refusing_hub(hub, status, part):
    hub.inject(Fault("large.txt", method="HEAD", status=status, times=99))
    message = refusal("me/data:large.txt")
    assert "Dataset me/data:large.txt" in message
    assert part in message
    assert "local file" in message


def test_no_network(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for source in ("me/data", "me/data:large.txt"):
        message = refusal(source)
        assert f"Dataset {source} cannot be downloaded" in message
        assert "give a local file or folder instead" in message


def test_a_full_disk_during_a_download(hub):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        message = refusal("me/data:large.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Dataset me/data:large.txt cannot be stored (File too large): free disk space, or set HF_HOME" in message
    assert len(load_sentences("me/data:large.txt")) == 5000


def test_offline_mode(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for source in ("me/data", "me/data:large.txt"):
        message = refusal(source)
        assert f"Dataset {source} is not in the local cache and HF_HUB_OFFLINE is set" in message
        assert "local file" in message


def test_a_new_process_reads_the_environment_variables(hub, tmp_path):
    code = "from smoothcse.corpus import load_sentences; print(len(load_sentences('me/data')))"
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
    }
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "5000\n", result.stderr
    assert (tmp_path / "home" / "hub" / "datasets--me--data").is_dir()


def test_models_are_served_too(hub, tmp_path):
    hub.write("models/me/model/config.json", b"{}")
    hub.write("models/me/model/1_Pooling/config.json", b"{}")
    folder = huggingface_hub.snapshot_download("me/model", endpoint=hub.url)
    assert sorted(os.listdir(folder)) == ["1_Pooling", "config.json"]
    info = huggingface_hub.HfApi(endpoint=hub.url).get_paths_info("me/model", ["config.json"])
    assert [entry.path for entry in info] == ["config.json"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a/b", ("a/b", None, None)),
        ("a/b:c/d.txt", ("a/b", None, "c/d.txt")),
        ("a/b@v1", ("a/b", "v1", None)),
        ("a/b@refs/pr/1:c.txt", ("a/b", "refs/pr/1", "c.txt")),
    ],
)
def test_addresses(text, parts):
    address = HubAddress.parse(text)
    assert address == HubAddress(*parts)
    assert str(address) == text


@pytest.mark.parametrize("text", ["a", "./a/b/c", "/a/b", "a/b/c", "a b/c"])
def test_an_invalid_address_is_not_parsed(text):
    assert HubAddress.parse(text) is None
