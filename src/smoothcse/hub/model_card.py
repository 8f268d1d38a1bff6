"""The model card: the README.md of a shipped folder, written from what the run has recorded of itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smoothcse._utils.defaults import NOISE_COUNT
from smoothcse.errors import SmoothCSEError
from smoothcse.hub.licence import PACKAGED_MINILM, card_of, licence_of
from smoothcse.runs.config import DEFAULT_METHOD, method_values, with_settings_inside

CARD = "README.md"

_HUB_NAMES = {
    PACKAGED_MINILM: "sentence-transformers/all-MiniLM-L6-v2",
    "wiki1m": "princeton-nlp/datasets-for-simcse",
}
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
        folder: of the model.
        source: what the model was made from, where it is not the folder itself: a run folder, its ``best`` or
            ``last``, or any model. A model that is of no run of ours hands on its own card.

    Returns:
        The card's path; None where neither a run nor a card of the source is there to write it from.

    Raises:
        SmoothCSEError: if the record of the run is damaged or the card cannot be written.
    """
    origin = str(folder if source is None else source)
    run, target = find_run(Path(origin)), folder / CARD
    try:
        if run is not None:
            target.write_text(model_card(run, folder), encoding="utf-8")
        elif (card := card_of(origin)) and card.absolute() != target.absolute():
            shutil.copyfile(card, target)
    except OSError as error:
        raise SmoothCSEError(f"{target} cannot be written ({error.strerror or error}).") from error
    return target if target.is_file() else None


def require_card(source: str | Path) -> None:
    """Find out whether the card of a model can be written, before the work that comes first.

    Raises:
        SmoothCSEError: if the record of the run that the model comes from is damaged.
    """
    if run := find_run(Path(source)):
        _read(run / "run.json")


def find_run(path: Path) -> Path | None:
    """Return the run folder that a path is, or is the ``best`` or ``last`` of; None for another model."""
    return next((folder for folder in (path, path.absolute().parent) if (folder / "run.json").is_file()), None)


def model_card(run: Path, folder: Path, *, repository: str | None = None) -> str:
    """Return the card of a model as Markdown with the hub's front matter.

    Paths of the machine that trained it are cut to their last part.

    Args:
        run: holds ``run.json``; a ``seeds.json`` in the folder above gives the spread over seeds.
        folder: of the model; its ``smoothcse.json`` says which step it is, its ``export.json`` which format.
        repository: hub name for the example.

    Raises:
        SmoothCSEError: if the record is damaged.
    """
    record = _read(run / "run.json")
    try:
        return _render(record, run, folder, repository)
    except (KeyError, TypeError, AttributeError) as error:
        raise SmoothCSEError(f"{run / 'run.json'} lacks {error} and is no record of a run; train again.") from error


def _render(record: dict[str, Any], run: Path, folder: Path, repository: str | None) -> str:
    config = record["config"]
    result = record.get("result")
    licence = licence_of(config["model"])
    fields = {
        "name": (repository or _run_name(run)).split("/")[-1],
        "address": repository or _local_address(run, folder),
        "pooling": record.get("pooling"),
        "method": _method(config),
        "labels": "on labelled pairs" if config.get("columns") else "without labels",
        "unit": ("sentences", "", "pairs", "triplets")[len(config.get("columns") or ())],
        "start": _shown(config["model"]),
        "corpus": _shown(config["corpus"]),
        "result": result,
        "selects": bool(result and not result["criterion"].startswith("label-free")),
        "steps": _last_step(run),
        "note": _read_optional(folder / "smoothcse.json"),
        "export": _read_optional(folder / "export.json"),
        "seeds": _seeds(run, config["seed"]),
        "config": config,
        "settings": [(label, config[key]) for key, label in _SETTINGS.items() if config.get(key) is not None],
        "data": record["data"],
        "hardware": record["hardware"],
        "versions": record["versions"],
        "times": record.get("times"),
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


def _front_matter(config: dict[str, Any], result: dict[str, Any] | None, licence: dict[str, Any], name: str) -> str:
    start, corpus = _hub_name(config["model"]), _hub_name(config["corpus"])
    scores = []
    if result and result["criterion"].startswith("STS-B dev"):
        scores = [
            EvalResult(
                task_type="semantic-similarity",
                dataset_type="stsb",
                dataset_name="STS-B dev",
                metric_type="spearman_cosine",
                metric_name="Spearman of the cosine, x 100",
                metric_value=round(result["best_score"], 2),
            )
        ]
    learning = "supervised" if config.get("columns") else "unsupervised"
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


def _method(config: dict[str, Any]) -> str:
    """Name the method; plain SimCSE as GS-InfoNCE, or its control where there is no noise."""
    count = config.get("noise_count")
    if count is None:
        ratio = config.get("noise_ratio")
        count = NOISE_COUNT if ratio is None else round(ratio * config["batch_size"])
    method = method_values(with_settings_inside(config).get("method", DEFAULT_METHOD))["name"]
    if method != "simcse" or config.get("columns"):
        from smoothcse.methods.table import find_method  # which loads torch

        title = "supervised SimCSE" if config.get("columns") else find_method(method).title
        return title + (f", with {count} Gaussian vectors as further negatives" if count else "")
    if not count:
        return "InfoNCE over two dropout views (unsupervised SimCSE)"
    return f"GS-InfoNCE (unsupervised SimCSE with {count} Gaussian vectors as further negatives)"


def _hub_name(name: str) -> str | None:
    if name in _HUB_NAMES:
        return _HUB_NAMES[name]
    address = name.split("@")[0].split(":")[0]
    return address if _HUB_NAME.fullmatch(address) and not Path(name).exists() and "." not in address[:1] else None


def _shown(name: str) -> str:
    """Return a hub name as it is, and a path without the folders of whoever trained the model."""
    return _hub_name(name) or Path(name).name or "a local folder"


def _run_name(run: Path) -> str:
    run = run.absolute()
    return f"{run.parent.name}-{run.name}" if run.name.startswith("seed-") else run.name


def _local_address(run: Path, folder: Path) -> str:
    """Return the path of a model from the folder that holds the run (or its seeds), or else the name of its folder."""
    run, folder = run.absolute(), folder.absolute()
    if run not in folder.parents:
        return folder.name
    top = run.parent if run.name.startswith("seed-") else run
    return folder.relative_to(top.parent).as_posix()


def _last_step(run: Path) -> int | str:
    note = _read_optional(run / "last" / "smoothcse.json") or {}
    step: int | str = note.get("step", "?")
    return step


def _seeds(run: Path, seed: int) -> dict[str, Any] | None:
    """Return the spread over the seeds that this run is one of."""
    found = _read_optional(run.absolute().parent / "seeds.json")
    return found if found and seed in found.get("seeds", []) and run.absolute().name == f"seed-{seed}" else None


def _read_optional(path: Path) -> dict[str, Any] | None:
    return _read(path) if path.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SmoothCSEError(f"{path} cannot be read as a record of a run: {error}.") from error
    if not isinstance(value, dict):
        raise SmoothCSEError(f"{path} holds no record of a run; train again.")
    return value
