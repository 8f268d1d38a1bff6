"""Real but tiny encoders: every architecture that is named, with random weights and a tokenizer of a few words."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

WORDS = (
    "the cat sat on a mat while it rained and dogs ran past old houses by the sea where people read small books about "
    "stars rivers trains and winter light in quiet towns before dinner with friends who sing"
)

_SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_CONFIGS = {
    "bert": lambda vocab: transformers.BertConfig(vocab_size=vocab, **_SIZE),
    "roberta": lambda vocab: transformers.RobertaConfig(vocab_size=vocab, pad_token_id=0, **_SIZE),
    "distilbert": lambda vocab: transformers.DistilBertConfig(
        vocab_size=vocab, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
    ),
    "mpnet": lambda vocab: transformers.MPNetConfig(vocab_size=vocab, pad_token_id=0, **_SIZE),
    "modernbert": lambda vocab: transformers.ModernBertConfig(
        vocab_size=vocab, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, **_SIZE
    ),
    "electra": lambda vocab: transformers.ElectraConfig(vocab_size=vocab, embedding_size=32, **_SIZE),
}
ARCHITECTURES = sorted(_CONFIGS)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Return distinct sentences of 3 to 12 of the tokenizer's words."""
    generator = torch.Generator().manual_seed(seed)
    words = sorted(set(WORDS.split()))
    found: dict[str, None] = {}
    while len(found) < count:
        length = int(torch.randint(3, 13, (1,), generator=generator))
        chosen = torch.randint(0, len(words), (length,), generator=generator).tolist()
        found[" ".join(words[index] for index in chosen)] = None
    return list(found)


def save_tiny_model(folder: Path, architecture: str = "bert", words: int | None = None, **changes: object) -> str:
    """Write a plain Hugging Face model folder, of so many words or as many as its tokenizer, and return its path."""
    tokenizer = _tokenizer()
    config = _CONFIGS[architecture](words or len(tokenizer))
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([WORDS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
