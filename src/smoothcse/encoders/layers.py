"""The transformer layers of an encoder."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

from smoothcse.errors import SmoothCSEError


def layers_of(model: SentenceTransformer, name: str, field: str) -> list[nn.Module]:
    """Return the transformer layers: the one list of modules as long as the configuration says.

    Args:
        model: Encoder.
        name: Name of the model in messages.
        field: Configuration field that needs the layers, for the message.

    Raises:
        SmoothCSEError: If there is no such list, or more than one.
    """
    encoder = model[0]
    if isinstance(encoder, Transformer):
        depth = getattr(encoder.model.config, "num_hidden_layers", None)
        lists = {
            path: module
            for path, module in encoder.model.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == depth
        }
        outermost = [lists[path] for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
        if len(outermost) == 1:
            return list(outermost[0])
    raise SmoothCSEError(
        f"{field} needs an encoder with one list of transformer layers, which {name} does not have; leave out "
        f"{field}, or start from another model."
    )
