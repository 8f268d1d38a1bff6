"""A page for a Hugging Face Space (or this machine) that searches the documents of an adaptation.

pip install gradio
smoothcse adapt docs/ -o my-encoder
python examples/gradio_search.py my-encoder

For a Space, upload this file as app.py with the folder, and name smoothcse with its extra ``search`` in
requirements.txt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("adaptation", type=Path, nargs="?", default=Path("my-encoder"), help="output of smoothcse adapt")
args = parser.parse_args()

# Imported here, so that --help works without them.
import gradio  # noqa: E402

from smoothcse import Index  # noqa: E402

index = Index.open(args.adaptation / "documents.index", str(args.adaptation))


def search(query: str, count: float) -> list[list[str]]:
    """Return score, text and file of the documents that match a query best."""
    hits = index.search(query, int(count)) if query.strip() else []
    return [[f"{hit.score:.3f}", hit.text, str(hit.metadata.get("file", ""))] for hit in hits]


page = gradio.Interface(
    search,
    [gradio.Textbox(label="Query"), gradio.Slider(1, 50, value=10, step=1, label="Documents")],
    gradio.Dataframe(headers=["score", "document", "file"], wrap=True),
    title="Search by words and meaning",
    flagging_mode="never",
)
if __name__ == "__main__":
    page.launch()
