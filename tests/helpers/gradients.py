"""Compare two versions of an encoder by the embeddings of a batch and the gradient of each weight."""

from __future__ import annotations

import torch

from smoothcse.views.embed import embed_views


def view_and_gradients(model, texts):
    """Return the first view of a batch in training mode, and the gradient of a loss for each weight."""
    views = embed_views(model.train(), [model.preprocess(texts)])
    torch.manual_seed(1)
    (views[0] * torch.randn_like(views[0])).sum().backward()
    return views[0].detach(), {name: weight.grad for name, weight in model.named_parameters()}


def without_dropout(model):
    """Return a model without dropout; some architectures store rates as attributes of other modules."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(vars(module).get(name), float):
                setattr(module, name, 0.0)
    return model


def assert_the_same(found, expected):
    """Compare the results of :func:`view_and_gradients` for two models in float64."""
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-12)
    for name, gradient in expected[1].items():
        if gradient is None:
            assert found[1][name] is None, name
        else:
            torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=1e-10, msg=name)
