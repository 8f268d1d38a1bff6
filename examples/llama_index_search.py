"""Search by meaning in LlamaIndex, with embeddings from ``smoothcse serve``.

pip install llama-index-embeddings-openai-like
smoothcse serve packaged-minilm
python examples/llama_index_search.py http://127.0.0.1:8000/v1 packaged-minilm docs.txt "how to stop a program"
"""

from __future__ import annotations

import sys
from pathlib import Path

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

url, model, file, query = sys.argv[1:]
embeddings = OpenAILikeEmbedding(model_name=model, api_base=url, api_key="unused")
lines = Path(file).read_text(encoding="utf-8").splitlines()
index = VectorStoreIndex([TextNode(text=line) for line in lines], embed_model=embeddings)
for found in index.as_retriever(similarity_top_k=3).retrieve(query):
    print(f"{found.score:.3f}  {found.text}")
