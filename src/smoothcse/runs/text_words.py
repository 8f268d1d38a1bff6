"""How a tokenizer covers the text of a run, in words."""

from __future__ import annotations

from collections.abc import Mapping


def describe_tokens(text: Mapping[str, float] | None) -> str:
    """Return tokens per word, unknown tokens and truncation in words.

    Args:
        text: Field ``text`` of the manifest of a run.

    Returns:
        The words; empty for runs of earlier versions and for encoders without a Hugging Face tokenizer.
    """
    if not text or not text.get("fertility"):
        return ""
    cut = "no text truncated"
    if text["truncated_texts"]:
        cut = f"{text['truncated_texts']:.1%} of the texts truncated, {text['truncated']:.1%} of the tokens"
    return f"{text['fertility']:.2f} a word, {text['unknown']:.1%} unknown; {cut}"
