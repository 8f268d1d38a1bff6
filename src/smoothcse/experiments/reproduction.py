"""What is to be reproduced: a published recipe, its control, seeds, data, and where the runs go."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import HUB, is_hub, sts_folder
from smoothcse.evaluation.published import Published, published_results
from smoothcse.evaluation.sts_tasks import SEVEN_STS, load_tasks
from smoothcse.experiments.study import PlannedRun, Study
from smoothcse.runs.config import TrainConfig, changed_fields
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.runs.recipes import CONTROL, recipe_fields

_PUBLISHED_AS = {
    "bert-base-uncased": "BERT-base",
    "bert-large-uncased": "BERT-large",
    "roberta-base": "RoBERTa-base",
    "roberta-large": "RoBERTa-large",
}


@dataclass(frozen=True)
class Reproduction:
    """What is to be reproduced, and how; from :func:`plan_reproduction`.

    Attributes:
        recipe: its name, e.g. ``gs-infonce/bert-base-uncased``.
        study: the recipe, its control if it has one, and the seeds.
        changed: fields that differ from the recipe's, with their values.
        data: folder in SentEval's layout, or ``"hub"``.
        output: folder for the runs and the results.
    """

    recipe: str
    study: Study
    changed: Mapping[str, Any]
    data: str
    output: Path

    @property
    def method(self) -> str:
        """The recipe's variant in the study, e.g. ``gs-infonce``."""
        return self.recipe.split("/")[0]

    def runs(self) -> list[PlannedRun]:
        """Return the runs with their folders, seed by seed, so that each seed's comparison is complete early."""
        return [
            dataclasses.replace(run, config=run.config.replace(output=str(self.output / run.name)))
            for run in self.study.runs()
        ]

    def published(self) -> list[Published]:
        """Return what was published of the recipe; several rows where the sources disagree."""
        method, model = self.recipe.split("/")
        return published_results(method, _PUBLISHED_AS[model])


def plan_reproduction(
    recipe: str,
    *,
    seeds: int = 5,
    output: str | Path | None = None,
    data: str = HUB,
    changes: Mapping[str, Any] | None = None,
) -> Reproduction:
    """Check what is asked for; nothing is fetched or written.

    Args:
        recipe: of ``gs-infonce`` or ``simcse``. The former has a control, trained likewise without noise; SimCSE has
            no noise to leave out.
        seeds: runs of each, counting up from the recipe's seed.
        output: folder for the runs and the results; None for ``reproduce/RECIPE``.
        data: folder in SentEval's layout for the dev set and the seven tasks, or ``"hub"``.
        changes: configuration fields that replace the recipe's.

    Raises:
        SmoothCSEError: for an unknown recipe or field, a control, a value out of range, or a gap in the data.
    """
    fields = recipe_fields(recipe)
    method, model = recipe.split("/")
    if method == CONTROL:
        raise SmoothCSEError(f"Nothing is published of {recipe}; reproduce gs-infonce/{model}, which runs it too.")
    variants = {method: fields} | ({CONTROL: recipe_fields(f"{CONTROL}/{model}")} if fields["noise_count"] else {})
    changes = dict(changes or {})
    study = Study(
        about=f"Is {recipe} reproduced?",
        base={},
        variants={name: {**own, **changes, "dev": data} for name, own in variants.items()},
        grid={},
        seeds=list(range(fields["seed"], fields["seed"] + seeds)),
        control=CONTROL if CONTROL in variants else None,
    )
    study.runs()  # checks the fields
    if not is_hub(data):
        checked_data(data)
    changed = {name: value for name, value in changes.items() if value != fields.get(name)}
    return Reproduction(recipe, study, changed, data, Path(output or Path("reproduce") / recipe))


def checked_data(source: str) -> Path:
    """Return the folder of the dev set and the seven tasks, fetched if need be, having read it all once."""
    folder = sts_folder(source)
    load_tasks(folder, (*SEVEN_STS, "STSBenchmark-dev"))
    return folder


def is_finished(config: TrainConfig) -> bool:
    """Whether this very run has finished in its folder.

    Raises:
        SmoothCSEError: if the folder holds a run of another configuration.
    """
    folder = RunFolder(config.output)
    if not folder.manifest_file.is_file():
        return False
    if changed := changed_fields(read_manifest(folder.path).config, config.as_dict()):
        raise SmoothCSEError(
            f"The run in {folder.path} was started with another configuration ({', '.join(changed)} differ); "
            "ask for the same again, or give another --output."
        )
    return folder.finished
