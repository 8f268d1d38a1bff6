"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import run_here
from smoothcse import cli
from smoothcse.encoders.load import load_encoder
from tiny import sentences


def smoothcse(*arguments, check=True, **environment):
    result = subprocess.run(
        [sys.executable, "-m", "smoothcse", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "SMOOTHCSE_CPU": "1", **environment},
        timeout=240,
    )
    if check:
        assert result.returncode == 0, result.stderr
    return result


def test_train_help_lists_the_fields_and_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['smoothcse', 'train', '--help']\n"
        "from smoothcse.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'datasets', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "--learning-rate" in result.stdout
    assert "3e-05" in result.stdout
    assert "Separate them with commas" in " ".join(result.stdout.replace("│", " ").split())


@pytest.mark.parametrize("given", [["a,b"], ["a", "b"], [" a, b "]])
def test_several_columns_have_commas_or_an_option_each(given, monkeypatch):
    found = {}
    monkeypatch.setattr("smoothcse.training.resolve_config", lambda *layers: found.update(layers[2]) or sys.exit(0))
    flags = [argument for name in given for argument in ("--columns", name)]
    monkeypatch.setattr(sys, "argv", ["smoothcse", "train", "pairs.csv", *flags])
    with pytest.raises(SystemExit):
        cli.main()
    assert found == {"corpus": "pairs.csv", "columns": ["a", "b"]}


def test_commands_and_version():
    help_text = smoothcse("--help").stdout
    for command in ("train", "list", "encode", "similarity", "demo"):
        assert command in help_text
    assert smoothcse("--version").stdout.startswith("smoothcse ")


def test_recipes_are_listed_and_printed_as_yaml_to_start_from(tmp_path):
    assert "control/roberta-large" in smoothcse("list", "recipes").stdout
    text = smoothcse("list", "recipes", "gs-infonce/roberta-large").stdout
    assert "batch_size: 128\n" in text
    assert "noise_count: 192\n" in text


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text("\n".join(sentences(40)), encoding="utf-8")
    (folder / "mine.yaml").write_text("batch_size: 8\nnoise_count: 8\neval_steps: 2\nprecision: fp32\n")
    result = smoothcse(
        "train", folder / "text.txt", "--config", folder / "mine.yaml", "--model", tiny_bert, "--max-steps", 4,
        "--learning-rate", "1e-3", "--output", folder / "run",
    )  # fmt: skip
    return folder, result


def test_train_prints_the_card_and_the_verdict(run_folder):
    folder, result = run_folder
    for text in ("40 from", "4 of batch 8", "7 in the batch + 8 Gaussian", "noise share", "label-free", "cpu"):
        assert text in result.stderr
    assert f"The model is in {folder / 'run' / 'best'}." in result.stderr.replace("\n", " ").replace("  ", " ")
    config = json.loads((folder / "run" / "run.json").read_text())["config"]
    assert (config["batch_size"], config["learning_rate"], config["max_steps"]) == (8, 1e-3, 4)


