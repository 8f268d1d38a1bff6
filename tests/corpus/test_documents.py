"""``load_documents`` from end to end: formats, places, duplicates, report, cache."""

from __future__ import annotations

import gzip
import json
import random
from io import StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import smoothcse
from made_documents import save_docx, save_pdf
from smoothcse.corpus.documents import DocumentReport, document_corpus, document_pipeline, load_documents
from smoothcse.errors import SmoothCSEError

SKY = "The sky is blue because air scatters short waves more than long ones."
SEA = "The sea is salty because rivers carry minerals into it for ages."
ICE = "Ice floats since water expands when it freezes in winter."


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(folder))
    return folder


def refusal(source, **options):
    with pytest.raises(SmoothCSEError) as caught:
        load_documents(source, **options)
    return str(caught.value)


def words(count: int, seed: int) -> list[str]:
    return random.Random(seed).choices([f"word{number}" for number in range(1000)], k=count)


def test_the_function_is_public():
    assert smoothcse.load_documents is load_documents


def test_every_format_in_one_folder(tmp_path):
    (tmp_path / "a.txt").write_text(f"{SKY}\n")
    (tmp_path / "b.md").write_text("---\nlayout: post\n---\n# Seas\n\nThe *sea*\nis [salt](http://x.example/).\n")
    (tmp_path / "c.html").write_text(f"<title>Ice</title><nav>Home</nav><p>{ICE}<script>run()</script>")
    save_pdf(tmp_path / "d.pdf", ["First page about birds.", "Second page about fish."], "Animals")
    save_docx(tmp_path / "e.docx", ["A paragraph on trees."], "Plants", ["oak", "elm"])
    (tmp_path / "f.jsonl").write_text(json.dumps({"title": "Stars", "text": "Stars are far away suns."}) + "\n")
    (tmp_path / "g.csv").write_text("title,body\nMoon,The moon has no air.\n")
    (tmp_path / "h.tsv").write_text("text\nRain falls from clouds.\n")
    pq.write_table(
        pa.table(
            {"text": ["Snow is white."], "title": [None]},
            schema=pa.schema([("text", pa.string()), ("title", pa.string())]),
        ),
        tmp_path / "i.parquet",
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "j.txt.gz").write_bytes(gzip.compress(b"Wind moves the sand."))
    (tmp_path / "picture.png").write_bytes(b"\0")
    corpus = load_documents(tmp_path)
    rows = [(row["text"], row["title"], row["document"]) for row in corpus.dataset]
    assert rows == [
        (SKY, "", 0),
        ("Seas The sea is salt.", "Seas", 1),
        (ICE, "Ice", 2),
        ("First page about birds. Second page about fish.", "Animals", 3),
        ("A paragraph on trees. oak elm", "Plants", 4),
        ("Stars are far away suns.", "Stars", 5),
        ("The moon has no air.", "Moon", 6),
        ("Rain falls from clouds.", "", 7),
        ("Snow is white.", "", 8),
        ("Wind moves the sand.", "", 9),
    ]
    places = [row["file"] for row in corpus.dataset["place"]]
    assert places[5:9] == [
        f"{tmp_path}/f.jsonl:1",
        f"{tmp_path}/g.csv:2",
        f"{tmp_path}/h.tsv:2",
        f"{tmp_path}/i.parquet, row 1",
    ]
    assert places[9] == str(tmp_path / "sub" / "j.txt.gz")
    report = corpus.report
    assert (report.documents, report.read, report.kept, report.untitled) == (10, 10, 10, 4)
    assert report.notes == ("1 files in other formats ignored: picture.png",)
    assert corpus.dataset.cache_files, "mapped from disk"


def test_passages_know_their_pages(tmp_path):
    pages = [" ".join(words(20, page)) + "." for page in range(3)]
    corpus = load_documents(save_pdf(tmp_path / "a.pdf", pages), max_tokens=25)
    assert corpus.dataset["text"][:] == pages
    assert [place["page"] for place in corpus.dataset["place"]] == [1, 2, 3]


