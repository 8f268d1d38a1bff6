"""Facts of a run in words and tables: its card, its configuration, and a comparison with other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import find_method
from smoothcse.report.read import RecordedRun
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.config_forms import with_settings_inside
from smoothcse.runs.loss_words import describe_loss
from smoothcse.runs.manifest import TextSummary, Times
from smoothcse.runs.text_words import describe_tokens
from smoothcse.training.card import duration, method_title
from smoothcse.training.reading import closeness, reading
from smoothcse.views.choice import describe_views, draws_text

# Differs between any two runs.
_NOT_COMPARED = ("output",)


def card(run: RecordedRun) -> list[tuple[str, str]]:
    """Return a run's model, data, method, training and environment, as terms and descriptions."""
    config, manifest = run.config, run.manifest
    read = reading(config, find_method(config.method.name), manifest.pooling)
    facts = [
        ("Encoder", f"{config.model}, read {read}"),
        ("Text", _text_words(config.corpus, manifest.data)),
        ("Tokens", describe_tokens(manifest.text)),
        ("Fingerprint of the text", manifest.fingerprint),
        ("Views", _views(config)),
        ("Method", _method(run)),
        ("Training", f"{run.last_step:,} steps of batch {config.batch_size}, {config.lr_scheduler} learning rate from "
         f"{config.learning_rate:g}, seed {config.seed}"),
        ("Weights", closeness(config)),
        ("Selected by", run.result.criterion if run.result else None),
        ("Hardware", manifest.hardware),
        ("Time", _times(manifest.times)),
        ("Started", (manifest.started or "").replace("T", " ")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        ("Python", " on ".join(filter(None, (manifest.python, manifest.platform)))),
        ("Git commit", manifest.git_commit),
        ("Folder", str(run.folder.path.resolve())),
    ]  # fmt: skip
    return [(term, str(words)) for term, words in facts if words]


def verdict(run: RecordedRun) -> str:
    """Return the outcome of a finished or unfinished run in one or two sentences."""
    if run.finished and run.result:
        return run.result.verdict()
    so_far = f" So far: {run.result.verdict()}" if run.result else " Nothing has been evaluated yet."
    return f"This run is unfinished; its last logged step is {run.last_step:,}.{so_far}"


def configuration(run: RecordedRun) -> list[tuple[str, str]]:
    """Return all recorded fields of a run's configuration."""
    recorded = with_settings_inside(run.manifest.config) | {"method": run.config.as_dict()["method"]}
    return [(name, _value(value)) for name, value in recorded.items()]


def comparison(runs: Sequence[RecordedRun]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and one row of cells per run: differing settings, and scores."""
    known = [_compared(run) for run in runs]
    names = dict.fromkeys(name for values in known for name in values)
    differing = [name for name in names if len({values.get(name, "") for values in known}) > 1]
    headings = [*differing, "start", "best", "at step", "last", "mean noise share", "time"]
    return headings, [
        [*(values.get(name, "") for name in differing), *_score_cells(run)]
        for run, values in zip(runs, known, strict=True)
    ]


def _text_words(corpus: str, data: TextSummary | None) -> str:
    if not data or data.fingerprint is None:
        return corpus
    dropped = [f"{count:,} {reason}" for reason, count in data.dropped.items() if count]
    read = f"{data.read:,} read, {'dropped: ' + ', '.join(dropped) if dropped else 'none dropped'}"
    notes = "".join(f"; {note}" for note in data.notes)
    return f"{data.kept:,} {data.unit} from {corpus} ({read}{notes})"


def _method(run: RecordedRun) -> str:
    config = run.config
    count = config.noise_for(config.batch_size)
    weight = f"share held at {config.noise_share:g}" if config.noise_share else f"λ {config.noise_weight:g}"
    noise = f"{count} Gaussian negatives, {config.noise_mode}, {weight}; " if count else ""
    settings = "".join(f"{name} {_value(value)}; " for name, value in _chosen_settings(config.method))
    form = f"{words}; " if (words := describe_loss(config)) else ""
    return f"{method_title(config, find_method(config.method.name))}; {settings}{form}{noise}τ {config.temperature:g}"


def _views(config: TrainConfig) -> str:
    if not draws_text(config.views):
        return ""  # those of the method
    return describe_views(config.views, config.crop_length, config.crop_deletion)


def _times(times: Times | None) -> str | None:
    if not times or not times.total_seconds or times.evaluation_seconds is None:
        return None
    share = times.evaluation_seconds / times.total_seconds
    return f"{duration(times.total_seconds)}, of which {share:.0%} for evaluations"


def _chosen_settings(method: MethodSettings) -> list[tuple[str, object]]:
    """Return the settings of a method that differ from their defaults."""
    values = ((field, getattr(method, field.name)) for field in fields(method))
    return [(field.name, value) for field, value in values if value != field.default]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(entry)}" for name, entry in value.items()) or "unset"
    return "unset" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _compared(run: RecordedRun) -> dict[str, str]:
    """Return the properties to compare between runs, by name."""
    fields = {name: value for name, value in configuration(run) if name not in _NOT_COMPARED}
    fields["fingerprint of the text"] = (run.manifest.fingerprint or "")[:12]
    fields["hardware"] = run.manifest.hardware or ""
    fields["status"] = "finished" if run.finished else "unfinished"
    return fields


def _score_cells(run: RecordedRun) -> list[str]:
    shares = [share for _, share in run.curve("noise_share")]
    share = f"{sum(shares) / len(shares):.1%}" if any(shares) else "none"
    times = run.manifest.times
    time = duration(times.total_seconds) if times and times.total_seconds else ""
    if not run.result:
        return ["", "", "", "", share, time]
    scores = (run.result.start_score, run.result.best_score, run.result.last_score)
    start, best, last = (f"{score:.2f}" for score in scores)
    return [start, best, f"{run.result.best_step:,}", last, share, time]
