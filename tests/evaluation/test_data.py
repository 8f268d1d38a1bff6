"""The evaluation data from the hub: unpacked once, by commit, and nothing but the files that are used."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from loopback_hub import LoopbackHub
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import data
from smoothcse.evaluation.sts_tasks import files_of
from smoothcse.evaluation.transfer_tasks import TRANSFER_FILES

IN_REPOSITORY = f"datasets/{data.DATASET}/{data.ARCHIVE}"
STS12 = files_of("STS12")


def archive(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "senteval"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with LoopbackHub(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "downloads"))
        yield server


def under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_stands_for_itself(tmp_path):
    assert data.sts_folder(tmp_path) == data.transfer_folder(str(tmp_path)) == tmp_path


def test_the_files_that_are_used_are_found_wherever_they_lie(hub, cache):
    members = {f"SentEval/data/downstream/STS/{name}": name.encode() for name in STS12}
    members |= {
        "data/SICK/SICK_test_annotated.txt": b"sick",
        "data/MR/rt-polarity.pos": b"mr",
        "data/SNLI/s1": b"",
    }
    hub.write(IN_REPOSITORY, archive(members))
    folder = data.sts_folder("hub")
    assert under(folder) == sorted([*STS12, "SICK/SICK_test_annotated.txt"])
    assert (folder / STS12[0]).read_text() == STS12[0]
    assert under(data.transfer_folder("hub")) == ["MR/rt-polarity.pos"]
    assert "MR/rt-polarity.pos" in TRANSFER_FILES


def test_the_folder_is_named_after_the_commit_and_unpacked_once(hub, cache):
    hub.write(IN_REPOSITORY, archive({STS12[0]: b"old"}))
    first = data.sts_folder("hub")
    assert first.parent.parent == cache
    assert len(first.parent.name) == 40
    (first / STS12[0]).write_text("kept")
    assert data.sts_folder("hub") == first
    assert (first / STS12[0]).read_text() == "kept"
    hub.write(IN_REPOSITORY, archive({STS12[0]: b"new"}))
    second = data.sts_folder("hub")
    assert second != first
    assert (second / STS12[0]).read_text() == "new"


def test_no_member_leads_out_of_the_folder(hub, cache):
    hub.write(
        IN_REPOSITORY,
        archive({f"../../{STS12[0]}": b"text", f"/etc/{STS12[1]}": b"text"}, {STS12[2]: "/etc/passwd"}),
    )
    folder = data.sts_folder("hub")
    assert under(folder) == sorted(STS12[:2])
    assert under(cache) == [f"{folder.relative_to(cache).as_posix()}/{name}" for name in sorted(STS12[:2])]


@pytest.mark.parametrize(
    "content", [b"no archive at all", archive({"README": b""}), archive({STS12[0]: b"x" * 999})[:700]]
)
def test_a_useless_archive_leaves_nothing_behind(hub, cache, content):
    hub.write(IN_REPOSITORY, content)
    with pytest.raises(SmoothCSEError, match=r"senteval\.tar (cannot be unpacked|contains no sts files)"):
        data.sts_folder("hub")
    assert under(cache) == []
    assert not list(cache.glob("*/*"))


def test_a_commit_pins_the_data(hub, cache):
    hub.write(IN_REPOSITORY, archive({STS12[0]: b"old"}))
    old = data.sts_folder("hub")
    commit = old.parent.name
    hub.write(IN_REPOSITORY, archive({STS12[0]: b"new"}))
    assert data.sts_folder("hub") != old
    assert data.sts_folder(f"hub@{commit}") == old
    assert (old / STS12[0]).read_text() == "old"


def test_an_unknown_revision_is_told_plainly(hub, cache):
    hub.write(IN_REPOSITORY, archive({STS12[0]: b""}))
    with pytest.raises(SmoothCSEError, match=r"@v9:senteval\.tar has no such revision"):
        data.sts_folder("hub@v9")


def test_what_was_fetched_stays_usable_offline(hub, cache, monkeypatch):
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(SmoothCSEError, match="or give a local file or folder instead"):
            data.sts_folder("hub")
    hub.write(IN_REPOSITORY, archive({STS12[0]: b"text"}))
    folder = data.sts_folder("hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert data.sts_folder("hub") == folder
