"""Build all-MiniLM-L6-v2 at [CLS] with other embedding widths, by an orthonormal map after its 384 dimensions.

The map is a Dense layer of sentence-transformers and is trained with the encoder. A map to more dimensions preserves
every cosine; a map to fewer dimensions preserves them approximately.

    python docs/results/calibrated-width/encoders.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from smoothcse.encoders.assemble import assemble
from smoothcse.encoders.build import build_encoder

FOLDER = Path("build") / "encoders"
WIDTHS = (96, 1536)


def main() -> None:
    """Write one folder per width."""
    for width in WIDTHS:
        start = build_encoder("packaged-minilm", "cls", max_length=None, device="cpu")
        torch.manual_seed(0)
        weight = nn.init.orthogonal_(torch.empty(width, 384))
        head = Dense(384, width, bias=False, activation_function=nn.Identity(), init_weight=weight)
        assemble([*list(start)[:2], head], start).save_pretrained(str(FOLDER / f"width-{width}"))


if __name__ == "__main__":
    main()
