"""Studies and records of runs that were never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from smoothcse.evaluation.sts_tasks import SEVEN_STS
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.run_records import Record
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.experiments.study import Study, read_study

VARIANTS = {"plain": {"noise_count": 0}, "gs": {}, "share": {"noise_share": 0.4}}


def made_study(folder: Path, **changes: Any) -> Study:
    """Return a study of three variants and four seeds, from a file with the given changes."""
    values = {"about": "Does it?", "base": {"corpus": "text.txt"}, "seeds": [0, 1, 2, 3], "control": "plain"}
    values |= {"variants": VARIANTS, **changes}
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return read_study(file)


def made_record(
    run: PlannedRun,
    last: float = 80.0,
    best: float = 80.0,
    average: float = 80.0,
    *,
    evaluated: SevenTasks | None = None,
    **others: Any,
) -> Record:
    """Return the record of a run with the given scores; the average of the seven tasks counts if it is evaluated."""
    return Record(
        variant=run.variant,
        point=run.point,
        seed=run.seed,
        start=70.0,
        best=float(best),
        last=float(last),
        curve=[(0, 70.0), (4, float(last))],
        noise_share=None,
        seconds=1.0,
        config=run.config.as_dict(),
        environment={},
        evaluated=evaluated,
        sts={**dict.fromkeys(SEVEN_STS, 1.0), "avg": float(average)} if evaluated else None,
        **others,
    )
