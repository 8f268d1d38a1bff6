"""Reference implementation of template denoising, for one sentence at a time."""

from __future__ import annotations

import torch


def denoised(encoder, prompt, text):
    """Return the head's output for the state at [MASK], minus that of the template with the sentence masked out."""
    words = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*prompt.before, *words, *prompt.after]])
    alone = torch.tensor([[1] * len(prompt.before) + [0] * len(words) + [1] * len(prompt.after)])
    place = int((ids[0] == encoder.tokenizer.mask_token_id).nonzero())
    full, empty = (
        encoder[0].model(input_ids=ids, attention_mask=mask).last_hidden_state[0, place]
        for mask in (torch.ones_like(ids), alone)
    )
    return torch.tanh(encoder[3].linear(full - empty))
