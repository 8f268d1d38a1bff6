"""Tokenisation of the whole text before the first step, so that a GPU does not wait for it in each step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor

from smoothcse.encoders.fingerprint import tokenizer_state
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

Rows = list[dict[str, Any]]

_PARALLEL = "TOKENIZERS_PARALLELISM"
_SAMPLE = 16  # rows for which both collators must give the same batch


class PadTokenIds:
    """Collator of token ids that gives the same batch as the trainer's collator gives for the text.

    Args:
        padding: Id of the padding token.
        segments: Whether the encoder takes ``token_type_ids``, which are zero for a single text.
        prompt_length: Tokens of the model's prompt, for poolings that leave it out; None without a prompt.
    """

    valid_label_columns: tuple[str, ...] = ()  # the trainer reads it

    def __init__(self, padding: int, *, segments: bool, prompt_length: int | None = None) -> None:
        self.padding = padding
        self.segments = segments
        self.prompt = {} if prompt_length is None else {"prompt_length": prompt_length}

    def __call__(self, rows: Rows) -> dict[str, Any]:
        """Return ids and masks ``(N, L)`` of each column, padded on the right to its longest row."""
        batch: dict[str, Any] = {}
        for column in rows[0]:
            features = self._padded([row[column] for row in rows])
            batch |= {f"{column}_{name}": value for name, value in features.items()}
        return batch

    def _padded(self, texts: list[list[int]]) -> dict[str, Any]:
        lengths = torch.tensor([len(ids) for ids in texts])
        present = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
        ids = torch.full(present.shape, self.padding)
        ids[present] = torch.tensor([*chain.from_iterable(texts)], dtype=torch.long)
        segments = {"token_type_ids": torch.zeros_like(ids)} if self.segments else {}
        return {"input_ids": ids, **segments, "attention_mask": present.long(), "modality": "text", **self.prompt}


def tokenised_once(
    dataset: Dataset, model: SentenceTransformer, max_length: int
) -> tuple[Dataset, Callable[[Rows], dict[str, Any]]]:
    """Return a dataset for the trainer, and the collator that makes batches of its rows.

    The dataset holds token ids in place of text. They are computed on all cores and cached beside the text's file on
    disk, for the next run with this text, tokenizer and length. If the batches would differ from the trainer's
    (images, packed input, padding on the left), the dataset is returned unchanged with the trainer's collator.

    Args:
        dataset: Dataset of text columns.
        model: Encoder with the tokenizer.
        max_length: Maximum tokens per text.

    Raises:
        SmoothCSEError: If the ids cannot be written.
    """
    prompt = prompt_of(model)
    host = SentenceTransformerDataCollator(model.preprocess, max_length=max_length, prompts=prompt)
    sample = dataset[:_SAMPLE]
    features = model.preprocess(next(iter(sample.values())), prompt=prompt, max_length=max_length)
    padding = getattr(model.tokenizer, "pad_token_id", None)
    if padding is None or not all(isinstance(features.get(name), Tensor) for name in ("input_ids", "attention_mask")):
        return dataset, host
    if (
        getattr(model.tokenizer, "padding_side", None) != "right"
    ):  # a sample of equal lengths would not show the difference
        return dataset, host
    length = features.get("prompt_length")
    ours = PadTokenIds(padding, segments="token_type_ids" in features, prompt_length=length)

    def ids_of(texts: dict[str, list[str]]) -> dict[str, list[NDArray[np.int32]]]:
        return {
            column: _ids(model.preprocess(values, prompt=prompt, max_length=max_length))
            for column, values in texts.items()
        }

    sample_ids = ids_of(sample)
    if not _same(ours(_rows(sample_ids)), host(_rows(sample))):
        return dataset, host
    key = _key(dataset, model.tokenizer, max_length, sample_ids)
    try:
        with _on_all_cores():
            return dataset.map(ids_of, batched=True, new_fingerprint=key), ours
    except (OSError, ValueError) as error:
        # Arrow may fail again when it closes its file, and hide the cause
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise SmoothCSEError(
            f"The token ids of the text cannot be written ({cause.strerror or cause}): set the environment "
            "variable SMOOTHCSE_CACHE to a folder with free space."
        ) from error


def _ids(features: dict[str, Any]) -> list[NDArray[np.int32]]:
    lengths = features["attention_mask"].sum(dim=1).tolist()
    rows = features["input_ids"].numpy().astype(np.int32)  # half the size of int64 on disk
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def _rows(columns: dict[str, list[Any]]) -> Rows:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else type(a) is type(b) and a == b

    return ours.keys() == theirs.keys() and all(equal(value, theirs[name]) for name, value in ours.items())


def _key(dataset: Dataset, tokenizer: Any, max_length: int, sample: dict[str, list[NDArray[np.int32]]]) -> str:
    """Return a hash of everything that the ids depend on.

    The dataset's fingerprint covers its text, and the ids of a sample cover any further processing.
    """
    ids = {column: [row.tolist() for row in rows] for column, rows in sample.items()}
    parts = [dataset._fingerprint, tokenizer_state(tokenizer), max_length, ids]
    return xxhash.xxh3_64_hexdigest(json.dumps(parts, sort_keys=True).encode())


@contextmanager
def _on_all_cores() -> Iterator[None]:
    """Let the tokenizer use threads, which the command line turns off because of processes forked later."""
    before = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = before
