"""Training steps for a GPU: the default, and candidates for a faster one.

A step is two views of a batch, InfoNCE without noise, backward pass, clipping and AdamW: a bare loop without a
trainer, on one batch that stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from gpu_packed import Attend, PackedViews, nested, varlen
from harness import tensor_device
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from shapes import MAX_LENGTH
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate
from smoothcse.methods import ContrastiveLoss
from smoothcse.views.embed import embed_views

DEFAULT = "default"
WARM_UP = 3  # steps; the first ones compile and choose kernels
Step = Callable[[], None]


@dataclass(frozen=True)
class Bench:
    """What every candidate gets.

    Attributes:
        encoder: Model folder or hub name.
        sentences: Sentences of the batch.
        open: Contexts to leave after the measurement.
    """

    encoder: str
    sentences: list[str]
    open: ExitStack

    def model(self) -> SentenceTransformer:
        """Return a new model in training mode."""
        torch.manual_seed(0)
        return build_encoder(self.encoder, "cls", max_length=MAX_LENGTH, device=tensor_device()).train()

    def fast_model(self) -> SentenceTransformer:
        """Return a new model with what the fast path does on a GPU."""
        model = self.model()
        self.open.enter_context(accelerate(model, parts=["read token"]))
        return model

    def features(self, model: SentenceTransformer, length: int = 0) -> dict[str, Any]:
        """Return the batch on the device, padded to the longest text and at least to a length."""
        features = model.preprocess(self.sentences)
        missing = max(0, length - features["input_ids"].shape[1])
        fill = {"input_ids": model.tokenizer.pad_token_id}
        longer = {
            name: pad(value, (0, missing), value=fill.get(name, 0)) if torch.is_tensor(value) else value
            for name, value in features.items()
        }
        return dict(batch_to_device(longer, torch.device(tensor_device())))


def bare_step(model: SentenceTransformer, loss_of: Callable[[], Tensor], **options: Any) -> Step:
    """Return a step: loss in bf16, backward pass, clipping, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-5, **{"fused": True, **options})

    def step() -> None:
        with torch.autocast(tensor_device(), dtype=torch.bfloat16):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def contrast(model: SentenceTransformer, views: Callable[[], list[Tensor]]) -> Callable[[], Tensor]:
    """Return a function that computes InfoNCE of new views."""
    loss = ContrastiveLoss(model)
    return lambda: loss.compute_loss_from_embeddings(views())


def default(bench: Bench, **options: Any) -> Step:
    """Return the step of this package."""
    model = bench.fast_model()
    features = bench.features(model)
    return bare_step(model, contrast(model, lambda: embed_views(model, [dict(features)])), **options)


def padded_step(bench: Bench, compiles: bool = False, **options: Any) -> Step:
    """Return the step on texts padded to 32 tokens, with or without compiled layers.

    The layers are compiled one by one, so that all share the code of one. The last one, which computes [CLS] only, is
    not compiled.
    """
    model = bench.fast_model()
    features = bench.features(model, MAX_LENGTH)
    if compiles:
        for layer in model[0].model.encoder.layer[:-1]:
            layer.compile(**compiler())
    return bare_step(model, contrast(model, lambda: embed_views(model, [dict(features)])), **options)


def compiler() -> dict[str, Any]:
    """Return the options of torch.compile; without a GPU, the graph is captured but no code generated."""
    return {"dynamic": False} if tensor_device() == "cuda" else {"dynamic": False, "backend": "eager"}


def captured(step: Step) -> Step:
    """Return the replay of a step as a CUDA graph: forward pass, backward pass and optimiser."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(keeps: Step = step) -> None:  # the graph reads the memory of the model and the optimiser
        graph.replay()

    return replay


def packed(bench: Bench, attend: Attend) -> Step:
    """Return the step on packed rows, after a comparison of its embeddings with those of the model."""
    model = bench.model()
    features = bench.features(model)
    views = PackedViews(model, features, attend)
    require_equal_embeddings(model, features, views)
    return bare_step(model, contrast(model, views))


def require_equal_embeddings(model: SentenceTransformer, features: dict[str, Any], views: PackedViews) -> None:
    """Raise a ValueError if packed rows give other embeddings without dropout."""
    model.eval()
    with torch.no_grad(), torch.autocast(tensor_device(), dtype=torch.bfloat16):
        expected, given = embed_views(model, [dict(features)])[0], views()[0]
    model.train()
    lowest = float(cosine_similarity(expected.float(), given.float()).min())
    if not lowest > 0.99:
        raise ValueError(f"the embeddings of packed rows differ: lowest cosine {lowest:.4f}")


CANDIDATES: dict[str, Callable[[Bench], Step]] = {
    DEFAULT: default,
    "AdamW with foreach, not fused": lambda bench: default(bench, fused=False, foreach=True),
    "packed rows, varlen attention": lambda bench: packed(bench, varlen),
    "packed rows, nested attention": lambda bench: packed(bench, nested),
    "step in a CUDA graph": lambda bench: captured(padded_step(bench, capturable=True)),
    "compiled layers": lambda bench: padded_step(bench, compiles=True),
    "compiled layers in a CUDA graph": lambda bench: captured(padded_step(bench, compiles=True, capturable=True)),
}
