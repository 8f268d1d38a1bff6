"""What a report says of a run in words and tables: its card, its configuration, its scores beside others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import find_method
from smoothcse.report.read import RecordedRun
from smoothcse.runs.config import with_settings_inside
from smoothcse.training.card import duration, method_title
from smoothcse.training.reading import reading

# Where the run stands, not what it is; two runs never agree on it.
_NOT_COMPARED = ("output",)


def card(run: RecordedRun) -> list[tuple[str, str]]:
    """Return what was trained from what, on what and with what, as terms and descriptions."""
    config, manifest = run.config, run.manifest
    read = reading(config, find_method(config.method.name), manifest.get("pooling"))
    versions = manifest.get("versions", {})
    facts = [
        ("Encoder", f"{config.model}, read {read}"),
        ("Text", _text_words(config.corpus, manifest.get("data", {}))),
        ("Fingerprint of the text", manifest.get("data", {}).get("fingerprint")),
        ("Method", _method(run)),
        ("Training", f"{run.last_step:,} steps of batch {config.batch_size}, {config.lr_scheduler} learning rate from "
         f"{config.learning_rate:g}, seed {config.seed}"),
        ("Selected by", run.result.criterion if run.result else None),
        ("Hardware", manifest.get("hardware")),
        ("Time", _times(manifest.get("times"))),
        ("Started", str(manifest.get("started", "")).replace("T", " ")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Python", " on ".join(filter(None, (manifest.get("python"), manifest.get("platform"))))),
        ("Git commit", manifest.get("git_commit")),
        ("Folder", str(run.folder.path.resolve())),
    ]  # fmt: skip
    return [(term, str(words)) for term, words in facts if words]


def verdict(run: RecordedRun) -> str:
    """Return in a sentence or two what came of the run, finished or not."""
    if run.finished and run.result:
        return run.result.verdict()
    so_far = f" So far: {run.result.verdict()}" if run.result else " Nothing has been evaluated yet."
    return f"This run is unfinished; its last entry is of step {run.last_step:,}.{so_far}"


def configuration(run: RecordedRun) -> list[tuple[str, str]]:
    """Return all fields of the run's configuration as they were recorded."""
    recorded = with_settings_inside(run.manifest["config"]) | {"method": run.config.as_dict()["method"]}
    return [(name, _value(value)) for name, value in recorded.items()]


def comparison(runs: Sequence[RecordedRun]) -> tuple[list[str], list[list[str]]]:
    """Return headings and one row of cells per run: what differs between the runs, and their scores."""
    known = [_compared(run) for run in runs]
    names = dict.fromkeys(name for values in known for name in values)
    differing = [name for name in names if len({values.get(name, "") for values in known}) > 1]
    headings = [*differing, "start", "best", "at step", "last", "mean noise share", "time"]
    return headings, [
        [*(values.get(name, "") for name in differing), *_score_cells(run)]
        for run, values in zip(runs, known, strict=True)
    ]


def _text_words(corpus: str, data: Mapping[str, Any]) -> str:
    if not data:
        return corpus
    dropped = [f"{count:,} {reason}" for reason, count in data.get("dropped", {}).items() if count]
    read = f"{data.get('read', 0):,} read, {'dropped: ' + ', '.join(dropped) if dropped else 'none dropped'}"
    notes = "".join(f"; {note}" for note in data.get("notes", ()))
    unit = ("sentences", "", "pairs", "triplets")[len(data.get("columns", ()))]
    return f"{data.get('kept', 0):,} {unit} from {corpus} ({read}{notes})"


def _method(run: RecordedRun) -> str:
    config = run.config
    count = config.noise_for(config.batch_size)
    weight = f"share held at {config.noise_share:g}" if config.noise_share else f"λ {config.noise_weight:g}"
    noise = f"{count} Gaussian negatives, {config.noise_mode}, {weight}; " if count else ""
    settings = "".join(f"{name} {_value(value)}; " for name, value in _chosen_settings(config.method))
    return f"{method_title(config, find_method(config.method.name))}; {settings}{noise}τ {config.temperature:g}"


def _times(times: Mapping[str, float] | None) -> str | None:
    if not times:
        return None
    total, evaluation = times["total_seconds"], times["evaluation_seconds"]
    return f"{duration(total)}, of which {evaluation / total:.0%} for evaluations"


def _chosen_settings(method: MethodSettings) -> list[tuple[str, object]]:
    """Return the settings of a method that differ from their defaults."""
    values = ((field, getattr(method, field.name)) for field in fields(method))
    return [(field.name, value) for field, value in values if value != field.default]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(entry)}" for name, entry in value.items()) or "unset"
    return "unset" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _compared(run: RecordedRun) -> dict[str, str]:
    """Return what two runs may differ in, by name."""
    fields = {name: value for name, value in configuration(run) if name not in _NOT_COMPARED}
    fields["fingerprint of the text"] = str(run.manifest.get("data", {}).get("fingerprint", ""))[:12]
    fields["hardware"] = str(run.manifest.get("hardware", ""))
    fields["status"] = "finished" if run.finished else "unfinished"
    return fields


def _score_cells(run: RecordedRun) -> list[str]:
    shares = [share for _, share in run.curve("noise_share")]
    share = f"{sum(shares) / len(shares):.1%}" if any(shares) else "none"
    time = duration(run.manifest["times"]["total_seconds"]) if run.manifest.get("times") else ""
    if not run.result:
        return ["", "", "", "", share, time]
    scores = (run.result.start_score, run.result.best_score, run.result.last_score)
    start, best, last = (f"{score:.2f}" for score in scores)
    return [start, best, f"{run.result.best_step:,}", last, share, time]
