"""Export to the fastest format on this machine: each format is written, compared with the original, and timed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import explain_unwritable
from smoothcse._utils.choices import ExportFormat, ExportQuantisation
from smoothcse._utils.progress import progress_bar
from smoothcse._utils.tables import FigureTable
from smoothcse.encoders.inference import in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import resolve_precision
from smoothcse.encoders.projection import strip_projection
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.sts import STSTask
from smoothcse.export.comparison import Comparison, compare
from smoothcse.export.export_model import RECORD, UNWRITABLE, export_model, require_new

_CANDIDATES: tuple[tuple[ExportFormat, ExportQuantisation | None], ...] = (
    ("safetensors", None),
    ("onnx", None),
    ("onnx", "int8"),
    ("openvino", None),
    ("openvino", "int8"),
)

MOST_LOST = 0.2
"""Largest loss on STS-B dev, in points, with which a format can be chosen."""


@dataclass(frozen=True)
class Measured:
    """Formats of a model, each compared with the original in torch and float32.

    Attributes:
        comparisons: Comparison of each format, by name.
        left_out: Reason why a format could not be written, by name.
    """

    comparisons: Mapping[str, Comparison]
    left_out: Mapping[str, str]

    @property
    def fastest(self) -> str:
        """The name of the fastest format that loses at most 0.2 points of STS-B dev, if that was scored."""
        good = {name: one for name, one in self.comparisons.items() if _lost(one) <= MOST_LOST}
        return max(good or self.comparisons, key=lambda name: _gain(self.comparisons[name]))

    def table(self) -> Table:
        """Return the table that ``smoothcse export`` prints."""
        best = self.comparisons[self.fastest]
        caption = f"Fastest: {self.fastest}, {_gain(best):.2f} times torch in float32 ({best.sentences} sentences)."
        caption += "".join(f"\nNot measured: {name}. {reason}" for name, reason in self.left_out.items())
        headings = ("weights, MB", "sentences/s", "times torch", "cosine, mean", "lowest", "STS-B dev")
        table = FigureTable(["format"], headings, caption=escape(caption))
        for name, one in self.comparisons.items():
            sts = "-" if one.after.sts_dev is None else f"{one.after.sts_dev:.2f}"
            figures = (f"{one.after.megabytes:.1f}", f"{one.after.sentences_per_second:.0f}", f"{_gain(one):.2f}")
            table.add_row(escape(name), *figures, f"{one.mean_cosine:.4f}", f"{one.min_cosine:.4f}", sts)
        return table

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"fastest": self.fastest, **{name: one.as_dict() for name, one in self.comparisons.items()}}


def export_fastest(
    model: SentenceTransformer,
    target: Path,
    sentences: Sequence[str],
    *,
    calibration: Sequence[str] | None = None,
    sts: STSTask | None = None,
    origin: str | None = None,
    console: Console | None = None,
) -> Measured:
    """Write a model in each format that gives the same embeddings, and keep the fastest.

    Formats are timed in the precision that ``encode`` and ``serve`` use by default: bf16 on hardware with bf16
    instructions. Static models are not measured, since they are another model.

    Args:
        model: Model on the CPU. Its projection head is not exported.
        target: Folder to write, which must not exist.
        sentences: Sentences to compare and time the formats with.
        calibration: Sentences to calibrate OpenVINO's int8 quantisation with; None uses ``sentences``.
        sts: STS-B dev; None (default) skips the scores.
        origin: Origin of the sentences in words, for the record.
        console: Console for the progress bars; None uses standard error.

    Returns:
        All formats, also written to ``export.json`` in the folder.

    Raises:
        SmoothCSEError: If the target exists or cannot be written, or no format can be.
    """
    require_new(target)
    model = strip_projection(model).eval()
    comparisons: dict[str, Comparison] = {}
    left_out: dict[str, str] = {}
    folders: dict[str, Path] = {}
    with explain_unwritable(target, UNWRITABLE), _folder_beside(target) as work:
        for format, quantize in _CANDIDATES:
            folder = work / f"{format}-{quantize or 'float32'}"
            name = _name(format, quantize)
            try:
                found = export_model(
                    model,
                    folder,
                    format,
                    sentences,
                    quantize=quantize,
                    calibration=calibration,
                    sts=sts,
                    origin=origin,
                    console=console,
                )
            except SmoothCSEError as error:
                left_out[name] = str(error)
                continue
            comparisons[name] = _in_default_precision(model, folder, name, found, sentences, sts, console)
            folders[name] = folder
        if not comparisons:
            raise SmoothCSEError(f"No format can be written: {next(iter(left_out.values()))}")
        measured = Measured(comparisons, left_out)
        chosen = folders[measured.fastest]
        record = json.loads((chosen / RECORD).read_text(encoding="utf-8")) | {"measured": measured.as_dict()}
        (chosen / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        chosen.rename(target)
    return measured


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Make a temporary folder on the file system of the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as work:
        yield Path(work)


def _name(format: ExportFormat, quantize: ExportQuantisation | None) -> str:
    """Return the name of a format with its default precision on this machine."""
    runtime = "torch (safetensors)" if format == "safetensors" else format
    bf16 = format != "onnx" and resolve_precision("auto", "encode", "cpu") == "bf16"
    numbers = [*([quantize] if quantize else []), *(["bf16"] if bf16 else [])]
    return ", ".join([runtime, " in ".join(numbers) or "float32"])


def _in_default_precision(
    model: SentenceTransformer,
    folder: Path,
    name: str,
    found: Comparison,
    sentences: Sequence[str],
    sts: STSTask | None,
    console: Console | None,
) -> Comparison:
    """Return the comparison in the default precision: the one made in float32, unless that is bf16."""
    exported = load_encoder(folder, device="cpu")
    chosen = in_precision(exported, "auto")
    if chosen is exported:
        return found
    names = (found.before.name, f"after: {name}")
    with progress_bar(console) as progress:
        again = compare(model, chosen, [], sentences, names=names, sts=sts, progress=progress)
    return replace(again, after=replace(again.after, megabytes=found.after.megabytes))


def _gain(found: Comparison) -> float:
    """Return the speed relative to the original, measured in alternation with it."""
    return found.after.sentences_per_second / found.before.sentences_per_second


def _lost(found: Comparison) -> float:
    """Return the points of STS-B dev that the format loses; 0 if they were not measured."""
    if found.before.sts_dev is None or found.after.sts_dev is None:
        return 0.0
    return found.before.sts_dev - found.after.sts_dev
