"""Settings of a reproduction: a published recipe, its control, seeds, data and output folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import HUB, is_hub, sts_folder
from smoothcse.evaluation.published import Published, is_system, published_results
from smoothcse.evaluation.sts_tasks import SEVEN_STS, load_tasks
from smoothcse.experiments.planned_runs import Plan
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.experiments.study import Study
from smoothcse.runs.recipes import CONTROL, recipe_fields

_PUBLISHED_AS = {
    "bert-base-uncased": "BERT-base",
    "bert-large-uncased": "BERT-large",
    "roberta-base": "RoBERTa-base",
    "roberta-large": "RoBERTa-large",
}


@dataclass(frozen=True)
class Reproduction:
    """A recipe to reproduce; see :func:`plan_reproduction`.

    Attributes:
        recipe: Name of the recipe, e.g. ``gs-infonce/bert-base-uncased``.
        study: The recipe, its control if it has one, and the seeds.
        changed: Fields that differ from the recipe's, with their values.
        data: Folder in SentEval's layout, or ``"hub"``.
        output: Folder for the runs and the results.
    """

    recipe: str
    study: Study
    changed: Mapping[str, Any]
    data: str
    output: Path

    @property
    def method(self) -> str:
        """Name of the recipe's variant in the study, e.g. ``gs-infonce``."""
        return self.recipe.split("/")[0]

    def plan(self) -> Plan:
        """Return the plan: seed by seed, so that each seed is compared with its control early."""
        return self.study.plan(self.output)

    def published(self) -> list[Published]:
        """Return the published results of the recipe; several rows if the sources disagree."""
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
    """Plan and check a reproduction, without downloading or writing anything.

    The tested model is the one with the highest STS-B dev score during training, as in the paper.

    Args:
        recipe: Recipe with published results. One of ``gs-infonce`` has a control, which differs only in having no
            noise.
        seeds: Number of runs of the recipe and of its control. The seeds count up from the recipe's seed.
        output: Folder for the runs and the results; None for ``reproduce/RECIPE``.
        data: Folder in SentEval's layout with the dev set and the seven tasks, or ``"hub"``.
        changes: Configuration fields that replace the recipe's.

    Raises:
        SmoothCSEError: If a recipe or field is unknown, the recipe has no published results, a value is out of range,
            or data is incomplete.
    """
    fields = recipe_fields(recipe)
    method, model = recipe.split("/")
    if method == CONTROL:
        raise SmoothCSEError(f"{recipe} has no published results; reproduce gs-infonce/{model}, which includes it.")
    if not is_system(method):
        raise SmoothCSEError(
            f"{recipe} has no published results to compare with; train it with `smoothcse train --recipe {recipe}`."
        )
    variants = {method: fields} | ({CONTROL: recipe_fields(f"{CONTROL}/{model}")} if fields["noise_count"] else {})
    changes = dict(changes or {})
    study = Study(
        about=f"Is {recipe} reproduced?",
        base={},
        variants={name: {**own, **changes, "dev": data} for name, own in variants.items()},
        grid={},
        seeds=list(range(fields["seed"], fields["seed"] + seeds)),
        control=CONTROL if CONTROL in variants else None,
        evaluate=SevenTasks(data=data, which="best"),
    )
    study.runs()  # checks the fields
    if not is_hub(data):
        check_data(data)
    changed = {name: value for name, value in changes.items() if value != fields.get(name)}
    return Reproduction(recipe, study, changed, data, Path(output or Path("reproduce") / recipe))


def check_data(source: str) -> None:
    """Read the dev set and the seven tasks once, after downloading them if necessary.

    Raises:
        SmoothCSEError: If files are missing or damaged.
    """
    load_tasks(sts_folder(source), (*SEVEN_STS, "STSBenchmark-dev"))
