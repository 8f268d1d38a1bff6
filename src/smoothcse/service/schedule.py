"""The order in which waiting requests reach the model.

Requests run one after another, in the order in which they would finish under equal sharing (Fair Sojourn Protocol,
Friedman & Henderson, 2003). No request finishes later than under equal sharing, up to one batch, and most finish
earlier. Equal requests run oldest first. A small request overtakes a large one, but small requests cannot starve a
large one, because it moves closer to its turn while they run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar


class Waiting(Hashable, Protocol):
    """A request that waits for the model."""

    costs: list[int]
    """Estimated tokens of each text that the model has not taken yet."""

    @property
    def cancelled(self) -> bool:
        """Whether the request no longer needs an answer."""

    def take(self, count: int) -> list[str]:
        """Remove the first texts, and their costs, and return them."""


W = TypeVar("W", bound=Waiting)


class Schedule(Generic[W]):
    """Requests in the order in which they run; not thread-safe.

    A virtual clock runs as if every request had an equal share of the model: with k requests, it advances by 1/k per
    token. A request of c tokens that arrives at time t is due at t + c.

    Args:
        texts: Maximum texts per batch.
        tokens: Maximum estimated tokens per batch; a batch has at least one text.
    """

    def __init__(self, texts: int, tokens: int) -> None:
        self._texts, self._tokens = texts, tokens
        self._clock = 0.0
        self._due: dict[W, float] = {}  # requests that would be unfinished under equal sharing, the next one first

    def __bool__(self) -> bool:
        """Return whether any request waits."""
        return any(request.costs for request in self._due)

    def add(self, request: W) -> None:
        """Add a request to the queue."""
        self._due[request] = self._clock + sum(request.costs)

    def next_batch(self) -> list[tuple[W, list[str]]]:
        """Take the texts of the next batch, by request."""
        kept = {request: due for request, due in self._due.items() if not request.cancelled}
        self._due = dict(sorted(kept.items(), key=lambda item: item[1]))  # stable: the oldest of equals comes first
        batch: list[tuple[W, list[str]]] = []
        texts, tokens = self._texts, self._tokens
        for request in self._due:
            count, cost = _fitting(request.costs, texts, tokens, at_least=0 if batch else 1)
            if count:
                batch.append((request, request.take(count)))
            texts, tokens = texts - count, tokens - cost
            if request.costs:  # the batch is full
                break
        self._advance(self._tokens - tokens)
        return batch

    def _advance(self, tokens: float) -> None:
        """Advance the clock by the time in which equal sharing would process this many tokens."""
        for request, due in list(self._due.items()):
            needed = (due - self._clock) * len(self._due)
            if needed > tokens:
                self._clock += tokens / len(self._due)
                return
            tokens, self._clock = tokens - needed, due
            del self._due[request]
            if request.costs:  # only if a request that ran before its time was cancelled
                self.add(request)


def _fitting(costs: Sequence[int], texts: int, tokens: int, at_least: int) -> tuple[int, int]:
    """Return how many of the next texts fit into a batch, and their cost."""
    count = total = 0
    for cost in costs[:texts]:
        if count >= at_least and total + cost > tokens:
            break
        count, total = count + 1, total + cost
    return count, total
