"""The model card: the README.md of a model folder, written from the manifest of its run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smoothcse._utils.atomic import explain_unwritable, write_text_atomic
from smoothcse._utils.json_files import read_object
from smoothcse.corpus.formats import is_supported
from smoothcse.encoders.packaged import PACKAGED_MINILM
from smoothcse.errors import SmoothCSEError
from smoothcse.hub.eval_results import eval_results
from smoothcse.hub.licence import card_of, licence_of
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.manifest import Manifest, Scores, manifest_file, read_manifest
from smoothcse.runs.text_words import describe_tokens
from smoothcse.views.choice import describe_views, draws_text

CARD = "README.md"

_HUB_NAMES = {
    PACKAGED_MINILM: "sentence-transformers/all-MiniLM-L6-v2",
    "wiki1m": "princeton-nlp/datasets-for-simcse",
}
_NEEDED = ("data", "hardware", "versions")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SETTINGS = {
    "batch_size": "batch",
    "learning_rate": "learning rate",
    "max_length": "tokens per sentence",
    "temperature": "temperature τ",
    "dropout": "dropout",
    "precision": "precision",
    "seed": "seed",
}


def write_model_card(folder: Path, source: str | Path | None = None) -> Path | None:
    """Write the card of a model folder.

    Args:
        folder: Model folder.
        source: What the model was made from, if not the folder itself: a run folder, its ``best`` or ``last``, or any
            model. The card of a model that belongs to no run is copied.

    Returns:
        Path of the card; None if there is neither a run nor a card to write it from.

    Raises:
        SmoothCSEError: If the manifest of the run is damaged or the card cannot be written.
    """
    origin = str(folder if source is None else source)
    run, target = find_run(Path(origin)), folder / CARD
    with explain_unwritable(target):
        if run is not None:
            write_text_atomic(target, model_card(run, folder))
        elif (card := card_of(origin)) and card.absolute() != target.absolute():
            shutil.copyfile(card, target)
    return target if target.is_file() else None


def require_card(source: str | Path) -> None:
    """Check that the card of a model can be written, before the work that comes first.

    Raises:
        SmoothCSEError: If the manifest of the run that the model comes from is damaged.
    """
    if run := find_run(Path(source)):
        read_manifest(run)


def find_run(path: Path) -> Path | None:
    """Return the run folder that a path is, or belongs to as ``best`` or ``last``; None for any other model."""
    return next((folder for folder in (path, path.absolute().parent) if manifest_file(folder).is_file()), None)


def model_card(run: Path, folder: Path, *, repository: str | None = None) -> str:
    """Return the card of a model as Markdown with the hub's front matter.

    Local paths are shortened to their last part.

    Args:
        run: Run folder; a ``seeds.json`` in its parent gives the spread over seeds.
        folder: Model folder; its ``smoothcse.json`` records the step, its ``export.json`` the format.
        repository: Hub name for the example.

    Raises:
        SmoothCSEError: If the manifest is damaged or incomplete.
    """
    manifest = read_manifest(run)
    lacking = [name for name in _NEEDED if not getattr(manifest, name)]
    if lacking:
        raise SmoothCSEError(
            f"{manifest_file(run)} lacks {', '.join(lacking)}, which a model card needs; train again."
        )
    return _render(manifest, manifest.train_config(where=manifest_file(run)), run, folder, repository)


def _render(manifest: Manifest, config: TrainConfig, run: Path, folder: Path, repository: str | None) -> str:
    result = manifest.result
    licence = licence_of(config.model)
    fields = {
        "name": (repository or _run_name(run)).split("/")[-1],
        "address": repository or _local_address(run, folder),
        "pooling": manifest.pooling,
        "method": _method(config),
        "labels": "on labelled pairs" if config.columns else "without labels",
        "start": _shown(config.model),
        "corpus": _shown(config.corpus),
        "result": result,
        "selects": bool(result and not result.criterion.startswith("label-free")),
        "steps": _last_step(run),
        "note": _read_optional(folder / "smoothcse.json"),
        "export": _read_optional(folder / "export.json"),
        "seeds": _seeds(run, config.seed, result),
        "config": config,
        "settings": [
            (label, value) for name, label in _SETTINGS.items() if (value := getattr(config, name)) is not None
        ],
        "matryoshka": config.matryoshka and sorted(config.matryoshka, reverse=True),
        "width_scores": manifest.width_scores,
        "adapters": config.lora and config.lora.describe(),
        "tokens": describe_tokens(manifest.text),
        "parameters": manifest.parameters,
        "trained_parameters": manifest.trained_parameters,
        "peak_memory_mb": manifest.peak_memory_mb,
        "data": manifest.data,
        "hardware": manifest.hardware,
        "versions": manifest.versions,
        "times": manifest.times,
        "licence": licence.get("license_name") or licence.get("license"),
        "front_matter": _front_matter(config, result, licence, (repository or _run_name(run)).split("/")[-1]),
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    return environment.get_template("model_card.md.j2").render(fields)


def _front_matter(config: TrainConfig, result: Scores | None, licence: dict[str, Any], name: str) -> str:
    start, corpus = _hub_name(config.model), _hub_name(config.corpus)
    scores = eval_results(result)
    learning = "supervised" if config.columns else "unsupervised"
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", learning, "smoothcse"],
        base_model=start,
        datasets=[corpus] if corpus else None,
        model_name=name if scores else None,
        eval_results=scores or None,
        **licence,
    )
    return data.to_yaml().strip()


def _method(config: TrainConfig) -> str:
    """Return the name of the method and the views that it is given."""
    if not draws_text(config.views):
        return _method_name(config)
    views = describe_views(config.views, config.crop_length, config.crop_deletion)
    return f"{_method_name(config)} over views drawn from the text: {views}"


def _method_name(config: TrainConfig) -> str:
    """Return the name of the method; SimCSE with noise is GS-InfoNCE, without noise its control."""
    count = config.noise_for(config.batch_size)
    if config.method.name != "simcse" or config.columns:
        from smoothcse.methods.table import find_method  # which loads torch

        title = "supervised SimCSE" if config.columns else find_method(config.method.name).title
        return title + (f", with {count} Gaussian vectors as further negatives" if count else "")
    if not count:
        return "InfoNCE" if draws_text(config.views) else "InfoNCE over two dropout views (unsupervised SimCSE)"
    return f"GS-InfoNCE (unsupervised SimCSE with {count} Gaussian vectors as further negatives)"


def _hub_name(name: str) -> str | None:
    if name in _HUB_NAMES:
        return _HUB_NAMES[name]
    address = name.split("@")[0].split(":")[0]
    is_name = _HUB_NAME.fullmatch(address) and "." not in address[:1] and not is_supported(address)
    return address if is_name and not Path(name).exists() else None


def _shown(name: str) -> str:
    """Return a hub name unchanged, and a path without its parent folders."""
    return _hub_name(name) or Path(name).name or "a local folder"


def _run_name(run: Path) -> str:
    run = run.absolute()
    return f"{run.parent.name}-{run.name}" if run.name.startswith("seed-") else run.name


def _local_address(run: Path, folder: Path) -> str:
    """Return the path of a model relative to the folder that holds its run (or seeds), else the name of its folder."""
    run, folder = run.absolute(), folder.absolute()
    if run not in folder.parents:
        return folder.name
    top = run.parent if run.name.startswith("seed-") else run
    return folder.relative_to(top.parent).as_posix()


def _last_step(run: Path) -> int | str:
    note = _read_optional(run / "last" / "smoothcse.json") or {}
    step: int | str = note.get("step", "?")
    return step


def _seeds(run: Path, seed: int, result: Scores | None) -> dict[str, Any] | None:
    """Return the spread over seeds, if this run is one of several and the spread includes its scores."""
    found = _read_optional(run.absolute().parent / "seeds.json")
    if not found or result is None or seed not in found.get("seeds", []) or run.absolute().name != f"seed-{seed}":
        return None
    place = found["seeds"].index(seed)
    recorded = [found[which]["scores"][place] for which in ("best", "last")]
    return found if recorded == [result.best_score, result.last_score] else None  # else of an earlier configuration


def _read_optional(path: Path) -> dict[str, Any] | None:
    return read_object(path, "a record of a run") if path.is_file() else None
