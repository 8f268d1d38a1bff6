"""Which request runs next: checked with a clock of texts and no model."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.service.schedule import Schedule


class Request:
    """Texts of given costs."""

    def __init__(self, costs):
        self.costs, self.cancelled = list(costs), False

    def take(self, count):
        taken, self.costs = self.costs[:count], self.costs[count:]
        return taken


def run(schedule, arrivals):
    """Run requests that arrive at given times; return the time at which each one is done, in tokens served."""
    now, done, waiting = 0, {}, sorted(arrivals, key=lambda arrival: arrival[0])
    while waiting or schedule:
        while waiting and (waiting[0][0] <= now or not schedule):
            schedule.add(waiting.pop(0)[1])
        served = sum(sum(taken) for _, taken in schedule.next_batch())
        assert served  # whoever waits is served
        now += served
        for _, request in arrivals:
            if not request.costs and request not in done and request not in [one for _, one in waiting]:
                done[request] = now
    return [done[request] for _, request in arrivals]


def shared_equally(arrivals):
    """Return when equal shares of every token would finish each request, by small steps."""
    left = {number: float(sum(request.costs)) for number, (_, request) in enumerate(arrivals)}
    done, now = {}, 0.0
    while len(done) < len(arrivals):
        present = [number for number, (at, _) in enumerate(arrivals) if at <= now + 1e-9 and number not in done]
        coming = [at for number, (at, _) in enumerate(arrivals) if at > now + 1e-9 and number not in done]
        if not present:
            now = min(coming)
            continue
        step = min([left[number] * len(present) for number in present] + [at - now for at in coming])
        now += step
        for number in present:
            left[number] -= step / len(present)
            if left[number] < 1e-9:
                done[number] = now
    return [done[number] for number in range(len(arrivals))]


def test_equal_requests_run_oldest_first():
    """With equal shares all 64 would end together, at the end."""
    done = run(Schedule(64, 10_000), [(0, Request([1] * 32)) for _ in range(64)])
    assert done == sorted(done)
    assert done[0] == 64
    assert sorted(done)[32] <= 64 * 32 / 2 + 64


def test_a_small_request_does_not_wait_behind_giants():
    giants = [(0, Request([1] * 2048)) for _ in range(5)]
    *_, small = run(Schedule(64, 10_000), [*giants, (130, Request([1]))])
    assert small <= 130 + 2 * 64  # the batch that runs, and its own


def test_small_requests_do_not_starve_a_giant():
    """Small requests take half of the model's time, for ever; the giant has the other half."""
    small = [(at, Request([1] * 32)) for at in range(0, 6400, 64)]
    giant, *_ = run(Schedule(64, 10_000), [(0, Request([1] * 1000)), *small])
    assert giant <= 2 * 1000 + 64 * 2


def test_a_batch_has_a_bounded_number_of_tokens_and_a_text_at_least():
    schedule = Schedule(64, 100)
    schedule.add(Request([60, 30, 30, 500, 1]))
    assert [taken for _ in range(4) for _, taken in schedule.next_batch()] == [[60, 30], [30], [500], [1]]
    assert not schedule


def test_a_cancelled_request_gives_up_its_share():
    schedule = Schedule(10, 1000)
    requests = [Request([1] * 100) for _ in range(3)]
    for request in requests:
        schedule.add(request)
    assert [request for request, _ in schedule.next_batch()] == requests[:1]
    requests[0].cancelled = requests[1].cancelled = True
    assert [request for request, _ in schedule.next_batch()] == requests[2:]
    for _ in range(9):
        schedule.next_batch()
    assert not schedule


def test_requests_that_are_served_and_cancelled_do_not_shut_out_others():
    """Whoever is served first and cancels has taken time from a giant; its rest is due later, not at once."""
    schedule = Schedule(10, 1000)
    giant = Request([1] * 200)
    schedule.add(giant)
    for _ in range(5):
        rude = Request([1] * 100)
        schedule.add(rude)
        for _ in range(9):
            schedule.next_batch()
        rude.cancelled = True
    small = Request([1])
    schedule.add(small)
    assert small in dict(schedule.next_batch() + schedule.next_batch())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.lists(st.integers(1, 8), min_size=1, max_size=60)), max_size=12),
    st.integers(1, 20),
)
def test_no_request_ends_later_than_with_equal_shares(described, texts):
    arrivals = [(at, Request(costs)) for at, costs in sorted(described)]
    fair = shared_equally([(at, SimpleNamespace(costs=list(one.costs))) for at, one in arrivals])
    done = run(Schedule(texts, 40), arrivals)
    batch = min(40, 8 * texts)
    assert all(ours <= theirs + 2 * batch for ours, theirs in zip(done, fair, strict=True)), (done, fair)
