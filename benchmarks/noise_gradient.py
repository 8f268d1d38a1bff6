"""Measure the share of the noise in the gradient of GS-InfoNCE.

On real batches with fixed dropout masks, two gradients are compared with that of the expected loss. The difference to
the gradient of the sampled loss is the random part; noise_variants.py adds noise of such a norm to the gradient, in a
random direction. The difference to the gradient of InfoNCE is the effect of the constant in the denominator.

    python benchmarks/noise_gradient.py MODEL TEXT [--batches 8] [--draws 4] [--noise-count 192]

MODEL is read at [CLS] with a new training head, as at step 0 of a run, and again after ``--warm-steps`` steps of
training, when the embeddings are more uniform and the noise has a larger share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.experiments.statistics import mean_sd
from smoothcse.methods import GSInfoNCELoss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder or hub name")
    parser.add_argument("text", help="text file")
    parser.add_argument("--batches", type=int, default=8, help="number of batches")
    parser.add_argument("--draws", type=int, default=4, help="noise draws per batch")
    parser.add_argument("--batch-size", type=int, default=64, help="sentences per batch")
    parser.add_argument("--noise-count", type=int, default=192, help="number of Gaussian negatives")
    parser.add_argument("--warm-steps", type=int, default=20, help="training steps before the second measurement")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="learning rate of these steps")
    arguments = parser.parse_args()
    quiet_libraries()

    model = build_encoder(arguments.model, "cls", device="cpu").train()
    batches = list(read_batches(arguments.text, arguments.batch_size, arguments.warm_steps + arguments.batches))
    table = Table(title=f"Gradient of GS-InfoNCE, M = {arguments.noise_count}, {arguments.batches} batches")
    for heading in ("after steps", "noise share", "random part / whole", "effect of the constant / InfoNCE"):
        table.add_column(heading, justify="right")
    for steps in (0, arguments.warm_steps):
        if steps:
            train(model, batches[:steps], arguments.noise_count, arguments.learning_rate)
        rows = [measure(model, batch, arguments) for batch in batches[arguments.warm_steps :]]
        table.add_row(str(steps), *(show(column) for column in zip(*rows, strict=True)))
    Console().print(table)


def read_batches(text: str, size: int, count: int) -> Iterator[list[str]]:
    """Yield batches of sentences in random order."""
    sentences = load_sentences(text, limit=size * count, seed=0).dataset.shuffle(seed=0)["sentence"][:]
    for first in range(0, size * count, size):
        yield sentences[first : first + size]


def train(model: SentenceTransformer, batches: list[list[str]], noise_count: int, learning_rate: float) -> None:
    """Train the model on some batches."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    loss = GSInfoNCELoss(model, noise_count=noise_count).train()
    for batch in batches:
        optimizer.zero_grad()
        loss([model.preprocess(batch, max_length=32)]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def measure(model: SentenceTransformer, batch: list[str], arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Return noise share, random part of the gradient and effect of the constant, for one batch."""
    count = arguments.noise_count
    plain, _ = gradient(model, batch, GSInfoNCELoss(model, noise_count=0))
    expected, share = gradient(model, batch, GSInfoNCELoss(model, noise_count=count, noise_mode="expected"))
    sampled = [
        gradient(model, batch, GSInfoNCELoss(model, noise_count=count, seed=n))[0] for n in range(arguments.draws)
    ]
    random = mean_sd([float((one - expected).norm() / one.norm()) for one in sampled])[0]
    return share, random, float((expected - plain).norm() / plain.norm())


def gradient(model: SentenceTransformer, batch: list[str], loss: GSInfoNCELoss) -> tuple[Tensor, float]:
    """Return the gradient as one vector, with the same dropout masks in each call, and the noise share."""
    model.zero_grad()
    torch.manual_seed(0)
    loss.train()([model.preprocess(batch, max_length=32)]).backward()
    parts = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return torch.cat(parts).clone(), float(loss.last_noise_share)


def show(values: tuple[float, ...]) -> str:
    """Return mean ± standard deviation over batches, in percent."""
    mean, sd = mean_sd(values)
    return f"{mean:.1%}" if sd is None else f"{mean:.1%} ± {sd:.1%}"


if __name__ == "__main__":
    main()
