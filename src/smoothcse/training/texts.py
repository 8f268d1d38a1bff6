"""Texts that some methods generate from the sentences before a run, such as negations."""

from __future__ import annotations

import dataclasses

from rich.console import Console

from smoothcse.errors import SmoothCSEError
from smoothcse.runs.manifest import Manifest, write_manifest
from smoothcse.training.inputs import RunInputs
from smoothcse.training.launch import main_process_first
from smoothcse.training.plan import RunPlan
from smoothcse.views.further import with_further, write_further


def with_texts(plan: RunPlan, inputs: RunInputs, manifest: Manifest | None, console: Console) -> RunInputs:
    """Return the inputs with the texts that the method generates, once for the run and all of its ranks."""
    add_texts, folder, corpus = plan.method.add_texts, plan.folder, inputs.corpus
    if add_texts is None:
        return inputs
    if corpus.dataset.column_names != ["sentence"]:
        raise SmoothCSEError(
            f"The method {plan.settings.name} generates texts from single sentences, but the corpus has the "
            f"columns {', '.join(corpus.dataset.column_names)}; choose one with --column."
        )
    with main_process_first():
        if manifest and not folder.texts_file.is_file():
            write_manifest(folder.path, manifest)  # so that an interruption from here on can be resumed
            texts = add_texts(corpus.dataset, inputs.model, plan.settings, plan.config.seed, console)
            write_further(folder.texts_file, corpus, texts, console)
    return dataclasses.replace(inputs, corpus=with_further(corpus, folder.texts_file))
