"""Write the tables and plots of ``docs/performance.md`` from ``benchmarks/results``.

What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` on the page is replaced; the text around it is written by
hand and holds no figures.

    python benchmarks/page.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from harness import RESULTS, spread
from plots import draw

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "performance.md"


def main() -> None:
    """Rewrite the page, or with ``--check`` say whether that would change it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    arguments = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = before
    for name, table in TABLES.items():
        file = RESULTS / f"{name}.json"
        text = f"{table(json.loads(file.read_text()))}\n" if file.is_file() else "Not measured yet.\n"
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        after = marks.sub(lambda found, text=text: found[1] + text + found[2], after)  # type: ignore[misc]
    if arguments.check:
        sys.exit(before != after)
    PAGE.write_text(after, encoding="utf-8")
    draw(DOCS / "images" / "performance.png")


def training_step(found: dict[str, Any]) -> str:
    """Return the table of step times."""
    rows = [
        [
            f"{entry['model']}, batch {entry['batch']}, {entry['precision']}",
            spread(entry["seconds"]["ours"]),
            spread(entry["seconds"]["sentence-transformers"]),
            spread(entry["ratios"]),
            f"{entry['peak_share']:.0%}",
        ]
        for entry in found["steps"]
    ]
    table = markdown(["step", "ours, s", "sentence-transformers, s", "ratio", "of matmul peak"], rows)
    peaks = ", ".join(f"{gflops:.0f} GFLOP/s {name}" for name, gflops in found["matmul_gflops"].items())
    return f"{table}\n\nPeak: {peaks}. {measured_on(found)}"


def step_parts(found: dict[str, Any]) -> str:
    """Return what each part of a step buys, and where the time goes."""
    slower = {name: spread(values) for name, values in found["slower"].items()}
    rows = [[name, spread(values), slower.get(name, "")] for name, values in found["seconds"].items()]
    table = markdown(["a step but for this", "seconds", "times as long"], rows)
    shares = "; ".join(f"of the {name}: {in_words(parts)}" for name, parts in found["shares"].items())
    words = (
        f"Batch {found['batch']}, {found['precision']}. Where the time goes, {shares} (N = {found['streamed_n']:,})."
    )
    return f"{table}\n\n{words} {measured_on(found)}"


def in_words(shares: dict[str, float]) -> str:
    """Return shares from the largest to the smallest, without those that round to nothing."""
    return ", ".join(f"{part} {share:.0%}" for part, share in shares.items() if share >= 0.005)


def quality(found: dict[str, Any]) -> str:
    """Return the table of dev scores after the fast and the plain path."""
    ways = found["scores"] | {"difference": found["differences"]}
    rows = [[name, *(f"{value:.2f}" for value in values), mean_sd(values)] for name, values in ways.items()]
    headings = ["path", *(f"seed {seed}" for seed in range(len(found["differences"]))), "mean ± sd"]
    return f"{markdown(headings, rows)}\n\n{measured_on(found)}"


