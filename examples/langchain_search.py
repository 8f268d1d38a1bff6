"""Search by meaning in LangChain, with embeddings from ``smoothcse serve``.

pip install langchain-openai
smoothcse serve packaged-minilm
python examples/langchain_search.py http://127.0.0.1:8000/v1 packaged-minilm docs.txt "how to stop a program"
"""

from __future__ import annotations

import sys
from pathlib import Path

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

url, model, file, query = sys.argv[1:]
embeddings = OpenAIEmbeddings(
    base_url=url,
    model=model,
    api_key="unused",
    check_embedding_ctx_length=False,  # else it sends the token numbers of OpenAI's own models
)
store = InMemoryVectorStore(embeddings)
store.add_texts(Path(file).read_text(encoding="utf-8").splitlines())
for document, score in store.similarity_search_with_score(query, k=3):
    print(f"{score:.3f}  {document.page_content}")
