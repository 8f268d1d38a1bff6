"""Documents that cannot be read: named, skipped and counted; or one sentence."""

from __future__ import annotations

import builtins
import io
import json
import os
import time
import tracemalloc
import zipfile
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made_documents import save_docx, save_pdf
from smoothcse.corpus.documents import document_files, extracted, load_documents, pdf_text, read_documents
from smoothcse.corpus.documents.html_text import html_text
from smoothcse.errors import SmoothCSEError

COLUMNS = read_documents.TableColumns()
GOOD = "The sky is blue because air scatters short waves more than long ones.\n\nThe sea is salty."


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Folder with one good document, which has two passages."""
    path = tmp_path / "documents"
    path.mkdir()
    (path / "z.txt").write_text(GOOD)
    return path


def load(folder):
    return load_documents(folder, max_tokens=16)


def refusal(source, **options):
    with pytest.raises(SmoothCSEError) as caught:
        load_documents(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def skipped(folder) -> dict[str, int]:
    report = load(folder).report
    assert report.kept == 2
    return dict(report.skipped)


def test_a_scan_has_no_text(folder):
    save_pdf(folder / "scan.pdf", ["", ""])
    assert skipped(folder) == {"no text": 1}
    assert load(folder).report.notes == (f"documents skipped (1): {folder}/scan.pdf (no text)",)


def test_passwords(folder):
    save_pdf(folder / "secret.pdf", ["Hidden text."], password="secret")
    (folder / "secret.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100))
    assert skipped(folder) == {"password-protected": 2}


def test_an_empty_password_is_none(folder):
    save_pdf(folder / "a.pdf", ["Readable text."], password="")
    report = load(folder).report
    assert (report.kept, dict(report.skipped)) == (3, {})


def test_damaged_files(folder, tmp_path):
    whole = save_pdf(tmp_path / "whole.pdf", ["Some text."]).read_bytes()
    (folder / "a.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)))
    (folder / "b.pdf").write_bytes(b"")
    (folder / "c.docx").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "d.docx").write_bytes(save_docx(tmp_path / "w.docx", ["Some text."]).read_bytes()[:2000])
    with zipfile.ZipFile(folder / "e.docx", "w") as archive:
        archive.writestr("other.txt", "a zip archive that is no document")
    (folder / "f.txt").write_bytes(b"caf\xe9")
    (folder / "g.html").write_bytes(b"\xff\xfe<\0p\0")
    (folder / "h.pdf").write_bytes(whole.replace(b"/Pages", b"/Pegas"))
    assert skipped(folder) == {"unreadable": 8}
    (note,) = load(folder).report.notes
    assert "f.txt:1 is not UTF-8 (byte 0xe9): convert the file" in note


@pytest.mark.parametrize("seed", range(10))
def test_a_pdf_with_changed_bytes_is_read_or_skipped(folder, tmp_path, seed):
    import random

    draw = random.Random(seed)
    data = bytearray(save_pdf(tmp_path / "whole.pdf", ["Some text."]).read_bytes())
    for _ in range(20):
        data[draw.randrange(len(data))] = draw.randrange(256)
    (folder / "a.pdf").write_bytes(data)
    assert load(folder).report.documents == 2


def test_a_pdf_that_repeats_itself_is_given_up(folder, monkeypatch):
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(100, 100)
    inner = None
    for _ in range(12):  # each form shows the next one ten times
        form = DecodedStreamObject()
        form.set_data(b"BT (x) Tj ET" if inner is None else b"/F Do " * 10)
        form.update({NameObject("/Type"): NameObject("/XObject"), NameObject("/Subtype"): NameObject("/Form")})
        if inner is not None:
            forms = DictionaryObject({NameObject("/F"): inner})
            form[NameObject("/Resources")] = DictionaryObject({NameObject("/XObject"): forms})
        inner = writer._add_object(form)
    stream = DecodedStreamObject()
    stream.set_data(b"/F Do " * 10)
    forms = DictionaryObject({NameObject("/F"): inner})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/XObject"): forms})
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.write(folder / "bomb.pdf")
    monkeypatch.setattr(pdf_text, "MOST_OPERATIONS", 2000)
    report = load(folder).report
    assert report.kept == 2
    assert report.skipped in ({"too large": 1}, {"no text": 1}), "newer releases of pypdf refuse such forms"


def test_a_docx_bomb_is_not_expanded(folder):
    save_docx(folder / "bomb.docx", ["Some text."])
    with zipfile.ZipFile(folder / "bomb.docx", "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"word/media/{number}.bin", bytes(100 << 20))
    save_docx(folder / "xml.docx", ["Some text."])
    with zipfile.ZipFile(folder / "xml.docx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/no-picture.png", b"<" * (40 << 20))
    save_docx(folder / "picture.docx", ["Text beside a large picture."])
    with zipfile.ZipFile(folder / "picture.docx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/picture.png", b"\x89PNG" + bytes(40 << 20))
    report = load(folder).report
    assert (report.kept, dict(report.skipped)) == (3, {"too large": 2})


def test_entities_in_a_docx_are_not_read(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    whole = save_docx(tmp_path / "whole.docx", ["A marker here."])
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(folder / "a.docx", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "word/document.xml":
                doctype = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'.encode()
                data = data.replace(b"?>", b"?>" + doctype, 1).replace(b"marker", b"&e;")
            new.writestr(name, data)
    assert not any("secret" in text for text in load(folder).dataset["text"])


def test_sizes_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(read_documents, "LARGEST_TEXT", 1000)
    monkeypatch.setattr(extracted, "LARGEST_TEXT", 1000)
    monkeypatch.setattr(pdf_text, "LARGEST_TEXT", 1000)
    monkeypatch.setattr(pdf_text, "MOST_PAGES", 5)
    monkeypatch.setattr(pdf_text, "LARGEST_PAGE", 2000)
    monkeypatch.setattr(read_documents, "LARGEST_MARKUP", 500)
    monkeypatch.setattr(read_documents, "LARGEST_FILE", 20_000)
    (folder / "a.txt").write_text("word " * 300)
    save_pdf(folder / "b.pdf", ["word " * 300])
    save_pdf(folder / "c.pdf", ["word"] * 6)
    (folder / "d.jsonl").write_text(json.dumps({"text": "word " * 300}))
    (folder / "e.html").write_text("<p>" * 10_000)
    (folder / "f.md").write_text("word " * 150)
    save_pdf(folder / "g.pdf", [") Tj (" * 500])
    assert skipped(folder) == {"too large": 7}


def test_deeply_nested_html_takes_linear_time():
    start = time.monotonic()
    assert html_text("<div>" * 200_000 + "text") == ("text", "")
    assert time.monotonic() - start < 30


def test_a_document_of_ten_megabytes(tmp_path):
    sentences = [f"Sentence number {number} has some words of its own, {number * 7919}." for number in range(180_000)]
    (tmp_path / "long.txt").write_text(" ".join(sentences))
    assert (tmp_path / "long.txt").stat().st_size > 9 << 20
    report = load_documents(tmp_path, near_duplicates=None).report
    assert report.kept == report.read > 10_000


def test_ten_megabytes_without_a_space(tmp_path):
    (tmp_path / "long.txt").write_text("x" * (10 << 20))
    report = load_documents(tmp_path, max_tokens=512).report
    assert report.kept >= 2


def test_a_single_sentence_without_a_full_stop_is_split_between_words(tmp_path):
    words = [f"word{number}" for number in range(200_000)]
    (tmp_path / "long.txt").write_text(" ".join(words))
    corpus = load_documents(tmp_path, near_duplicates=None)
    assert " ".join(corpus.dataset["text"][:]).split() == words
    assert max(len(text.split()) for text in corpus.dataset["text"]) <= 128


def test_long_documents_are_kept_whole_on_request(tmp_path):
    text = " ".join(f"word{number}" for number in range(200_000))
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{text} {name}")
    (tmp_path / "c.txt").write_text(text[::-1])
    (tmp_path / "d.txt").write_text("x" * (10 << 20))
    corpus = load_documents(tmp_path, max_tokens=None, min_tokens=1)
    assert [row["text"] == read for row, read in zip(corpus.dataset, (f"{text} a", text[::-1]), strict=False)] == [
        True
    ] * 2
    assert corpus.report.dropped["near-duplicate"] == 1
    assert corpus.report.kept == 3


@pytest.mark.parametrize("quoted", [True, False])
def test_a_table_with_a_field_of_five_megabytes(folder, quoted):
    field = "word " * (1 << 20)
    (folder / "a.csv").write_text(f'title,text\nT,"{field}"\n' if quoted else f"title,text\nT,{field}\n")
    report = load_documents(folder, max_tokens=None).report
    assert (report.kept, report.skipped) == (2, {})


def test_a_row_above_ten_megabytes_is_an_error(folder):
    (folder / "a.jsonl").write_text(json.dumps({"text": "word " * (3 << 20)}))
    assert f"{folder}/a.jsonl:1 is longer than 10 MB" in refusal(folder)


def test_a_quote_that_is_never_closed(folder):
    (folder / "a.csv").write_text('title,text\nT,"' + "word\n" * (3 << 20))
    assert "look for a quote that is never closed" in refusal(folder)


def test_bytes_that_are_no_text(folder):
    (folder / "a.txt").write_bytes(b"nul\0byte")
    (folder / "b.md").write_bytes("wide".encode("utf-16"))
    (folder / "c.html").write_bytes("café".encode("latin-1"))
    (folder / "d.txt").write_bytes(b"\x80")
    assert skipped(folder) == {"unreadable": 4}
    (note,) = load(folder).report.notes
    assert "a.txt:1 contains a NUL byte" in note
    assert "b.md is UTF-16 text: convert it" in note
    (folder / "a.csv").write_bytes(b"text\na\0b\n")
    assert f"{folder}/a.csv:2 contains a NUL byte" in refusal(folder)


@pytest.mark.parametrize("name", ["a.txt", "b.pdf", "c.docx", "d.md"])
def test_a_file_without_read_permission(folder, name, monkeypatch):
    (folder / name).write_bytes(b"%PDF- text")
    if os.geteuid():
        (folder / name).chmod(0)
    else:  # root may read every file
        refuse_to_open(folder / name, monkeypatch)
    assert skipped(folder) == {"unreadable": 1}
    assert "ermission denied" in load(folder).report.notes[0]


def test_a_file_is_read_once_its_permissions_are_changed(folder, monkeypatch):
    """The report tells one to change them, which changes neither the size nor the time of the file."""
    (folder / "a.txt").write_text("Another document, whose time stays as it is.")
    times = (folder / "a.txt").stat()
    with monkeypatch.context() as patch:
        (folder / "a.txt").chmod(0)
        if not os.geteuid():
            refuse_to_open(folder / "a.txt", patch)
        assert skipped(folder) == {"unreadable": 1}
    (folder / "a.txt").chmod(0o600)
    assert (folder / "a.txt").stat().st_mtime_ns == times.st_mtime_ns
    assert load(folder).report.kept == 3


def test_names_that_are_not_utf_8(folder):
    """As old zip archives have them."""
    texts = {"txt": b"One of them.", "md": b"Two of them.", "html": b"<p>Three of them.", "zip": b"PK"}
    for suffix, content in texts.items():
        (folder / os.fsdecode(b"caf\xe9." + suffix.encode())).write_bytes(content)
    with open(os.fsencode(folder) + b"/caf\xe9.parquet", "wb") as file:
        pq.write_table(pa.table({"text": ["Four of them."]}), file)
    corpus = load(folder)
    assert not corpus.report.skipped
    assert {"One of them.", "Two of them.", "Three of them.", "Four of them."} < set(corpus.dataset["text"])
    assert {place["file"] for place in corpus.dataset["place"]} > {f"{folder}/caf\N{REPLACEMENT CHARACTER}.md"}
    assert "caf\N{REPLACEMENT CHARACTER}.zip" in corpus.report.notes[0]


@pytest.mark.parametrize(
    "large",
    ["<!-- {} -->", "<img src='data:image/png;base64,{}'>", "<script>{}</script>"],
    ids=["comment", "image", "script"],
)
def test_what_follows_a_large_part_of_a_page_is_read(large):
    page = f"<p>before</p>{large.format('A' * (11 << 20))}<p>after</p>"
    assert html_text(page) == ("before\n\nafter", "")


def refuse_to_open(path, monkeypatch):
    def refuse(original):
        def opened(file, *args, **options):
            if str(file) == str(path):
                raise PermissionError(13, "Permission denied", str(file))
            return original(file, *args, **options)

        return opened

    monkeypatch.setattr(builtins, "open", refuse(builtins.open))
    monkeypatch.setattr(io, "open", refuse(io.open))
    monkeypatch.setattr(pa, "input_stream", refuse(pa.input_stream))


def test_links(folder, tmp_path):
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "a.txt").symlink_to(folder / "z.txt")
    assert load(folder).report.documents == 2, "a link to a file is read, a link to a folder is not"
    (folder / "self.txt").symlink_to(folder / "self.txt")
    assert "self.txt is a symbolic link to" in refusal(folder)
    assert "self.txt is a symbolic link to" in refusal(folder / "self.txt")


@pytest.mark.slow
def test_a_folder_of_twenty_thousand_small_files(tmp_path):
    """Time and memory grow with the number of files at most; the files are never all held."""
    for number in range(20_000):
        (tmp_path / f"{number:05}.txt").write_text(f"Document word{number}")
    tracemalloc.start()
    files = document_files.find_documents(tmp_path)
    assert sum(1 for _ in files) == files.count == 20_000
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    times = []
    for limit in (1_000, 4_000):
        start = time.process_time()
        read = read_documents.read_documents("x", files, COLUMNS, whole_folder=True)
        assert sum(1 for _ in islice(read, limit)) == limit
        times.append(time.process_time() - start)
    assert times[1] < 10 * times[0], "four times the files take about four times as long"


def test_all_documents_equal(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("The same text.")
    assert refusal(tmp_path) == (
        f"{tmp_path}: only one distinct passage is left, and at least 2 needed; "
        "documents read: 20; passages dropped: 19 duplicate."
    )


def test_documents_of_one_word(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"word{number}")
    assert load_documents(tmp_path).dataset["text"][:] == ["word0", "word1", "word2"]


def test_rows_without_text_are_counted(tmp_path):
    rows = [{"text": "one"}, {"text": ""}, {"text": None}, {"title": "t"}, {"text": "two"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = load_documents(tmp_path).report
    assert (report.documents, report.kept, dict(report.skipped)) == (5, 2, {"no text": 3})
    assert f"{tmp_path}/a.jsonl:2 (no text), {tmp_path}/a.jsonl:3 (no text)" in report.notes[0]


def test_many_skipped_documents_are_named_in_part(folder):
    for number in range(30):
        (folder / f"{number:02}.txt").write_text("")
    (note,) = load(folder).report.notes
    assert note.startswith("documents skipped (30): ")
    assert note.endswith("09.txt (no text) and 20 more")


def test_a_folder_of_many_files_is_walked_lazily(tmp_path, monkeypatch):
    for number in range(300):
        (tmp_path / f"{number:03}.txt").write_text(f"word{number}")
    files = document_files.find_documents(tmp_path)
    assert files.count == 300
    seen = []
    original = document_files._is_document
    monkeypatch.setattr(document_files, "_is_document", lambda file: seen.append(file) or original(file))
    assert next(iter(files)).path.name == "000.txt"
    assert len(seen) == 1


def test_a_broken_table_is_an_error(folder):
    (folder / "a.jsonl").write_text('{"text": "one"}\n{"text": 2}\n')
    assert refusal(folder) == (
        f"{folder}/a.jsonl:2: field 'text' must be a string and is of type int: correct or remove it."
    )
    (folder / "a.jsonl").write_text("{\n")
    assert f"{folder}/a.jsonl:1 is not valid JSON" in refusal(folder)


def test_a_table_of_figures_in_a_folder_is_skipped_unless_a_column_is_requested(folder):
    (folder / "a.csv").write_text("step,loss\n1,2\n2,3\n")
    assert skipped(folder) == {"no text column": 1}
    assert "a.csv has several columns of text, 'step', 'loss': choose one" in load(folder).report.notes[0]
    assert "a.csv has several columns of text" in refusal(folder / "a.csv")
    assert "a.csv has no column 'text'" in refusal(folder, column="text")


def test_missing_columns(folder):
    (folder / "a.csv").write_text("title,text\nt,one\n")
    assert f"{folder}/a.csv has no column 'txt'; it has 'title', 'text'. Did you mean 'text'?" in refusal(
        folder, column="txt"
    )
    assert f"{folder}/a.csv has no column 'titel'; it has 'title', 'text'. Did you mean 'title'?" in refusal(
        folder, title="titel"
    )


def test_sources_without_documents(tmp_path):
    assert "contains no document (0 files in other formats): supported are .txt, .md" in refusal(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    assert "contains no document (1 files in other formats)" in refusal(tmp_path)
    assert "a.png has an unsupported format: supported are" in refusal(tmp_path / "a.png")
    assert "There is no file or folder" in refusal(tmp_path / "none")
    remedy = "Give a file or a folder of documents, 'python-docs' or a hub dataset as owner/name."
    assert remedy in refusal(tmp_path / "none")
    (tmp_path / "empty.txt").write_text("")
    assert refusal(tmp_path / "empty.txt") == (
        f"{tmp_path}/empty.txt: no passage is left, and at least 2 needed; documents read: 1; "
        f"documents skipped (1): {tmp_path}/empty.txt (no text)."
    )
    (tmp_path / "empty.jsonl").write_text("")
    assert "documents read: 0; the files are empty." in refusal(tmp_path / "empty.jsonl")
    (tmp_path / "a.pdf.gz").write_bytes(b"")
    assert "unsupported format" in refusal(tmp_path / "a.pdf.gz")


def test_the_extra_is_named_where_it_is_missing(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "semchunk", None)
    monkeypatch.setitem(sys.modules, "semchunk.semchunk", None)
    assert r'pip install -c constraints.txt ".[documents]"' in refusal(folder)
