"""Train with GS-InfoNCE in a plain PyTorch loop: the objective is a function of tensors.

python examples/bare_loop.py MODEL sentences.txt [STEPS]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from smoothcse import GaussianNoise, build_encoder, gs_info_nce

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="model folder or hub name to start from")
parser.add_argument("sentences", type=Path, help="text file, one sentence per line")
parser.add_argument("steps", type=int, nargs="?", help="number of steps (default: one epoch)")
args = parser.parse_args()
sentences = args.sentences.read_text(encoding="utf-8").splitlines()

model = build_encoder(args.model, pooling="cls", max_length=32).train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-5, weight_decay=0.0)
noise = GaussianNoise(seed=42)
order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(42)).split(8)

for step, rows in enumerate(order[: args.steps]):
    features = model.preprocess([sentences[row] for row in rows] * 2)  # each sentence twice: two dropout views
    features = {key: value.to(model.device) for key, value in features.items() if isinstance(value, torch.Tensor)}
    anchors, positives = model(features)["projection"].chunk(2)

    negatives = noise.draw(step, count=192, dim=anchors.shape[1], device=anchors.device)
    loss = gs_info_nce(anchors, positives, noise=negatives, temperature=0.05)

    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step + 1:>4}  loss {loss.item():.4f}")