def test_a_text_box_is_read_once(tmp_path):
    """Word writes its text twice, the second time for readers that do not know the first form."""
    import docx
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    box = f"<w:txbxContent><w:p><w:r><w:t>{SEA}</w:t></w:r></w:p></w:txbxContent>"
    alternatives = parse_xml(
        f'<w:r {nsdecls("w")} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f'<mc:AlternateContent><mc:Choice Requires="wps">{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>'
        "</mc:AlternateContent></w:r>"
    )
    document = docx.Document()
    document.add_paragraph(SKY)._p.append(alternatives)
    document.save(tmp_path / "a.docx")
    assert load_documents(tmp_path, max_tokens=16).dataset["text"][:] == [SKY, SEA]


def test_the_span_of_a_passage_points_into_a_text_file(tmp_path):
    text = f"Chapter 1\n\n{SKY}  {SEA}\nÄ, {ICE}\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    corpus = load_documents(tmp_path / "a.txt", max_tokens=20)
    for row in corpus.dataset:
        assert row["text"] == " ".join(text[row["place"]["start"] : row["place"]["end"]].split())
        assert row["place"]["page"] is None


def test_passages_end_with_sentences(tmp_path):
    # Hard-wrapped lines are no better places to split than the ends of sentences.
    wrapped = f"{SKY} {SEA} {ICE}".replace(" because", "\nbecause").replace(" when", "\nwhen")
    (tmp_path / "a.txt").write_text(wrapped)
    assert load_documents(tmp_path, max_tokens=16).dataset["text"][:] == [SKY, SEA, ICE]


def test_duplicates_and_near_duplicates_are_dropped_and_counted(tmp_path):
    text = words(100, 0)
    changed = [*text[:50], "changed", *text[51:]]
    rows = [" ".join(text), " ".join(words(100, 1)), " ".join(text), " ".join(changed)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    corpus = load_documents(tmp_path / "a.jsonl")
    assert corpus.dataset["document"][:] == [0, 1]
    assert corpus.report.dropped == {"no letters": 0, "too short": 0, "duplicate": 1, "near-duplicate": 1}
    assert load_documents(tmp_path / "a.jsonl", near_duplicates=None).dataset["document"][:] == [0, 1, 3]
    assert load_documents(tmp_path / "a.jsonl", near_duplicates=1).dataset["document"][:] == [0, 1, 3]


def test_near_duplicates_are_found_across_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(document_pipeline, "BATCH_ROWS", 2)
    rows = [" ".join(words(60, seed)) for seed in range(5)]
    rows.append(rows[0] + " more")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    assert load_documents(tmp_path).dataset["document"][:] == [0, 1, 2, 3, 4]


def test_the_second_load_reads_the_cache(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text(f"{SKY}\n\n{SEA}")
    first = load_documents(path, max_tokens=16)
    builds = []
    original = document_corpus.write_passages
    monkeypatch.setattr(document_corpus, "write_passages", lambda *args: builds.append(args) or original(*args))
    second = load_documents(path, max_tokens=16)
    assert second.report == first.report
    assert second.dataset["text"][:] == first.dataset["text"][:]
    assert builds == []
    path.write_text(f"{SKY}\n\n{ICE}")
    assert load_documents(path, max_tokens=16).dataset["text"][:] == [SKY, ICE]
    assert len(builds) == 1


def test_tokens_are_counted_by_the_tokenizer(tmp_path, tiny_bert):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    (tmp_path / "a.txt").write_text(" ".join([SKY, SEA, ICE] * 3))
    corpus = load_documents(tmp_path, max_tokens=24, tokenizer=tokenizer, near_duplicates=None)
    longest = max(len(ids) for ids in tokenizer(corpus.dataset["text"][:], add_special_tokens=False)["input_ids"])
    assert longest <= 24
    tokenizer("truncated", truncation=True, max_length=4)
    again = load_documents(tmp_path, max_tokens=24, tokenizer=tokenizer, near_duplicates=None)
    assert again.dataset.cache_files == corpus.dataset.cache_files


def test_passages_without_letters_are_dropped(tmp_path):
    (tmp_path / "a.csv").write_text(f"text\n{SKY}\n{SEA}\n. . . 11\n水\n")
    corpus = load_documents(tmp_path)
    assert corpus.dataset["text"][:] == [SKY, SEA, "水"]
    assert corpus.report.dropped["no letters"] == 1


def test_short_passages_can_be_dropped(tmp_path):
    (tmp_path / "a.csv").write_text(f"text\n{SKY}\n{SEA}\nword\n")
    assert len(load_documents(tmp_path)) == 3
    assert load_documents(tmp_path, min_tokens=2).report.dropped["too short"] == 1


@pytest.mark.parametrize(
    ("options", "column"), [({}, "text"), ({"column": "summary"}, "summary"), ({"title": "summary"}, "text")]
)
def test_columns_can_be_chosen(tmp_path, options, column):
    record = {"title": "t", "text": SKY, "summary": SEA}
    other = {"text": ICE, "summary": f"{ICE} again"}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(other)}\n")
    corpus = load_documents(tmp_path, near_duplicates=None, **options)
    assert corpus.dataset["text"][:] == [record[column], other[column]]
    assert corpus.dataset["title"][0] == record[options.get("title", "title")]


def test_titles_missing_in_half_of_the_rows(tmp_path):
    rows = [{"text": SKY}, {"text": SEA, "title": "Sea"}, {"text": ICE, "title": None}, {"text": "x", "title": "X"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load_documents(tmp_path, title="title")
    assert corpus.dataset["title"][:] == ["", "Sea", "", "X"]
    assert corpus.report.untitled == 2


def test_a_document_is_kept_whole_without_a_limit_of_tokens(tmp_path, tiny_bert):
    from transformers import AutoTokenizer

    long = " ".join(words(300, 0))
    rows = [f"  {SKY}\n\n {SEA}\n", long, f"{SKY} {SEA}", f"{long} more", "1 2 3", "short"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row, "title": "T"}) + "\n" for row in rows))
    corpus = load_documents(tmp_path, max_tokens=None)
    assert corpus.dataset["text"][:] == [f"{SKY} {SEA}", long, "short"]
    assert corpus.dataset["document"][:] == [0, 1, 5]
    place = corpus.dataset["place"][0]
    assert rows[0][place["start"] : place["end"]] == rows[0].strip()
    assert corpus.report.dropped == {"no letters": 1, "too short": 0, "duplicate": 1, "near-duplicate": 1}
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    for options in ({}, {"tokenizer": tokenizer}):
        long_ones = load_documents(tmp_path, max_tokens=None, min_tokens=290, near_duplicates=None, **options)
        assert long_ones.dataset["document"][:] == [1, 3]


def test_the_first_documents_can_be_chosen(tmp_path):
    (tmp_path / "a.txt").write_text("")
    rows = "".join(json.dumps({"text": text}) + "\n" for text in (SKY, SEA, ICE))
    (tmp_path / "b.jsonl").write_text(rows)
    (tmp_path / "c.jsonl").write_text("not read\n")
    corpus = load_documents(tmp_path, limit=3)
    assert corpus.dataset["text"][:] == [SKY, SEA]
    assert corpus.report.documents == 3
    limited = "limit of 3 documents reached: later ones were not read"
    assert corpus.report.notes == (f"documents skipped (1): {tmp_path}/a.txt (no text)", limited)
    assert "limit of 2 documents reached" in refusal(tmp_path, limit=2)
    (tmp_path / "c.jsonl").unlink()
    assert len(load_documents(tmp_path, limit=100).report.notes) == 1


def test_the_progress_bar_counts_documents_and_passages(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"{SKY} {number}")
    console = Console(file=StringIO(), width=100, force_terminal=True)
    load_documents(tmp_path, near_duplicates=None, console=console)
    drawn = console.file.getvalue()
    assert "reading documents" in drawn
    assert "comparing passages" in drawn
    assert "3/3" in drawn
    assert "left" in drawn


def test_the_report_survives_json_and_is_shown(tmp_path):
    (tmp_path / "[a].txt").write_text(f"{SKY}\n\n{SEA}")
    (tmp_path / "empty.txt").write_text("")
    report = load_documents(tmp_path, max_tokens=16).report
    assert DocumentReport.from_dict(json.loads(json.dumps(report.as_dict()))) == report
    console = Console(file=StringIO(), width=200)
    console.print(report.table())
    shown = " ".join(console.file.getvalue().split())
    assert "skipped: no text │ 1" in shown
    assert report.notes == (f"documents skipped (1): {tmp_path}/empty.txt (no text)",)


def test_the_size_of_the_batches_does_not_change_the_passages(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("text\n" + "".join(f"{' '.join(words(30, seed))}\n" for seed in range(9)))
    one = load_documents(tmp_path).report.fingerprint
    monkeypatch.setattr(document_pipeline, "BATCH_ROWS", 2)
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    assert load_documents(tmp_path).report.fingerprint == one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 15}, "max_tokens=15 is too small"),
        ({"min_tokens": 0}, "min_tokens=0 must be at least 1"),
        ({"max_tokens": None, "min_tokens": 0}, "min_tokens=0 must be at least 1."),
        ({"max_tokens": 20, "min_tokens": 21}, "min_tokens=21 must be at least 1 and at most max_tokens=20."),
        ({"limit": 0}, "limit=0 is too small: give at least 1, or None for all documents."),
        ({"near_duplicates": 0.0}, "near_duplicates=0.0 must be above 0"),
        ({"column": "text"}, "contains no table and has no column 'text': leave out `column`"),
        ({"title": "name"}, "contains no table and has no column 'name': leave out `title`"),
        ({"tokenizer": object()}, "object is not a fast tokenizer"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    (tmp_path / "a.txt").write_text(f"{SKY} {SEA}")
    assert message in refusal(tmp_path, **options)
