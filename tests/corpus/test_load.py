"""``load_sentences`` from end to end: sources, cache, report and error messages."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from smoothcse.corpus import CorpusReport, cache, load, load_sentences, python_docs, sources
from smoothcse.errors import SmoothCSEError


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(folder))
    return folder


@pytest.fixture
def builds(monkeypatch):
    """List with one entry per corpus that is built rather than read from the cache."""
    seen = []
    original = load.write_corpus
    monkeypatch.setattr(load, "write_corpus", lambda *args: seen.append(args[0]) or original(*args))
    return seen


def refusal(source, **options):
    with pytest.raises(SmoothCSEError) as caught:
        load_sentences(source, **options)
    return str(caught.value)


def test_a_text_file(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("One  sentence.\n\nAnother one.\nOne sentence.\n")
    corpus = load_sentences(path)
    assert corpus.dataset.column_names == ["sentence"]
    assert corpus.dataset["sentence"][:] == ["One sentence.", "Another one."]
    assert len(corpus) == corpus.report.kept == 2
    assert corpus.dataset.cache_files, "mapped from disk"
    assert corpus.report.source == str(path)


def test_a_folder_is_read_in_path_order_and_ignored_files_are_noted(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jsonl").write_text('{"text": "three"}\n')
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.csv").write_text("text\ntwo\n")
    (tmp_path / "picture.png").write_bytes(b"\0")
    (tmp_path / ".hidden.txt").write_text("never\n")
    corpus = load_sentences(tmp_path, column="text")
    assert corpus.dataset["sentence"][:] == ["one", "three", "two"]
    assert corpus.report.notes == ("1 files in other formats ignored: picture.png",)


def test_a_folder_may_hold_names_that_are_not_utf_8(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"one\ntwo\n")
    (tmp_path / os.fsdecode(b"caf\xe9.pdf")).write_bytes(b"%PDF-")
    report = load_sentences(tmp_path).report
    assert report.kept == 2
    assert report.notes[0].startswith("1 files in other formats ignored: caf\N{REPLACEMENT CHARACTER}.pdf")


def test_python_docs_is_read_through_its_iterator(monkeypatch):
    class Module:
        @staticmethod
        def iter_sentences():
            yield from ("A sentence.", "Another.", "A sentence.")

    monkeypatch.setitem(sys.modules, "smoothcse.corpus.python_docs", Module)
    monkeypatch.setattr(sources, "_stamp", lambda path: [str(path), 0, 0])
    assert load_sentences("python-docs").dataset["sentence"][:] == ["A sentence.", "Another."]


def test_python_docs_is_rebuilt_when_its_code_changes():
    (_, *stamps) = sources.Source("python-docs").identity()
    code = {str(path) for folder in python_docs.__path__ for path in Path(folder).glob("*.py")}
    assert {path for path, _, _ in stamps} == code
    assert len(code) > 1


def test_real_sentences(shared):
    corpus = load_sentences(shared / "data" / "corpus" / "wiki_sentences.txt")
    assert corpus.report.read == 31_712
    assert len(corpus) + sum(corpus.report.dropped.values()) == 31_712
    assert len(corpus) > 30_000
    assert len(load_sentences(corpus.report.source, limit=100)) == 100


def test_the_second_load_reuses_the_first(tmp_path, builds):
    path = tmp_path / "corpus.txt"
    path.write_text("a\nb\nc\n")
    first, second = load_sentences(path), load_sentences(path)
    assert len(builds) == 1
    assert first.report == second.report
    assert first.dataset["sentence"][:] == second.dataset["sentence"][:]


@pytest.mark.parametrize("options", [{"limit": 2}, {"min_chars": 2}, {"max_chars": 3}, {"limit": 2, "seed": 1}])
def test_other_options_cause_a_rebuild(tmp_path, builds, options):
    path = tmp_path / "corpus.txt"
    path.write_text("aa\nbb\ncc\n")
    load_sentences(path)
    load_sentences(path, **options)
    assert len(builds) == 2


def test_a_changed_file_causes_a_rebuild(tmp_path, builds):
    path = tmp_path / "corpus.txt"
    path.write_text("a\nb\n")
    load_sentences(path)
    path.write_text("a\nc\n")
    os.utime(path, ns=(1, 1))
    assert load_sentences(path).dataset["sentence"][:] == ["a", "c"]
    assert len(builds) == 2


def test_a_new_format_version_causes_a_rebuild(tmp_path, builds, monkeypatch):
    (tmp_path / "corpus.txt").write_text("a\nb\n")
    load_sentences(tmp_path / "corpus.txt")
    monkeypatch.setattr(cache, "FORMAT_VERSION", cache.FORMAT_VERSION + 1)
    load_sentences(tmp_path / "corpus.txt")
    assert len(builds) == 2


@pytest.mark.parametrize("suffix", [".arrow", ".json"])
def test_a_damaged_entry_is_rebuilt(tmp_path, builds, cache_folder, suffix):
    (tmp_path / "corpus.txt").write_text("a\nb\n")
    load_sentences(tmp_path / "corpus.txt")
    (entry,) = cache_folder.rglob(f"*{suffix}")
    entry.write_bytes(entry.read_bytes()[:20])
    assert len(load_sentences(tmp_path / "corpus.txt")) == 2
    assert len(builds) == 2


def test_a_failed_build_leaves_nothing_behind(tmp_path, cache_folder):
    (tmp_path / "corpus.txt").write_bytes(b"good\nmore\n\xff\n")
    refusal(tmp_path / "corpus.txt")
    assert [path for path in cache_folder.rglob("*") if path.is_file()] == []
    assert list((cache_folder / "corpus").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "corpus.txt").write_text("a\nb\n")
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(tmp_path / "corpus.txt"))
    message = refusal(tmp_path / "corpus.txt")
    assert "cache folder" in message
    assert "SMOOTHCSE_CACHE" in message


@pytest.mark.parametrize(
    ("name", "content", "options", "parts"),
    [
        ("x.txt", "", {}, ["x.txt is empty", "one sentence on each line"]),
        ("x.txt", "\n \n", {}, ["x.txt: no sentence is left of the 2 read (2 empty)", "check the file"]),
        ("x.txt", "ab\ncd\n", {"min_chars": 5}, ["(2 too short)", "loosen min_chars"]),
        ("x.txt", "same\nsame\n", {}, ["one distinct sentence in 2 read", "at least 2"]),
        ("x.txt", "a\nb\n", {"column": "text"}, ["plain text", "'text'", "leave out `column`"]),
        ("x.txt", "a\nb\n", {"limit": 1}, ["limit=1", "at least 2"]),
        ("x.txt", "a\nb\n", {"min_chars": 0}, ["min_chars=0", "at least 1"]),
        ("x.txt", "a\nb\n", {"min_chars": 9, "max_chars": 3}, ["max_chars=3", "min_chars=9"]),
        ("x.docx", "a\n", {}, ["x.docx", ".txt, .jsonl, .csv, .tsv, .parquet", ".gz or .zst"]),
    ],
)
def test_refusals(tmp_path, name, content, options, parts):
    (tmp_path / name).write_text(content)
    message = refusal(tmp_path / name, **options)
    assert [part for part in parts if part not in message] == [], message


def test_the_message_for_a_missing_file_suggests_a_similar_name(tmp_path):
    (tmp_path / "sentences.txt").write_text("a\nb\n")
    message = refusal(tmp_path / "sentence.txt")
    assert str(tmp_path / "sentence.txt") in message
    assert "Did you mean 'sentences.txt'?" in message


def test_a_missing_file_that_could_be_a_repository_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for source in ("data/corpus", "elsewhere/corpus.txt", "nothing-like-it"):
        assert f"There is no file or folder {source!r}" in refusal(source)
    assert "Did you mean 'wiki1m'?" in refusal("wiki-1m")


def test_an_empty_name_is_not_the_current_folder():
    assert "no file or folder" in refusal("")


def test_a_folder_without_readable_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    message = refusal(tmp_path)
    assert f"Folder {tmp_path} contains no file in a supported format (1 in other formats)" in message
    assert ".parquet" in message


def test_documents_are_referred_to_the_command_that_reads_them(tmp_path):
    for name in ("a.pdf", "b.MD", "c.html.gz", "d.docx"):
        (tmp_path / name).write_bytes(b"x")
        message = refusal(tmp_path / name)
        assert f"{name} has an unsupported format: supported are .txt" in message
        assert message.endswith("; `smoothcse adapt` reads documents, as does the Python function `load_documents`.")
    assert "; `smoothcse adapt` reads documents, as does" in refusal(tmp_path)
    (tmp_path / "e.txt").write_text("One.\nTwo.\n")
    (note,) = load_sentences(tmp_path).report.notes
    assert note.startswith("4 files in other formats ignored: a.pdf, b.MD, c.html.gz")
    assert "; `smoothcse adapt` reads documents" in note


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    message = refusal(tmp_path)
    assert f"Folder {tmp_path} cannot be listed (Permission denied)" in message
    assert "chmod" in message


@pytest.mark.parametrize("leads_to", ["link.txt", "nowhere.txt"])
def test_a_dangling_link_is_reported(tmp_path, leads_to):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "link.txt").symlink_to(leads_to)
    for source in (tmp_path / "link.txt", tmp_path):  # a folder is never read in part without an error
        with pytest.raises(SmoothCSEError, match=rf"link\.txt is a symbolic link to {leads_to}, which does not exist"):
            load_sentences(source)


def test_the_home_folder_of_an_unknown_user_does_not_exist():
    with pytest.raises(SmoothCSEError, match="no file or folder '~nobody-of-this-name/x'"):
        load_sentences("~nobody-of-this-name/x")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe.txt")


def test_the_report_survives_json_and_prints():
    report = CorpusReport("owner/name[1]", 1234, 1000, {"empty": 234, "duplicate": 0}, "0" * 32, ("a [note]",))
    assert CorpusReport.from_dict(report.as_dict()) == report
    output = StringIO()
    Console(file=output, width=80).print(report.table())
    for part in ("owner/name[1]", "1,234", "dropped: empty", "234", "1,000", "a [note]"):
        assert part in output.getvalue()
    assert "duplicate" not in output.getvalue()
