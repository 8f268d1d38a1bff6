"""Scores of the demo: the encoders alone and fused with BM25, each with its difference from the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smoothcse._utils.tables import FigureTable
from smoothcse.evaluation.fusion import COSINE_WEIGHT
from smoothcse.evaluation.ranking import Ranking
from smoothcse.evaluation.retrieval import Rankings
from smoothcse.experiments.statistics import Difference, paired_bootstrap
from smoothcse.runs.curves import pyplot

START, CONTROL, ADAPTED = "start", "control", "adapted"

Way = Literal["cosine", "fused"]
_WAYS: Mapping[Way, str] = {"cosine": "", "fused": " + BM25"}

_LABELS: Mapping[Way, str] = {"cosine": "alone", "fused": "fused with BM25"}

_METRICS = ("MRR", "R@1", "R@10")
_CAPTION = (
    f"{START}: as published, with its own pooling\n"
    f"{CONTROL}: trained with two dropout views (SimCSE)\n"
    f"{ADAPTED}: trained with a sentence and its passage\n"
    f"+ BM25: {COSINE_WEIGHT:g} x cosine similarity + {1 - COSINE_WEIGHT:.1g} x BM25\n"
    "[95%]: paired bootstrap over the summaries"
)


@dataclass(frozen=True, eq=False)
class DemoScores:
    """Rankings of the labelled task.

    Attributes:
        rankings: Rankings of the start, the control and the adapted encoder, in this order.
    """

    rankings: Mapping[str, Rankings]

    def ranking(self, name: str, way: Way) -> Ranking:
        """Return the ranking of an encoder, alone or fused."""
        found: Ranking = getattr(self.rankings[name], way)
        return found

    def difference(self, name: str, way: Way) -> Difference:
        """Return the difference of MRR × 100 from the start, with its interval over the queries."""
        after, before = (100.0 * self.ranking(each, way).reciprocal_ranks for each in (name, START))
        return paired_bootstrap(after, before)

    def table(self) -> FigureTable:
        """Return the scores of BM25, and of each encoder alone and fused."""
        bm25 = self.rankings[START].bm25
        title = f"{len(bm25.ranks):,} summaries that have to find their details"
        table = FigureTable([""], (*_METRICS, "MRR vs. start [95%]"), title, _CAPTION)
        table.add_row("BM25", *_figures(bm25), "")
        for way, suffix in _WAYS.items():
            for name in self.rankings:
                difference = "" if name == START else str(self.difference(name, way))
                table.add_row(f"{name}{suffix}", *_figures(self.ranking(name, way)), difference)
        return table

    def verdict(self) -> str:
        """Return one sentence that says whether adapting helped."""
        alone, fused = (self.difference(ADAPTED, way) for way in _WAYS)
        if not alone.established:
            return f"No difference was established: MRR {alone} vs. the encoder's own pooling."
        relation = "above" if alone.mean > 0 else "below"
        together = "" if fused.established else " (the interval contains zero)"
        return f"The adapted encoder is {relation} its own pooling: MRR {alone} alone, {fused} with BM25{together}."

    def plot(self, file: Path) -> None:
        """Plot the MRR of each encoder, alone and fused, with the intervals of the differences from the start.

        Args:
            file: Image file to write.

        Raises:
            SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
        """
        plt = pyplot()
        figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
        names = list(self.rankings)
        for way, label in _LABELS.items():
            scores = [self.ranking(name, way).metrics()["MRR"] for name in names]
            axes.errorbar(scores, names, xerr=self._bars(way), fmt="o", capsize=4, label=label)
        bm25 = self.rankings[START].bm25.metrics()["MRR"]
        axes.axvline(bm25, color="grey", linestyle="--", linewidth=1, label="BM25")
        axes.set(xlabel="MRR x 100; bars: 95% interval of the difference from the start")
        axes.margins(y=0.2)
        axes.invert_yaxis()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.savefig(file, dpi=150)
        plt.close(figure)

    def _bars(self, way: Way) -> list[list[float]]:
        """Return how far each interval reaches below and above its mean; 0 for the start."""
        found = [self.difference(name, way) for name in self.rankings]
        below = [each.mean - (each.mean if each.low is None else each.low) for each in found]
        above = [(each.mean if each.high is None else each.high) - each.mean for each in found]
        return [below, above]


def _figures(ranking: Ranking) -> list[str]:
    metrics = ranking.metrics()
    return [f"{metrics[name]:.1f}" for name in _METRICS]
