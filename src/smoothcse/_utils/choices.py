"""Values that options may take, shared by the command line and the rooms that use them; imports nothing heavy."""

from __future__ import annotations

from typing import Literal

PoolingName = Literal["cls", "mean", "max", "lasttoken", "avg_first_last", "avg_top2"]
"""How token embeddings become one sentence embedding."""

Precision = Literal["auto", "fp32", "bf16"]
"""Arithmetic of inference. ``auto`` is bf16 where the hardware computes in it, except for evaluation: there, fp32."""

InputType = Literal["query", "document"]
"""Kind of text to encode; it selects one of the model's prompts."""

EmbeddingPrecision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
"""Quantisation of stored embeddings."""

IndexQuantisation = Literal["pq", "int8", "binary"]
"""How an approximate search keeps vectors in memory: product quantisation, or one byte or bit per dimension."""

Engine = Literal["local", "ray"]
"""Where ``smoothcse encode`` runs: in this process, or on a Ray cluster."""

ExportFormat = Literal["onnx", "openvino", "static", "safetensors"]
"""Form of an exported model; static is one vector per token, averaged over the text."""

ExportChoice = Literal[ExportFormat, "fastest"]
"""Format that ``smoothcse export`` takes; fastest measures all of them but static."""

Backend = Literal["torch", "onnx", "openvino"]
"""Runtime of a model; a folder may hold files for several of them."""

ExportQuantisation = Literal["int8"]
"""Quantisation of an exported model's weights and activations."""

Rerank = Literal["maxsim", "none"]
"""Second stage of a search: late interaction over the first results, or nothing."""

TokenIdsOf = Literal["cl100k_base", "model"]
"""Tokenizer of the token ids in requests of OpenAI's API: that of OpenAI's embedding models, or the served model's."""
