"""Adapt an encoder to documents without labels, and say whether it is better on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from smoothcse._utils.atomic import replace_folder
from smoothcse._utils.folder_lock import lock_folder
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.hardware import find_hardware
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import Stopped
from smoothcse.experiments.adapt import layout
from smoothcse.experiments.adapt.build_index import build_index
from smoothcse.experiments.adapt.material import prepare_material
from smoothcse.experiments.adapt.read_corpus import read_corpus
from smoothcse.experiments.adapt.record import AdaptRecord, read_record, write_record
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.experiments.adapt.show import Progress, print_result
from smoothcse.experiments.adapt.tryout import Tryout, try_candidates
from smoothcse.experiments.adapt.yardsticks import read_yardsticks
from smoothcse.runs.disk import explain_failed_writes
from smoothcse.runs.provenance import provenance
from smoothcse.runs.search_settings import SearchSettings, write_search_settings


@dataclass(frozen=True)
class Adaptation:
    """The result of an adaptation.

    Attributes:
        folder: Output folder.
        record: Everything that was measured.
    """

    folder: Path
    record: AdaptRecord

    @property
    def model(self) -> Path:
        """Folder of the model to use: the adapted one, or the start if adapting did not help."""
        return self.folder / layout.MODEL


def adapt(
    documents: str | Path,
    *,
    model: str,
    output: str | Path,
    overwrite: bool = False,
    index: bool = False,
    console: Console | None = None,
    **options: Any,
) -> Adaptation:
    """Adapt an encoder to documents without labels, within a time budget.

    A part of the documents (15%, at most 400) is held out and never trained on. Queries made from one half of them
    select among training settings by successive halving; queries made from the other half compare the selected model
    with the start. If the start is not beaten, the result is the start. An interrupted adaptation continues where it
    stopped when it is called again with the same arguments.

    Args:
        documents: File or folder of documents, see :func:`~smoothcse.corpus.documents.load_documents`.
        model: Encoder to start from: a folder, a hub name, or ``packaged-minilm``. It is read with its own pooling.
        output: Output folder; :mod:`~smoothcse.experiments.adapt.layout` has its layout.
        overwrite: Whether to replace an earlier adaptation in the folder.
        index: Whether to index the documents with the model at the end, in ``documents.index`` of the output folder.
            This takes its time after the budget.
        console: Console for progress and the verdict; None for standard error.
        **options: ``minutes`` (budget, default 15); ``dev`` (the user's own labels, see
            :mod:`~smoothcse.evaluation.own_labels`); ``general`` (STS data in SentEval's layout or ``hub``, to see
            what adapting costs elsewhere); ``column`` and ``title`` (columns of tables); ``language`` (ISO 639 code,
            default ``en``); ``max_tokens`` (tokens of a passage; default: files are split at 128, rows of tables stay
            whole); ``precision`` (``auto``, ``fp32`` or ``bf16``); ``seed`` (default 0).

    Returns:
        The folder of the model to use, and the record.

    Raises:
        SmoothCSEError: If an argument is invalid, the documents or the model cannot be read, or the budget does not
            suffice for one short run.
    """
    console = console or Console(stderr=True)
    request = AdaptRequest(documents=str(documents), model=model, output=str(output), **options)
    folder = Path(output)
    again = "give the same command again" + " without --overwrite" * overwrite
    with (
        explain_failed_writes(folder, again),
        _explain_stop(folder, again),
        layout.made(folder),
        lock_folder(folder, remedy="wait until it ends, or give another --output"),
    ):
        layout.require_usable(folder, request.as_dict(), overwrite=overwrite)
        if (folder / layout.RECORD).is_file() and not overwrite:
            record = read_record(folder)
            console.print(f"The adaptation in {folder} is finished; nothing was changed.", markup=False)
        else:
            record = _carry_out(request, folder, Progress(console, 60 * request.minutes), overwrite)
        if index:
            build_index(request, folder, console)
        print_result(record, folder, console)
    return Adaptation(folder, record)


@contextmanager
def _explain_stop(folder: Path, again: str) -> Iterator[None]:
    """Say how to continue the adaptation, rather than the run that a signal stopped."""
    try:
        yield
    except Stopped as error:
        raise Stopped(
            f"The adaptation in {folder} was interrupted; {again} to continue it.",
            error.exit_code - 128,
        ) from error


def _carry_out(request: AdaptRequest, folder: Path, progress: Progress, overwrite: bool) -> AdaptRecord:
    environment = provenance(find_hardware(request.precision).describe())
    start = load_encoder(request.model)
    corpus = read_corpus(request, start, progress.console)
    progress.console.print(corpus.report.table())
    yardsticks = read_yardsticks(request)  # before the long work, so that a mistake is reported at once
    fingerprints = {layout.TEXT_FINGERPRINT: corpus.report.fingerprint, layout.MODEL_FINGERPRINT: fingerprint(start)}
    layout.take(folder, request.as_dict(), fingerprints, overwrite=overwrite)
    with progress.showing("holding out documents"):
        material = prepare_material(corpus, start, folder, seed=request.seed, language=request.language)
    outcome = try_candidates(request, material, yardsticks, start, progress)
    _write_model(outcome, folder / layout.MODEL)
    record = AdaptRecord(
        request=request.as_dict(),
        documents=corpus.report.as_dict(),
        start_score=outcome.start_score,
        trials=outcome.trials,
        selected=outcome.selected.run_name if outcome.selected else None,
        verdict=outcome.verdict,
        adapted=outcome.adapted,
        cosine_weight=outcome.cosine_weight,
        seconds=progress.seconds - progress.seconds_left(),
        summary=outcome.summary,
        environment=environment,
    )
    write_record(folder, record)
    for path in (folder / layout.RUNS).glob(f"*/{layout.LAST}"):
        shutil.rmtree(path)  # the model has been written
    return record


def _write_model(outcome: Tryout, target: Path) -> None:
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    outcome.model.save_pretrained(str(new), create_model_card=False)
    write_search_settings(new, SearchSettings(cosine_weight=outcome.cosine_weight, rerank=outcome.rerank))
    replace_folder(new, target)
