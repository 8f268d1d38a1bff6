"""Tiny models of several architectures, with random weights and a tokenizer with a small vocabulary."""

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
_ENDS = {"bos_token_id": 2, "eos_token_id": 3}
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
_FURTHER = {
    "albert": lambda vocab: transformers.AlbertConfig(vocab_size=vocab, embedding_size=16, pad_token_id=0, **_SIZE),
    "deberta-v2": lambda vocab: transformers.DebertaV2Config(
        vocab_size=vocab, pad_token_id=0, relative_attention=True, pos_att_type=["p2c", "c2p"], **_SIZE
    ),
    "eurobert": lambda vocab: transformers.EuroBertConfig(
        vocab_size=vocab, num_key_value_heads=2, pad_token_id=0, mask_token_id=4, **_ENDS, **_SIZE
    ),
    "fnet": lambda vocab: transformers.FNetConfig(
        vocab_size=vocab,
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
    ),
    "mamba": lambda vocab: transformers.MambaConfig(vocab_size=vocab, hidden_size=32, num_hidden_layers=2, **_ENDS),
    "mpt": lambda vocab: transformers.MptConfig(vocab_size=vocab, d_model=32, n_layers=2, n_heads=2, max_seq_len=64),
    "nomic_bert": lambda vocab: transformers.NomicBertConfig(vocab_size=vocab, pad_token_id=0, **_SIZE),
    "xlm-roberta": lambda vocab: transformers.XLMRobertaConfig(vocab_size=vocab, pad_token_id=0, **_SIZE),
}
"""Further encoders, and architectures that are unfit; few tests need each of them."""

_DECODERS = {
    "gpt2": lambda vocab: transformers.GPT2Config(
        vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=64, **_ENDS
    ),
    "llama": lambda vocab: transformers.LlamaConfig(vocab_size=vocab, num_key_value_heads=2, **_ENDS, **_SIZE),
    "mistral": lambda vocab: transformers.MistralConfig(vocab_size=vocab, num_key_value_heads=2, **_ENDS, **_SIZE),
    "qwen2": lambda vocab: transformers.Qwen2Config(vocab_size=vocab, num_key_value_heads=2, **_ENDS, **_SIZE),
    "gemma": lambda vocab: transformers.GemmaConfig(
        vocab_size=vocab, num_key_value_heads=2, head_dim=16, pad_token_id=0, **_ENDS, **_SIZE
    ),
    "qwen3": lambda vocab: transformers.Qwen3Config(
        vocab_size=vocab, num_key_value_heads=2, head_dim=16, **_ENDS, **_SIZE
    ),
}
DECODERS = sorted(_DECODERS)
_FURTHER_DECODERS = {
    "gemma3_text": lambda vocab: transformers.Gemma3TextConfig(
        vocab_size=vocab, num_key_value_heads=2, head_dim=16, sliding_window=8, pad_token_id=0, **_ENDS, **_SIZE
    ),
    "gpt_neox": lambda vocab: transformers.GPTNeoXConfig(vocab_size=vocab, **_ENDS, **_SIZE),
    "openai-gpt": lambda vocab: transformers.OpenAIGPTConfig(
        vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=64, **_ENDS
    ),
    "phi3": lambda vocab: transformers.Phi3Config(
        vocab_size=vocab, num_key_value_heads=2, pad_token_id=0, **_ENDS, **_SIZE
    ),
}
_ENCODER_DECODERS = {
    "t5": lambda vocab: transformers.T5Config(
        vocab_size=vocab, d_model=32, d_ff=64, d_kv=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    ),
    "bart": lambda vocab: transformers.BartConfig(
        vocab_size=vocab,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=0,
        decoder_start_token_id=3,
        **_ENDS,
    ),
}


def sentences(count: int, seed: int = 0) -> list[str]:
    """Return distinct sentences of 3 to 12 words from the tokenizer's vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    words = sorted(set(WORDS.split()))
    found: dict[str, None] = {}
    while len(found) < count:
        length = int(torch.randint(3, 13, (1,), generator=generator))
        chosen = torch.randint(0, len(words), (length,), generator=generator).tolist()
        found[" ".join(words[index] for index in chosen)] = None
    return list(found)


def save_tiny_model(
    folder: Path, architecture: str = "bert", words: int | None = None, *, text: str = WORDS, **changes: object
) -> str:
    """Write a plain Hugging Face model folder and return its path.

    Args:
        folder: Target folder.
        architecture: One of ``ARCHITECTURES``, or a further encoder.
        words: Vocabulary size of the model. Default: that of the tokenizer.
        text: Text that the tokenizer is trained on.
        **changes: Changed fields of the configuration.
    """
    tokenizer = _tokenizer(text)
    config = (_CONFIGS | _FURTHER)[architecture](words or len(tokenizer))
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_tiny_generator(
    folder: Path, architecture: str, *, bos: bool = True, words: int | None = None, **tokens: object
) -> str:
    """Write a decoder or an encoder-decoder with its language-model head, and return its path.

    Args:
        folder: Target folder.
        architecture: One of ``DECODERS``, a further decoder, ``t5`` or ``bart``.
        bos: Whether the tokenizer prepends a start token to each text.
        words: Vocabulary size of the model. Default: a few more than that of the tokenizer.
        **tokens: Further arguments of the tokenizer, such as ``pad_token`` and ``padding_side``.
    """
    backend = _tokenizer().backend_tokenizer
    start = "[CLS] " if bos else ""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start}$A", pair=f"{start}$A $B", special_tokens=[("[CLS]", 2)]
    )
    names = {"unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]", "model_max_length": 64, **tokens}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    decoders = _DECODERS | _FURTHER_DECODERS
    kind = transformers.AutoModelForCausalLM if architecture in decoders else transformers.AutoModelForSeq2SeqLM
    torch.manual_seed(0)
    kind.from_config((decoders | _ENCODER_DECODERS)[architecture](words or len(tokenizer) + 8)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _tokenizer(text: str = WORDS) -> transformers.PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
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
