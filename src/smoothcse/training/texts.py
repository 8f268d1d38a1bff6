"""The texts that some methods make of the sentences before a run, such as negations."""

from __future__ import annotations

from rich.console import Console
from sentence_transformers import SentenceTransformer

from smoothcse.corpus import Corpus
from smoothcse.encoders.hardware import Hardware
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.table import find_method, make_settings
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest, write_manifest
from smoothcse.training.launch import main_process_first
from smoothcse.training.parts import host_arguments
from smoothcse.views.further import with_further, write_further


def with_texts(
    config: TrainConfig,
    corpus: Corpus,
    model: SentenceTransformer,
    folder: RunFolder,
    hardware: Hardware,
    manifest: Manifest | None,
    console: Console,
) -> Corpus:
    """Return the corpus with the texts that the method makes, once for the run and all of its ranks."""
    add_texts = find_method(config.method).add_texts
    if add_texts is None:
        return corpus
    if corpus.dataset.column_names != ["sentence"]:
        raise SmoothCSEError(
            f"The method {config.method} makes its own texts from single sentences, but the corpus has the columns "
            f"{', '.join(corpus.dataset.column_names)}; give one of them as --column."
        )
    host_arguments(config, folder, hardware)  # connects the ranks
    with main_process_first():
        if manifest and not folder.texts_file.is_file():
            # so that an interruption from here on can be resumed
            write_manifest(folder.path, manifest)
            own = make_settings(config.method, config.settings or {})
            texts = add_texts(corpus.dataset, model, own, config.seed, console)
            write_further(folder.texts_file, corpus, texts, console)
    return with_further(corpus, folder.texts_file)
