"""``smoothcse export``: the exported model equals the original, or no folder is written."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from typer.testing import CliRunner

from smoothcse.cli import app
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.exported import backend_of, is_exported
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.runtimes import ONNX_FILE, OPENVINO_FILE, open_openvino
from smoothcse.errors import SmoothCSEError
from smoothcse.export import export_model as export_module
from smoothcse.export import openvino as openvino_module
from smoothcse.export.export_model import export_model
from smoothcse.export.openvino import write_openvino
from smoothcse.runs.search_settings import SearchSettings, read_search_settings, write_search_settings
from tiny import save_tiny_generator, save_tiny_model, sentences

QUIET = Console(quiet=True)
TEXT = [*sentences(40), "the", "", "the cat sat on a mat " * 30]


@pytest.fixture(scope="module")
def model(tiny_bert):
    return build_encoder(tiny_bert, "mean", max_length=None, device="cpu").eval()  # with a projection head


@pytest.fixture(scope="module")
def onnx_folder(model, tmp_path_factory):
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra 'onnx'")
    folder = tmp_path_factory.mktemp("export") / "onnx"
    export_model(model, folder, "onnx", sentences(20), console=QUIET)
    return folder


@pytest.fixture
def written_before(onnx_folder, monkeypatch):
    """Copy the graph of ``onnx_folder``, since torch takes seconds to write one."""

    def copy(model, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(onnx_folder / ONNX_FILE, path)

    monkeypatch.setattr(export_module, "write_onnx", copy)
    monkeypatch.setattr(openvino_module, "write_onnx", copy)


def cosines(one, other):
    a, b = encode(one, TEXT, normalize=True), encode(other, TEXT, normalize=True)
    return np.vecdot(a, b)


def test_onnx_gives_the_same_embeddings_for_any_length_and_batch(model, onnx_folder):
    loaded = load_encoder(onnx_folder)
    for batch_size in (1, 7, 64):
        np.testing.assert_allclose(
            encode(loaded, TEXT, batch_size=batch_size), encode(model, TEXT, batch_size=batch_size), atol=2e-6
        )
    np.testing.assert_allclose(loaded.encode(TEXT), model.encode(TEXT), atol=2e-6)
    assert loaded.max_seq_length == model.max_seq_length


def test_onnx_has_the_layout_of_the_hosts_backend(onnx_folder):
    import onnxruntime

    assert (onnx_folder / "onnx" / "model.onnx").is_file()
    assert backend_of(onnx_folder) == "onnx"
    assert not list(onnx_folder.rglob("*.safetensors"))  # the weights are stored once, without the head
    session = onnxruntime.InferenceSession(str(onnx_folder / ONNX_FILE))
    assert [node.name for node in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [node.name for node in session.get_outputs()] == ["last_hidden_state"]
    record = json.loads((onnx_folder / "export.json").read_text())
    assert record["format"] == "onnx"
    assert record["min_cosine"] > 0.999999
    assert record["after"]["megabytes"] * 1e6 == (onnx_folder / ONNX_FILE).stat().st_size


def test_onnx_int8_is_smaller_and_nearly_the_same(model, written_before, onnx_folder, tmp_path):
    found = export_model(model, tmp_path / "int8", "onnx", sentences(20), quantize="int8", console=QUIET)
    assert sorted(path.name for path in (tmp_path / "int8" / "onnx").iterdir()) == ["model.onnx"]
    assert found.after.megabytes < json.loads((onnx_folder / "export.json").read_text())["after"]["megabytes"]
    similarity = cosines(model, load_encoder(tmp_path / "int8"))
    assert similarity.min() > 0.9
    assert similarity.min() < 0.999999  # the arithmetic differs, and the comparison shows it
    assert found.min_cosine < 0.999999


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_openvino_gives_the_same_embeddings(quantize, model, written_before, tmp_path):
    for module in ("openvino", "nncf"):
        pytest.importorskip(module, reason="needs the extra 'openvino'")
    found = export_model(model, tmp_path / "openvino", "openvino", sentences(20), quantize=quantize, console=QUIET)
    assert backend_of(tmp_path / "openvino") == "openvino"
    assert (tmp_path / "openvino" / OPENVINO_FILE).is_file()
    similarity = cosines(model, load_encoder(tmp_path / "openvino"))
    weights = (tmp_path / "openvino" / OPENVINO_FILE).with_suffix(".bin").stat().st_size / 1e6
    if quantize:
        assert similarity.min() > 0.9
        assert found.mean_cosine < 0.999999
        assert weights < 0.5 * found.before.megabytes
    else:
        assert similarity.min() > 0.999999
        assert weights == pytest.approx(found.before.megabytes, rel=0.2)
        check_bf16(load_encoder(tmp_path / "openvino"), model)


def check_bf16(exported, model):
    """In bf16, a graph is compiled once and leaves the model as it is."""
    in_bf16 = in_precision(exported, "bf16")
    assert in_precision(exported, "bf16")[0].model is in_bf16[0].model is in_precision(in_bf16, "bf16")[0].model
    assert in_bf16[0].model is not exported[0].model
    assert fingerprint(in_bf16) == fingerprint(exported)
    assert in_bf16.tokenizer is exported.tokenizer
    given = encode(exported, TEXT, precision="bf16", normalize=True)
    assert np.vecdot(given, encode(model, TEXT, normalize=True)).min() > 0.999
    assert (given == encode(in_bf16, TEXT, normalize=True)).all()
    assert cosines(model, exported).min() > 0.999999  # still in fp32


def test_onnx_stays_in_fp32(onnx_folder):
    loaded = load_encoder(onnx_folder)
    assert in_precision(loaded, "bf16") is loaded


def test_signals_work_after_openvino_graphs_are_destroyed(tiny_bert, tmp_path):
    path = tmp_path / "openvino_model.xml"
    write_openvino(load_encoder(tiny_bert), path)
    first = open_openvino(path)
    second = open_openvino(path)
    del first, second
    gc.collect()
    arrived = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: arrived.append(number))
    try:
        signal.raise_signal(signal.SIGUSR1)  # was a segmentation fault when the signal stack was unmapped
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert arrived == [signal.SIGUSR1]


def test_openvino_sends_no_telemetry(tmp_path):
    script = "from smoothcse.encoders.runtimes import openvino_runtime; openvino_runtime(); "
    script += "import os, openvino_telemetry as t; print(t.Telemetry().consent, 'CI' in os.environ)"
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    assert ran.stdout.split() == ["False", "False"]


def test_safetensors_is_the_plain_folder_without_the_head(model, tmp_path):
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Dense"]
    found = export_model(model, tmp_path / "plain", "safetensors", sentences(20), console=QUIET)
    assert found.max_difference == 0.0
    assert backend_of(tmp_path / "plain") is None
    loaded = SentenceTransformer(str(tmp_path / "plain"), device="cpu")
    assert [type(module).__name__ for module in loaded] == ["Transformer", "Pooling"]
    assert (loaded.encode(TEXT) == model.encode(TEXT)).all()
    assert load_file(tmp_path / "plain" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "mpnet", "modernbert", "electra"])
def test_other_architectures(architecture, tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    encoder = load_encoder(save_tiny_model(tmp_path / "start", architecture), "cls", device="cpu")
    encoder.max_seq_length = 32  # RoBERTa and MPNet count positions from 2, and the tiny models have 64
    export_model(encoder, tmp_path / "onnx", "onnx", sentences(20), console=QUIET)
    assert cosines(encoder, load_encoder(tmp_path / "onnx")).min() > 0.999999


@pytest.mark.slow
def test_a_decoder(tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    path = save_tiny_generator(tmp_path / "start", "qwen3", pad_token="[PAD]", padding_side="left")
    encoder = load_encoder(path, device="cpu")
    export_model(encoder, tmp_path / "onnx", "onnx", sentences(20), console=QUIET)
    assert cosines(encoder, load_encoder(tmp_path / "onnx")).min() > 0.999999


def test_an_export_of_another_model_is_refused_and_removed(tiny_bert, written_before, tmp_path):
    other = load_encoder(tiny_bert, "mean", device="cpu")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    with pytest.raises(SmoothCSEError, match="The exported model differs from the original"):
        export_model(other, tmp_path / "wrong", "onnx", sentences(20), console=QUIET)
    assert not list(tmp_path.iterdir())


def test_nan_embeddings_do_not_match(tiny_bert, written_before, tmp_path):
    broken = load_encoder(tiny_bert, "mean", device="cpu")
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(SmoothCSEError, match="is nan"):
        export_model(broken, tmp_path / "wrong", "onnx", sentences(20), console=QUIET)


@pytest.mark.parametrize(
    ("format_", "quantize", "message"),
    [
        ("gguf", None, "The format 'gguf' is unknown; choose one of onnx, openvino, static, safetensors"),
        ("onnx", "int4", "'int4' is unknown"),
        ("safetensors", "int8", "choose onnx or openvino"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(format_, quantize, message, model, tmp_path):
    with pytest.raises(SmoothCSEError, match=message):
        export_model(model, tmp_path / "out", format_, sentences(5), quantize=quantize, console=QUIET)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(model, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SmoothCSEError, match="exists; give the name of a new folder"):
        export_model(model, tmp_path / "mine", "safetensors", sentences(5), console=QUIET)
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_pooling_over_layers_is_refused(tiny_bert, tmp_path):
    encoder = load_encoder(tiny_bert, "avg_first_last", device="cpu")
    with pytest.raises(SmoothCSEError, match="averages several layers"):
        export_model(encoder, tmp_path / "out", "onnx", sentences(5), console=QUIET)


@pytest.mark.parametrize(("format_", "module"), [("onnx", "onnxscript"), ("openvino", "openvino")])
def test_a_missing_extra_is_named(format_, module, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SmoothCSEError, match=rf"package {module} is not.*constraints.txt \"\.\[{format_}\]\""):
        export_model(model, tmp_path / "out", format_, sentences(5), console=QUIET)
    assert not list(tmp_path.iterdir())


def test_an_exported_folder_keeps_its_pooling_and_is_refused_if_damaged(onnx_folder, tmp_path):
    with pytest.raises(SmoothCSEError, match="exported with its pooling"):
        load_encoder(onnx_folder, "cls")
    shutil.copytree(onnx_folder, tmp_path / "damaged")
    (tmp_path / "damaged" / ONNX_FILE).write_bytes(b"no graph")
    with pytest.raises(SmoothCSEError, match="cannot be opened as an ONNX model"):
        load_encoder(tmp_path / "damaged")
    (tmp_path / "damaged" / "modules.json").write_text("{}")
    with pytest.raises(SmoothCSEError, match=r"modules\.json must list the model's modules"):
        load_encoder(tmp_path / "damaged")


def test_an_exported_folder_without_its_tokenizer_is_refused(onnx_folder, tmp_path):
    """The host would make one without a vocabulary, for which all words are the same."""
    shutil.copytree(onnx_folder, tmp_path / "lost")
    for file in [*(tmp_path / "lost").glob("*token*"), *(tmp_path / "lost").glob("vocab*")]:
        file.unlink()
    with pytest.raises(SmoothCSEError, match="has no vocabulary"):
        load_encoder(tmp_path / "lost")
    shutil.copytree(onnx_folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "tokenizer.json").write_bytes(b'{"version": "1.0", "model": {"type": "WordPiece"')
    with pytest.raises(SmoothCSEError, match=r"damaged cannot be loaded \(.*export it again"):
        load_encoder(tmp_path / "damaged")


def test_a_model_that_truncates_its_embeddings_does_so_after_export(tiny_bert, tmp_path):
    load_encoder(tiny_bert).save(str(tmp_path / "model"))
    settings = tmp_path / "model" / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncate_dim": 8}))
    export_model(load_encoder(tmp_path / "model"), tmp_path / "out", "onnx", sentences(5), console=QUIET)
    assert encode(load_encoder(tmp_path / "out"), TEXT).shape[1] == 8
    assert encode(load_encoder(tmp_path / "model", "mean"), TEXT).shape[1] == 8


def test_a_folder_with_weights_and_a_graph_runs_in_the_backend_asked_for(model, onnx_folder, tmp_path):
    both, plain = tmp_path / "both", tmp_path / "plain"
    export_model(model, plain, "safetensors", sentences(5), console=QUIET)
    shutil.copytree(plain, both)
    shutil.copytree(onnx_folder / "onnx", both / "onnx")
    for backend, exported in ((None, False), ("torch", False), ("onnx", True)):
        loaded = load_encoder(both, backend=backend)
        assert is_exported(loaded) == exported
        np.testing.assert_allclose(encode(loaded, TEXT), encode(model, TEXT), atol=2e-6)
    assert is_exported(load_encoder(onnx_folder, backend="onnx"))
    for folder, backend, message in (
        (onnx_folder, "torch", "is exported to onnx and holds no weights for torch"),
        (plain, "onnx", r"has no onnx/model\.onnx, which --backend onnx needs"),
        (onnx_folder, "openvino", r"has no openvino/openvino_model\.xml"),
        (plain, "tensorrt", "'tensorrt' is unknown; choose one of torch, onnx, openvino"),
    ):
        with pytest.raises(SmoothCSEError, match=message):
            load_encoder(folder, backend=backend)


@pytest.mark.parametrize("command", ["evaluate", "serve"])
def test_the_commands_take_a_backend(command, tiny_bert, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("query,document\na cat,a mat\nthe sea,the stars\n")
    options = {"evaluate": ["--tasks", "retrieval", "--data", str(pairs)], "serve": ["--port", "0"]}[command]
    result = CliRunner().invoke(app, [command, str(tiny_bert), "--backend", "onnx", *options])
    assert "which --backend onnx needs" in str(result.exception)


def write_sts_dev(folder: Path) -> None:
    text = sentences(24)
    rows = [f"genre\tfile\tyear\t{i}\t{i % 6}\t{text[i]}\t{text[-1 - i]}" for i in range(12)]
    (folder / "STSBenchmark").mkdir(parents=True)
    (folder / "STSBenchmark" / "sts-dev.csv").write_text("\n".join(rows) + "\n")


def test_the_host_has_the_private_names_that_exported_models_use():
    """``load_exported`` calls one private method of the host and overrides another; see its docstring."""
    given = list(signature(SentenceTransformer._load_with_module_classes).parameters)
    assert given == ["model_name_or_path", "module_classes", "kwargs"]
    overridden = list(signature(Transformer._load_model).parameters)
    assert overridden[:5] == ["self", "model_name_or_path", "transformer_task", "config", "backend"]


def test_the_command_prints_figures_and_encode_reads_the_result(tiny_bert, written_before, corpus_file, tmp_path):
    write_sts_dev(tmp_path / "sts")
    out = tmp_path / "out"
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    write_search_settings(model, SearchSettings(cosine_weight=0.6, rerank="maxsim"))
    arguments = ["--pooling", "mean", "--texts", corpus_file, "--sentences", 30, "--dev", tmp_path / "sts", "-o", out]
    result = CliRunner().invoke(app, ["export", str(model), *map(str, arguments)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert read_search_settings(out) == SearchSettings(cosine_weight=0.6, rerank="maxsim")
    for words in ("before: torch, float32", "after: onnx, float32", "STS-B dev", "sentences/s", "30 sentences"):
        assert words in result.stdout
    record = json.loads((out / "export.json").read_text())
    assert record["before"]["sts_dev"] == pytest.approx(record["after"]["sts_dev"], abs=1e-6)
    assert f"{record['before']['sts_dev']:.2f}" in result.stdout

    vectors = tmp_path / "vectors.npy"
    encoded = CliRunner().invoke(app, ["encode", str(out), str(corpus_file), "-o", str(vectors)])
    assert encoded.exit_code == 0, encoded.output
    lines = corpus_file.read_text().splitlines()
    expected = load_encoder(tiny_bert, "mean", device="cpu").encode(lines)
    np.testing.assert_allclose(np.load(vectors), expected, atol=2e-6)
