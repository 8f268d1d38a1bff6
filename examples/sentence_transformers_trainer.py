"""Train with GS-InfoNCE in an ordinary sentence-transformers script.

python examples/sentence_transformers_trainer.py MODEL sentences.txt OUTPUT [STEPS]
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from smoothcse import GSInfoNCELoss, NoiseStep, build_encoder, strip_projection
from smoothcse.fastpath import accelerate

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="model folder or hub name to start from")
parser.add_argument("sentences", help="text file, one sentence per line")
parser.add_argument("output", help="folder for the checkpoints and the model")
parser.add_argument("steps", type=int, nargs="?", default=-1, help="number of steps (default: one epoch)")
args = parser.parse_args()

model = build_encoder(args.model, pooling="cls", max_length=32)
dataset = load_dataset("text", data_files=args.sentences, split="train")

loss = GSInfoNCELoss(model)  # unsupervised SimCSE with Gaussian negatives

trainer = SentenceTransformerTrainer(
    model=model,
    args=SentenceTransformerTrainingArguments(
        output_dir=f"{args.output}/checkpoints",
        per_device_train_batch_size=8,
        learning_rate=3e-5,
        max_steps=args.steps,
        num_train_epochs=1,
        dataloader_drop_last=True,
        report_to="none",
    ),
    train_dataset=dataset,
    loss=loss,
    callbacks=[NoiseStep(loss)],  # optional: a resumed run draws the same noise as an uninterrupted one
)
with accelerate(model):  # optional: faster steps, above all on CPUs
    trainer.train()
strip_projection(model).save_pretrained(f"{args.output}/model")
print(f"trained {trainer.state.global_step} steps; the model is in {args.output}/model")
