"""Search by meaning in LangChain, with embeddings from ``smoothcse serve``.

pip install langchain-openai
smoothcse serve packaged-minilm
python examples/langchain_search.py http://127.0.0.1:8000/v1 packaged-minilm docs.txt "how to stop a program"
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
from langchain_core.vectorstores import InMemoryVectorStore  # noqa: E402
from langchain_openai import OpenAIEmbeddings  # noqa: E402

embeddings = OpenAIEmbeddings(
    base_url=args.url,
    model=args.model,
    api_key="unused",
    check_embedding_ctx_length=False,  # otherwise it sends token ids, which the service has to decode
)
store = InMemoryVectorStore(embeddings)
store.add_texts(args.documents.read_text(encoding="utf-8").splitlines())
for document, score in store.similarity_search_with_score(args.query, k=3):
    print(f"{score:.3f}  {document.page_content}")
