"""``smoothcse export --format fastest``: each format is measured, and the fastest good one is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from smoothcse.cli import app
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.exported import backend_of
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import ASSUME_BF16
from smoothcse.errors import SmoothCSEError
from smoothcse.export import fastest
from smoothcse.export.comparison import Comparison, FormatFigures
from smoothcse.export.export_model import RECORD, export_model
from smoothcse.export.fastest import Measured, export_fastest
from tiny import sentences

QUIET = Console(quiet=True)


def compared(speed: float, lost: float | None = None) -> Comparison:
    """A comparison with a format of a speed relative to torch, and the points of STS-B dev that it loses."""
    before = FormatFigures("before", 90.0, 100.0, None if lost is None else 80.0)
    after = FormatFigures("after", 23.0, 100.0 * speed, None if lost is None else 80.0 - lost)
    return Comparison(before, after, mean_cosine=1.0, min_cosine=1.0, max_difference=0.0, sentences=9)


def test_the_fastest_is_the_one_with_the_highest_speed_relative_to_the_original():
    assert Measured({"a": compared(1.0), "b": compared(3.0), "c": compared(2.0)}, {}).fastest == "b"


def test_a_format_that_loses_too_much_is_not_chosen():
    found = {"a": compared(1.0, 0.0), "b": compared(3.0, 0.21), "c": compared(2.0, 0.19)}
    assert Measured(found, {}).fastest == "c"
    assert Measured({"b": found["b"]}, {}).fastest == "b"


@pytest.fixture
def written(monkeypatch):
    """Replace the exports: plain folders at once, and openvino as if its extra were not installed."""

    def export(model, target, format, texts, *, quantize, **options):
        if format == "openvino":
            raise SmoothCSEError("The format openvino needs the extra openvino.")
        found = export_model(model, target, "safetensors", texts, console=QUIET)
        times = {"safetensors": 1.0, "onnx": 3.0 if quantize else 2.0}[format]
        after = replace(found.after, sentences_per_second=times * found.before.sentences_per_second)
        return replace(found, after=after)

    monkeypatch.setattr(fastest, "export_model", export)
    monkeypatch.setenv(ASSUME_BF16, "0")


def test_the_fastest_is_kept_and_the_others_are_recorded(tiny_bert, written, tmp_path):
    model = build_encoder(tiny_bert, "mean", device="cpu").eval()
    found = export_fastest(model, tmp_path / "deep" / "out", sentences(8), console=QUIET)
    assert found.fastest == "onnx, int8"
    assert list(found.comparisons) == ["torch (safetensors), float32", "onnx, float32", "onnx, int8"]
    assert found.left_out["openvino, int8"] == "The format openvino needs the extra openvino."
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]  # nothing else is left
    record = json.loads((tmp_path / "deep" / "out" / RECORD).read_text())
    assert record["measured"]["fastest"] == "onnx, int8"
    assert record["measured"]["onnx, float32"]["sentences"] == 8
    with pytest.raises(SmoothCSEError, match="already exists"):
        export_fastest(model, tmp_path / "deep" / "out", sentences(8), console=QUIET)


def test_formats_are_measured_in_the_precision_that_is_used_by_default(tiny_bert, written, monkeypatch, tmp_path):
    monkeypatch.setenv(ASSUME_BF16, "1")
    found = export_fastest(
        load_encoder(tiny_bert, "mean", device="cpu"), tmp_path / "out", sentences(8), console=QUIET
    )
    torch_in_bf16 = found.comparisons["torch (safetensors), bf16"]
    assert 0.99 < torch_in_bf16.min_cosine < 0.9999999
    assert torch_in_bf16.after.megabytes > 0


def test_if_no_format_can_be_written_the_first_reason_is_named(tiny_bert, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise SmoothCSEError("There is no space.")

    monkeypatch.setattr(fastest, "export_model", refuse)
    with pytest.raises(SmoothCSEError, match=r"No format can be written: There is no space\."):
        export_fastest(load_encoder(tiny_bert, device="cpu"), tmp_path / "out", sentences(4), console=QUIET)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tiny_bert, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "out"
    with pytest.raises(SmoothCSEError, match=r"file/out cannot be written \(.*\): free disk space, or give another"):
        export_fastest(load_encoder(tiny_bert, device="cpu"), target, sentences(4), console=QUIET)


def test_the_command_prints_all_formats(tiny_bert, written, corpus_file, tmp_path):
    arguments = ["export", str(tiny_bert), "--format", "fastest", "--texts", str(corpus_file), "--sentences", "8"]
    refused = CliRunner().invoke(app, [*arguments, "--quantize", "int8", "-o", str(tmp_path / "out")])
    assert "leave out --quantize" in str(refused.exception)
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")], env={"COLUMNS": "140"})
    assert result.exit_code == 0, result.output
    for words in ("Fastest: onnx, int8", "torch (safetensors)", "times torch", "Not measured: openvino, int8."):
        assert words in result.stdout
    assert backend_of(tmp_path / "out") is None  # the fixture writes plain folders
