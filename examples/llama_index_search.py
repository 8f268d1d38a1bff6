"""Search by meaning in LlamaIndex, with embeddings from ``smoothcse serve``.

pip install llama-index-embeddings-openai-like
smoothcse serve packaged-minilm
python examples/llama_index_search.py http://127.0.0.1:8000/v1 packaged-minilm docs.txt "how to stop a program"
"""

from __future__ import annotations

import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("url", help="address of the service, ending in /v1")
parser.add_argument("model", help="name of a model that the service serves")
parser.add_argument("documents", type=Path, help="text file, one document per line")
parser.add_argument("query", help="sentence to search for")
args = parser.parse_args()

# Imported here, so that --help works without them.
from llama_index.core import VectorStoreIndex  # noqa: E402
from llama_index.core.schema import TextNode  # noqa: E402
from llama_index.embeddings.openai_like import OpenAILikeEmbedding  # noqa: E402

embeddings = OpenAILikeEmbedding(model_name=args.model, api_base=args.url, api_key="unused")
lines = args.documents.read_text(encoding="utf-8").splitlines()
index = VectorStoreIndex([TextNode(text=line) for line in lines], embed_model=embeddings)
for found in index.as_retriever(similarity_top_k=3).retrieve(args.query):
    print(f"{found.score:.3f}  {found.text}")