@pytest.mark.parametrize("compressed", [False, True])
def test_encode_streams_any_number_of_lines(compressed, run_folder, monkeypatch, tmp_path):
    folder, _ = run_folder
    lines = [*sentences(30), "", "the cat"]
    text = tmp_path / ("lines.txt.gz" if compressed else "lines.txt")
    data = ("\n".join(lines) + "\n").encode()
    text.write_bytes(gzip.compress(data) if compressed else data)
    expected = load_encoder(folder / "run", device="cpu").encode(lines)

    from smoothcse.bulk import encode_file as bulk

    monkeypatch.setattr(bulk, "CHUNK", 7)
    encoder = load_encoder(folder / "run", device="cpu")
    assert bulk.encode_file(encoder, text, tmp_path / "out.npy", precision="fp32") == 32
    assert bulk.encode_file(encoder, text, tmp_path / "out.parquet", precision="fp32") == 32
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["sentence"].to_pylist() == lines
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "tsv", "parquet"])
def test_encode_reads_a_record_per_row_as_the_suffix_says(kind, run_folder, monkeypatch, tmp_path):
    folder, _ = run_folder
    texts = [*sentences(10), "", "the cat"]
    file = tmp_path / f"docs.{kind}"
    table = pa.table({"title": ["the mat"] * len(texts), "body": texts})
    if kind == "parquet":
        pq.write_table(table, file)
    else:
        separator = {"csv": ",", "tsv": "\t"}.get(kind)
        rows = [separator.join(row.values()) if separator else json.dumps(row) for row in table.to_pylist()]
        data = "\n\n".join([f"title{separator}body", *rows] if separator else rows).encode()  # empty lines: no records
        file.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    arguments = ["encode", str(folder / "run"), str(file), "-o", str(tmp_path / "out.parquet"), "--column", "body"]
    monkeypatch.setattr(sys, "argv", ["smoothcse", *arguments, "--precision", "fp32"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    made = pq.read_table(tmp_path / "out.parquet")
    assert made["sentence"].to_pylist() == texts
    expected = load_encoder(folder / "run", device="cpu").encode(texts)
    np.testing.assert_allclose(np.array(made["embedding"].to_pylist()), expected, atol=1e-5)


def test_encode_and_similarity_commands(run_folder, tmp_path, monkeypatch, capsys):
    folder, _ = run_folder
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\nthe mat\n")))
    assert run_here("encode", folder / "run", "-", "-o", tmp_path / "out.npy", "--normalize") == 0
    capsys.readouterr()
    rows = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert run_here("similarity", folder / "run", "the cat", "the mat") == 0
    printed = float(capsys.readouterr().out)
    assert printed == pytest.approx(float(rows[0] @ rows[1]), abs=0.02)  # encode may compute in bf16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.txt"], "nowhere.txt"),
        (["train", "{run}/best/README.md", "--views", "sentence"], "`smoothcse adapt` reads documents"),
        (["train", "--recipe", "gs-infonce/bert-base-uncase"], "Did you mean 'gs-infonce/bert-base-uncased'?"),
        (["train", "--temperature", "0"], "temperature is 0.0, but input should be greater than 0"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["train", "--columns", "a,b,c,d"], "columns is ['a', 'b', 'c', 'd'], but list should have at most 3"),
        (["train", "--settings", "a=1", "--settings", "a=2"], "--settings gives 'a' twice"),
        (
            ["train", "--settings", "a={b: 1, b: 2}"],
            "--settings a={b: 1, b: 2}: the value is not valid YAML (the key 'b'",
        ),
        (["train", "--learnig-rate", "1"], "--learning-rate"),
        (["encode", "{run}", "nowhere.txt", "-o", "x.npy"], "no file or folder 'nowhere.txt'"),
        (["encode", "{run}", "{run}/run.json", "-o", "x.npy"], "run.json has an unsupported format: supported"),
        (["encode", "{run}", "{run}", "-o", "x.npy"], "is a folder: give a file"),
        (
            ["encode", "{run}", "{run}/../text.txt", "--column", "a", "-o", "x.npy"],
            "text.txt is plain text and has no",
        ),
        (["encode", "{run}", "-", "--column", "a", "-o", "x.npy"], "- is plain text and has no column 'a'"),
        (["encode", "{run}", "{run}/run.json", "-o", "x.csv"], "x.csv must end in .npy or .parquet"),
        (["similarity", "no/model", "a", "b"], "no/model is neither a folder"),
        (["similarity", "~no-such-user/model", "a", "b"], "~no-such-user/model is neither a folder"),
        (["list", "recipes", "nothing"], "no recipe 'nothing'"),
    ],
)
def test_mistakes_end_in_one_sentence_and_code_2(arguments, message, run_folder, tmp_path, monkeypatch, capfd):
    folder, _ = run_folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    arguments = [argument.replace("{run}", str(folder / "run")) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["smoothcse", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    said = capfd.readouterr().err
    assert leaving.value.code == 2
    assert message in " ".join(said.split())
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_mistake_ends_a_process_with_code_2():
    result = smoothcse("list", "recipes", "nothing", check=False)
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)


def test_debug_shows_the_traceback():
    result = smoothcse("list", "recipes", "nothing", "--debug", check=False)
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)])
def test_no_help_loads_anything_heavy(command, monkeypatch, capsys):
    """In this process, where all is loaded already: a heavy import of the help's own would be refused."""
    heavy = ("torch", "transformers", "sentence_transformers", "datasets", "numpy", "pandas", "pyarrow", "lancedb")
    ours = [name for name in sys.modules if name.partition(".")[0] == "smoothcse"]
    with monkeypatch.context() as patch:
        for name in ours:
            patch.delitem(sys.modules, name)
        for name in heavy:
            patch.setitem(sys.modules, name, None)  # an import of it fails
        patch.setattr(sys, "argv", ["smoothcse", *command, "--help"])
        with pytest.raises(SystemExit) as leaving:
            importlib.import_module("smoothcse.cli").main()
    for name in [name for name in sys.modules if name.partition(".")[0] == "smoothcse" and name not in ours]:
        del sys.modules[name]  # imported anew above, beside classes that are not those of this process
    assert leaving.value.code == 0
    assert "Usage: smoothcse" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "There is no command 'trian'. Did you mean 'train'? `smoothcse --help` lists them all."),
        (["nothing"], "There is no command 'nothing'. `smoothcse --help` lists them all."),
        (["methods", "esimcse"], "The command 'methods' has been renamed: use `smoothcse list methods`."),
        (["recipes"], "The command 'recipes' has been renamed: use `smoothcse list recipes`."),
        (["published"], "The command 'published' has been renamed: use `smoothcse list published`."),
        (["watch", "{run}"], "The command 'watch' has been renamed: use `smoothcse report --follow RUN`."),
        (["list", "recipes", "a", "b"], "`smoothcse list recipes` takes one NAME, not 2"),
        (["list", "tasks", "--model", "BERT-base"], "--model filters published results"),
        (["list", "tasks", "stx"], "There are no tasks 'stx'"),
        (["list", "everything"], "'everything' is not one of"),
        (["report", "{run}", "--once"], "--once and --interval need --follow"),
        (["report", "{run}", "{run}", "--follow"], "--follow takes one run folder, not 2"),
        (["report", "{run}", "--follow", "-o", "page.html"], "--follow writes no file"),
        (
            ["encode", "{run}", "{file}", "-o", "x.npy", "--precision", "fp8"],
            "'fp8' is not one of 'auto', 'fp32', 'bf16'",
        ),
        (["list", "recipes", "gs-infonce/bert"], "Did you mean 'gs-infonce/bert-base-uncased'?"),
        (["train", "--settings", "queue=["], "--settings queue=[: the value is not valid YAML"),
        (["train", "--settings", "queue=2024-13-45"], "--settings queue=2024-13-45: the value is not valid YAML"),
        (["index", "{run}", "t.txt", "-o", "idx", "--update", "--delete"], "--update and --delete contradict"),
        (
            ["index", "{run}", "t.txt", "-o", "idx", "--update", "--dimensions", "8"],
            "--pooling, --dimensions and --quantize have no effect with --update or --delete",
        ),
        (["index", "{run}", ".", "-o", "idx", "--id", "name"], "The passages of . have no id column; leave out --id."),
        (["study", "study.yaml", "--merge", "runs", "--seed", "3"], "--merge adds all records and trains nothing"),
        (["train", "t.txt", "--resume", "--overwrite"], "--resume and --overwrite contradict each other"),
        (["demo", "--output", "{file}"], "run.json cannot be written (File exists): give another --output."),
        (["search", "idx", "q", "--threshold", "nan"], "Invalid value for '--threshold'"),
        (["similarity", "{file}", "a", "b"], "is a file; give a folder or a hub name."),
        (["similarity", "", "a", "b"], "The name of the model is empty; give a folder or a hub name."),
        (["report", "{run}", "-o", "{file}"], "must end in .html"),
        (["evaluate", "{run}", "--tasks", "geometry", "-o", "{file}"], "run.json holds something other than results"),
    ],
)
def test_a_user_error_is_reported_and_changes_nothing(arguments, message, run_folder, tmp_path, monkeypatch, capfd):
    folder, _ = run_folder
    before = (folder / "run" / "run.json").read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    places = {"run": str(folder / "run"), "file": str(folder / "run" / "run.json")}
    monkeypatch.setattr(sys, "argv", ["smoothcse", *(argument.format(**places) for argument in arguments)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    said = " ".join(capfd.readouterr().err.split())
    assert leaving.value.code == 2
    assert message in said
    assert "Traceback" not in said
    assert (folder / "run" / "run.json").read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_brackets_in_paths_are_printed_as_they_are(tmp_path, tiny_bert, monkeypatch, capsys):
    text = tmp_path / "[red]" / "[" / "bold].txt"  # rich would end a style that has not begun
    text.parent.mkdir(parents=True)
    text.write_text("\n".join(sentences(16)), encoding="utf-8")
    output = tmp_path / "[" / "red]"
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    command = ["train", text, "--model", tiny_bert, "--batch-size", 8, "--max-steps", 1, "--output", output]
    assert run_here(*command) == 0
    said = capsys.readouterr().err
    assert f"16 from {text}" in said
    assert f"The model is in {output / 'best'}." in said


def test_an_export_of_a_damaged_run_writes_nothing(tmp_path, run_folder, monkeypatch, capfd):
    shutil.copytree(run_folder[0] / "run", tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("<html>")
    arguments = ["export", tmp_path / "run" / "best", "--format", "safetensors", "-o", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["smoothcse", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == 2
    assert "run.json cannot be read" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "out").exists()
