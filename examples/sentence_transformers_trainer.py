"""An ordinary sentence-transformers training script in which GS-InfoNCE is one line.

python examples/sentence_transformers_trainer.py MODEL sentences.txt OUTPUT [STEPS]
"""

from __future__ import annotations

import sys

from datasets import load_dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from smoothcse import GSInfoNCELoss, NoiseStep, build_encoder, strip_projection

start, text_file, output, *steps = sys.argv[1:]

model = build_encoder(start, pooling="cls", max_length=32)
dataset = load_dataset("text", data_files=text_file, split="train")

loss = GSInfoNCELoss(model)  # the one line: unsupervised SimCSE, smoothed by Gaussian negatives

trainer = SentenceTransformerTrainer(
    model=model,
    args=SentenceTransformerTrainingArguments(
        output_dir=f"{output}/checkpoints",
        per_device_train_batch_size=8,
        learning_rate=3e-5,
        max_steps=int(steps[0]) if steps else -1,
        num_train_epochs=1,
        dataloader_drop_last=True,
        report_to="none",
    ),
    train_dataset=dataset,
    loss=loss,
    callbacks=[NoiseStep(loss)],  # optional: a resumed run then draws the noise of an uninterrupted one
)
trainer.train()
strip_projection(model).save_pretrained(f"{output}/model")
print(f"trained {trainer.state.global_step} steps; the model is in {output}/model")
