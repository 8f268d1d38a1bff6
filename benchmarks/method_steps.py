"""Compare the time of a step of each method with its tokens and its arithmetic, alternately in one process.

One step is forward, backward and AdamW with MiniLM on 64 real captions. The tokens of a step are those that the
encoder (or its momentum copy) processes, counted three times where a gradient flows back through them, relative to
SimCSE; the tokens of a template count too. Further texts of a method are other captions. The operations of the matrix
products, forward and backward, are counted as well: they include a head over the vocabulary, a last layer that
computes the read token only, and padding.

    python benchmarks/method_steps.py [--batch 64] [--repeats 5] [--quick]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from harness import SHARED, alternate, keep, ratios, show, spread
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate
from smoothcse.methods.table import METHODS, find_method, make_settings

WAYS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in METHODS}
WAYS["simcse with its masked-language loss"] = ("simcse", {"mlm_weight": 0.1})
CONTROL = "simcse"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sentences per step")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of alternating measurements")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    batch, repeats, ways = arguments.batch, arguments.repeats, WAYS
    if arguments.quick:  # the control, and a method that prepares its encoder
        batch, repeats, ways = 8, 1, {name: WAYS[name] for name in (CONTROL, "promptbert")}
    text = SHARED / "data" / "corpus" / "captions.txt"
    captions: list[str] = load_sentences(text, limit=3 * batch, seed=0).dataset["sentence"][:]
    columns = [captions[number * batch : (number + 1) * batch] for number in range(3)]
    steps = {name: Step(method, values, columns) for name, (method, values) in ways.items()}
    arithmetic = {name: products(step) for name, step in steps.items()}  # warms up, too
    seconds = alternate(steps, repeats)
    implied = {name: step.encoded / steps[CONTROL].encoded for name, step in steps.items()}
    arithmetic = {name: count / arithmetic[CONTROL] for name, count in arithmetic.items()}
    measured = {name: ratios(seconds, CONTROL, name) for name in steps}
    encodes = {name: find_method(method).encodes for name, (method, _) in ways.items()}
    rows = [
        [name, spread(seconds[name]), spread(measured[name]), f"{implied[name]:.2f}", f"{arithmetic[name]:.2f}"]
        for name in steps
    ]
    headings = ["ours", "seconds", "time / simcse", "tokens / simcse", "matmul operations / simcse"]
    show(f"A step of {batch} captions", headings, rows)
    found = {"batch": batch, "encodes": encodes, "seconds": seconds, "ratios": measured}
    keep("method_steps", found | {"implied": implied, "arithmetic": arithmetic}, arguments.quick)


def products(step: Step) -> int:
    """Run a step and return the operations of its matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


class Step:
    """A training step of a method with its own model; a call runs it and returns its seconds.

    Args:
        method_name: Name of the method.
        values: Settings of the method.
        columns: Texts of each column of the batch.

    Attributes:
        encoded: Tokens of the last step, counted three times where a gradient flows back through them.
    """

    def __init__(self, method_name: str, values: dict[str, Any], columns: list[list[str]]) -> None:
        torch.manual_seed(0)
        method, settings = find_method(method_name), make_settings(method_name, values)
        model = build_encoder("packaged-minilm", "cls", max_length=32, device="cpu")
        model = (method.prepare(model, settings) if method.prepare else model).train()
        with accelerate(model):  # a momentum encoder is a copy of the fast one
            self.loss = method.loss(model, settings=settings)
        self.optimiser = torch.optim.AdamW([p for p in self.loss.parameters() if p.requires_grad], lr=3e-5, fused=True)
        self.features = [model.preprocess(texts) for texts in columns[: method.columns]]
        self.encoded = 0
        for part in self.loss.modules():
            if isinstance(part, Transformer):
                part.register_forward_pre_hook(self._count)

    def __call__(self) -> float:
        """Run the step and return its seconds."""
        self.encoded = 0
        with accelerate(self.loss.model):
            return self._timed()

    def _timed(self) -> float:
        started = time.perf_counter()
        self.loss([dict(column) for column in self.features]).backward()
        torch.nn.utils.clip_grad_norm_(self.loss.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return time.perf_counter() - started

    def _count(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        tokens = int(inputs[0]["attention_mask"].sum())
        self.encoded += tokens * (3 if torch.is_grad_enabled() else 1)


if __name__ == "__main__":
    main()