def mean_sd(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def loss_alone(found: dict[str, Any]) -> str:
    """Return the table of the loss, a column per form."""
    points = {(point["n"], point["form"]): point for point in found["points"]}
    forms = sorted({form for _, form in points}, key=["ours", "dense", "broadcast"].index)
    rows = [[f"{n:,}", *(cell(points[n, form]) for form in forms)] for n in sorted({n for n, _ in points})]
    micros = found["noise_at_64"]["microseconds"]
    noise = ", ".join(f"{name} {spread(values, 0)}" for name, values in micros.items())
    words = f"At N = 64, M = 192, d = 384, in microseconds: {noise}{share_of_step(micros)}. {measured_on(found)}"
    return f"{markdown(['N', *forms], rows)}\n\n{words}"


def share_of_step(micros: dict[str, list[float]]) -> str:
    """Say how much of a training step the noise takes, where that was measured as well."""
    file = RESULTS / "training_step.json"
    if not file.is_file():
        return ""
    step = next(step for step in json.loads(file.read_text())["steps"] if step["batch"] == 64)
    more = median(micros["GS-InfoNCE"]) - median(micros["InfoNCE"])
    share = more / 1e6 / median(step["seconds"]["ours"])
    return f"; the difference is {share:.2%} of a step of batch 64 ({step['precision']})"


def cell(point: dict[str, Any]) -> str:
    """Return seconds and memory of a point, or why there are none."""
    if "seconds" not in point:
        return point.get("skipped", "out of memory")
    return f"{point['seconds']:.2f} s, {point['peak_mb']:.0f} MB"


def batch_memory(found: dict[str, Any]) -> str:
    """Return the table of memory against batch size."""
    points = {(point["batch"], point["form"]): point for point in found["points"]}
    rows = [
        [f"{n:,}", *(cell(points[n, form]) if (n, form) in points else "" for form in ("plain", "cached"))]
        for n in sorted({n for n, _ in points})
    ]
    return f"{markdown(['batch', 'plain', 'cached'], rows)}\n\n{measured_on(found)}"


def encoding(found: dict[str, Any]) -> str:
    """Return the table of throughput."""
    rows = [
        [name, spread(values, 1), f"{found['sentences'] / median(values):.0f}"]
        for name, values in found["seconds"].items()
    ]
    rows += [[f"ratio, {kind}", spread(values), ""] for kind, values in found["ratios"].items()]
    table = markdown(["way", "seconds", "sentences per second"], rows)
    agreement = (
        f"Largest difference of an embedding's component at fp32: {found['largest_difference_fp32']:.1e}; lowest "
        f"cosine at the defaults: {found['lowest_cosine_defaults']:.6f}."
    )
    return f"{table}\n\n{agreement} {measured_on(found)}"


def sts_evaluation(found: dict[str, Any]) -> str:
    """Return the table of the seven STS tasks."""
    rows = [[name, spread(values, 0)] for name, values in found["seconds"].items()]
    rows += [[f"ratio, {kind}", spread(values)] for kind, values in found["ratios"].items()]
    difference = f"Largest difference of a figure at fp32: {found['largest_difference']:.4f}."
    return f"{markdown(['way', 'seconds'], rows)}\n\n{difference} {measured_on(found)}"


def data_path(found: dict[str, Any]) -> str:
    """Return both tables of the data path."""
    speeds = [[name, spread(values, 0)] for name, values in found["sentences_per_second"].items()]
    starts = [[name, spread(values)] for name, values in found["start_up_seconds"].items()]
    first, second = markdown(["part", "sentences per second"], speeds), markdown(["until", "seconds"], starts)
    return f"{first}\n\n{second}\n\n{measured_on(found)}"


def search_recall(found: dict[str, Any]) -> str:
    """Return the tables of codes and of dimensions."""
    ways = [
        [
            way["codes"],
            f"{way['recall']:.3f} ± {way['recall_sd']:.3f}",
            f"{way['recall_by_codes_alone']:.3f}" if "recall_by_codes_alone" in way else "",
            *(f"{way[name]:.1f}" for name in ("p50_ms", "p95_ms", "megabytes")),
        ]
        for way in found["ways"]
    ]
    widths = [[str(one["dimensions"]), f"{one['recall']:.3f} ± {one['recall_sd']:.3f}"] for one in found["dimensions"]]
    codes = markdown(["searched by", "recall@10", "by codes alone", "p50, ms", "p95, ms", "MB of codes"], ways)
    dimensions = markdown(["dimensions kept, of 384", "recall@10"], widths)
    built = f"{found['documents']:,} captions, encoded and indexed in {found['build_seconds']:.0f} s"
    words = f"{built}; {found['queries']} others are the queries, and ± is the sd over them."
    return f"{codes}\n\n{dimensions}\n\n{words} {measured_on(found)}"


def service_load(found: dict[str, Any]) -> str:
    """Return the table of the service under load: the median over rounds, and all the errors."""
    rows = []
    for clients, way in dict.fromkeys((point["clients"], point["way"]) for point in found["points"]):
        rounds = [point for point in found["points"] if (point["clients"], point["way"]) == (clients, way)]
        speed = spread([point["requests_per_second"] for point in rounds], 0)
        latencies = [f"{median(point[name] for point in rounds):.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
        memory = "; ".join(f"{one['memory_before_mb']:.0f} to {one['memory_after_mb']:.0f}" for one in rounds)
        rows.append([f"{clients}, {way}", speed, *latencies, str(sum(one["errors"] for one in rounds)), memory])
    headings = ["clients, texts encoded", "requests per second", "p50, ms", "p95", "p99", "errors", "memory, MB"]
    return f"{markdown(headings, rows)}\n\n{measured_on(found)}"


def service_memory(found: dict[str, Any]) -> str:
    """Return the service's memory after each round of one load."""
    memory = ", ".join(f"{value:.0f}" for value in found["memory_mb"])
    load = f"{found['clients']} clients, {found['seconds']:.0f} s a round"
    told = f"MB at the start and after each round ({load}): {memory}."
    return f"{told} {found['requests']:,} requests, {found['errors']} errors. {measured_on(found)}"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    table.__name__: table
    for table in (
        training_step,
        step_parts,
        quality,
        loss_alone,
        batch_memory,
        encoding,
        sts_evaluation,
        data_path,
        search_recall,
        service_load,
        service_memory,
    )
}


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column left-aligned."""
    rule = [":--", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))


def measured_on(found: dict[str, Any]) -> str:
    """Say when, where and with what."""
    e = found["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
    load = f"load average {e['load_average']} at the end"
    machine = f"{e['processor']}, {e['threads']} threads, {e['device']}"
    return f"({e['date'][:10]}, {machine}, {load}; {versions}; revision {e['commit']})"


if __name__ == "__main__":
    main()
