"""Train two controls of the noise study: noise drawn per anchor, and isotropic noise added to the gradient.

    python benchmarks/noise_variants.py TEXT STS [--model packaged-minilm] [--seeds 3] [--steps 60]

TEXT is the file that docs/results/noise trains on, STS a folder in SentEval's layout. Each variant is trained with the
settings of that study (read at [CLS], batch 64, learning rate 1e-4, fp32) and scored on STS-B dev after the last step.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.experiments.statistics import mean_sd
from smoothcse.methods import GSInfoNCELoss
from smoothcse.objectives import GaussianNoise, Keys, noise_share, own_positive_loss, similarity_logits
from smoothcse.objectives.rows import unit_rows
from smoothcse.training import NoiseStep
from smoothcse.training.selection import DEV_SCORE, stsb_dev

BATCH, LENGTH, GRADIENT_NOISE = 64, 32, 0.1
VARIANTS = ("infonce", "gs", "infonce-gradient-noise", "gs-per-anchor")


class PerAnchorNoiseLoss(GSInfoNCELoss):
    """GS-InfoNCE with different noise for each anchor, unlike the paper; for one process and two views."""

    def contrast(
        self, anchors: Tensor, positives: Tensor, hard_negatives: Tensor | None = None, own: Tensor | None = None
    ) -> Tensor:
        """Return the loss over the sentences of the batch and each anchor's own noise."""
        drawn = draw_per_anchor(self.noise.source, self.current_step(), anchors, self.noise.count_for(len(positives)))
        queries = unit_rows(anchors) / self.temperature
        block = torch.einsum("nd,nmd->nm", queries, unit_rows(drawn.to(queries.dtype))) + math.log(self.noise.weight)
        sentences = similarity_logits(anchors, Keys(positives), temperature=self.temperature)
        logits = torch.cat([sentences, block], dim=1)
        self.last_noise_share = noise_share(logits, len(positives), block.shape[1])
        return own_positive_loss(logits)


def draw_per_anchor(source: GaussianNoise, step: int, anchors: Tensor, count: int) -> Tensor:
    """Return noise ``(N, M, d)`` for anchors ``(N, d)``."""
    number, width = anchors.shape
    return source.draw(step, number * count, width, device=anchors.device).view(number, count, width)


class GradientNoise(TrainerCallback):
    """Adds isotropic Gaussian noise to the gradient, as a control for the noise of GS-InfoNCE.

    The noise depends on seed and step only, so all ranks add the same noise and a resumed run repeats it.

    Args:
        scale: Expected norm of the noise, relative to that of the gradient.
        seed: Seed of the run.
    """

    def __init__(self, scale: float, seed: int) -> None:
        self.scale = scale
        self.seed = seed

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the noise to the gradients after clipping."""
        assert model is not None
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
        std = self.scale * norm / sum(gradient.numel() for gradient in gradients) ** 0.5
        source = GaussianNoise(self.seed)
        for number, gradient in enumerate(gradients):
            noise = source.draw(
                state.global_step * len(gradients) + number, 1, gradient.numel(), device=gradient.device
            )
            gradient.add_(noise.view_as(gradient) * std)


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="text file")
    parser.add_argument("sts", help="folder of STS tasks in SentEval's layout")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--steps", type=int, default=60, help="training steps")
    arguments = parser.parse_args()
    quiet_libraries()

    table = Table(title=f"STS-B dev, Spearman x 100, after {arguments.steps} steps; {arguments.seeds} seeds")
    table.add_column("variant")
    table.add_column("mean ± sd", justify="right")
    for variant in VARIANTS:
        mean, sd = mean_sd([train(variant, seed, arguments) for seed in range(arguments.seeds)])
        table.add_row(variant, f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}")
    Console().print(table)


def train(variant: str, seed: int, arguments: argparse.Namespace) -> float:
    """Train one variant and return its score."""
    set_seed(seed)
    model = build_encoder(arguments.model, "cls", max_length=LENGTH, device="cpu", seed=seed)
    kind = PerAnchorNoiseLoss if variant == "gs-per-anchor" else GSInfoNCELoss
    loss = kind(model, noise_count=192 if variant.startswith("gs") else 0, seed=seed)
    callbacks: list[TrainerCallback] = [NoiseStep(loss)]
    if variant == "infonce-gradient-noise":
        callbacks.append(GradientNoise(GRADIENT_NOISE, seed))
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                learning_rate=1e-4,
                max_steps=arguments.steps,
                max_grad_norm=1.0,
                seed=seed,
                dataloader_drop_last=True,
                save_strategy="no",
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=load_sentences(arguments.text, seed=seed).dataset,
            loss=loss,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return stsb_dev(arguments.sts).score(model)[DEV_SCORE]


if __name__ == "__main__":
    main()
