"""Write the tables and plots of the documentation from the results of the benchmarks.

The text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` on a page is replaced by the table NAME. The text around it
is written by hand and contains no figures.

    python benchmarks/page.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from harness import RESULTS, ratios, spread
from plots import draw, draw_long_run

UNCACHED = "not cached"  # a step in the results of caching.py
REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
EXPLANATIONS = DOCS / "explanations"
PAGES = (
    *(
        EXPLANATIONS / f"{name}.md"
        for name in ("performance", "reliability", "methods", "why-scores-differ", "words-and-meaning")
    ),
    *(DOCS / "how-to" / f"{name}.md" for name in ("adapt", "export", "lora")),
)


def main() -> None:
    """Rewrite the pages, or check with ``--check`` whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is out of date")
    arguments = parser.parse_args()
    before = [page.read_text(encoding="utf-8") for page in PAGES]
    after = [filled(page) for page in before]
    if arguments.check:
        sys.exit(before != after)
    for page, text in zip(PAGES, after, strict=True):
        page.write_text(text, encoding="utf-8")
    draw(DOCS / "images" / "performance.png")
    draw_long_run(DOCS / "images" / "long-run.png")


def filled(page: str) -> str:
    """Return a page with its tables filled from the current results."""
    for name, table in TABLES.items():
        file = SOURCES.get(name, RESULTS / f"{name}.json")
        text = f"{table(json.loads(file.read_text()))}\n" if file.is_file() else "Not measured yet.\n"
        page = with_table(page, name, text)
    return page


def with_table(page: str, name: str, text: str) -> str:
    """Return a page with the text between ``<!-- name -->`` and ``<!-- /name -->`` replaced."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return marks.sub(lambda found: found[1] + text + found[2], page)


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


def method_steps(found: dict[str, Any]) -> str:
    """Return the table of the cost of a step of each method, relative to SimCSE."""
    rows = [
        [
            name,
            f"{found['encodes'][name]:g}",
            spread(found["seconds"][name]),
            spread(found["ratios"][name]),
            f"{found['implied'][name]:.2f}",
            f"{median(found['ratios'][name]) / found['implied'][name] - 1:+.0%}",
            f"{found['arithmetic'][name]:.2f}",
        ]
        for name in found["seconds"]
    ]
    headings = ["method", "encodes", "seconds", "time", "tokens", "time above tokens", "matmul operations"]
    words = f"Time, tokens and matmul operations are relative to SimCSE's. Batch {found['batch']}, fp32."
    return f"{markdown(headings, rows)}\n\n{words} {measured_on(found)}"


def lora_steps(found: dict[str, Any]) -> str:
    """Return the table of time and memory of a step with fewer trained weights."""
    seconds, memory = found["seconds"], found["megabytes"]
    everything = next(iter(seconds))
    rows = [
        [arm, spread(seconds[arm]), spread(ratios(seconds, arm, everything)), spread(memory[arm], 0)]
        for arm in seconds
    ]
    return f"{markdown(['trained', 'seconds', 'faster', 'MB'], rows)}\n\n{found['model']}. {measured_on(found)}"


def step_parts(found: dict[str, Any]) -> str:
    """Return the table of the speed-up from each part of a step, and the share of each kind of operation."""
    slower = {name: spread(values) for name, values in found["slower"].items()}
    rows = [[name, spread(values), slower.get(name, "")] for name, values in found["seconds"].items()]
    table = markdown(["part replaced or added", "seconds", "relative time"], rows)
    shares = "; ".join(f"{name}: {in_words(parts)}" for name, parts in found["shares"].items())
    words = f"Batch {found['batch']}, {found['precision']}. Time by operation, {shares} (N = {found['streamed_n']:,})."
    return f"{table}\n\n{words} {measured_on(found)}"


def step_settings(found: dict[str, Any]) -> str:
    """Return the table of a step under settings of its process."""
    relative = {name: spread(values) for name, values in found["relative"].items()}
    rows = [[name, spread(values), relative.get(name, "")] for name, values in found["seconds"].items()]
    words = f"Batch {found['batch']}, {found['precision']}. {measured_on(found)}"
    return f"{markdown(['setting', 'seconds', 'relative time'], rows)}\n\n{words}"


def step_profile(found: dict[str, Any]) -> str:
    """Return the table of the shares of the kinds of operations in a step, and of its seconds."""
    columns = {
        f"{way}, batch {step['batch']}": step["shares"][way] for step in found["steps"] for way in step["shares"]
    }
    means = {kind: mean(shares.get(kind, 0.0) for shares in columns.values()) for kind in {*chain(*columns.values())}}
    kinds = sorted((kind for kind in means if means[kind] >= 0.005), key=lambda kind: -means[kind])
    rows = [[kind, *(f"{shares.get(kind, 0.0):.0%}" for shares in columns.values())] for kind in kinds]
    rows.append(["seconds", *(spread(values) for step in found["steps"] for values in step["seconds"].values())])
    rows.append(["faster than autocast", *(gain for step in found["steps"] for gain in gains(step["seconds"]))])
    return f"{markdown(['operations', *columns], rows)}\n\n{found['precision']}. {measured_on(found)}"


def gains(seconds: dict[str, list[float]]) -> list[str]:
    """Return the factor by which each way is faster than the first."""
    first, *others = seconds
    return ["", *(spread(ratios(seconds, other, first)) for other in others)]


def bf16_quality(found: dict[str, Any]) -> str:
    """Return the table of the scores of models trained under autocast and by the layers in bf16."""
    arms = found["scores"]
    rows = [
        [f"{arm}, {task}", *(f"{value:.2f}" for value in values), mean_sd(values)]
        for task in next(iter(arms.values()))
        for arm, values in ((arm, arms[arm][task]) for arm in arms)
    ]
    headings = ["arithmetic, score", *(f"seed {seed}" for seed in range(len(rows[0]) - 2)), "mean ± sd"]
    words = f"{found['steps']} steps of InfoNCE, batch {found['batch']}."
    return f"{markdown(headings, rows)}\n\n{words} {measured_on(found)}"


def gpu_candidates(found: dict[str, Any]) -> str:
    """Return the table of the candidates for a faster step on a GPU; a case without measurements is left out."""
    rows = []
    for case in found["steps"]:
        label, seconds = f"{case['model']}, batch {case['batch']}", case["seconds"]
        for name, values in seconds.items():
            gain = ratios(seconds, name, "default")
            rows.append([label, name, spread([1000 * v for v in values], 1), spread(gain)])
        rows += [[label, name, reason, ""] for name, reason in case["failed"].items() if seconds]
    table = markdown(["step", "candidate", "milliseconds", "times the speed of the default"], rows)
    return f"{table}\n\n{measured_on(found)}"


def in_words(shares: dict[str, float]) -> str:
    """Return shares from the largest to the smallest, without those that round to 0%."""
    return ", ".join(f"{part} {share:.0%}" for part, share in shares.items() if share >= 0.005)


def quality(found: dict[str, Any]) -> str:
    """Return the table of dev scores after training by the fast and by the plain path."""
    ways = found["scores"] | {"fast - plain": found["differences"]}
    rows = [[name, *(f"{value:.2f}" for value in values), mean_sd(values)] for name, values in ways.items()]
    headings = ["path", *(f"seed {seed}" for seed in range(len(found["differences"]))), "mean ± sd"]
    return f"{markdown(headings, rows)}\n\n{measured_on(found)}"


def mean_sd(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def loss_alone(found: dict[str, Any]) -> str:
    """Return the table of the loss, one column per implementation."""
    points = {(point["n"], point["form"]): point for point in found["points"]}
    forms = sorted({form for _, form in points}, key=["ours", "dense", "broadcast"].index)
    rows = [[f"{n:,}", *(cell(points[n, form]) for form in forms)] for n in sorted({n for n, _ in points})]
    micros = found["noise_at_64"]["microseconds"]
    noise = ", ".join(f"{name} {spread(values, 0)}" for name, values in micros.items())
    words = f"At N = 64, M = 192, d = 384, in microseconds: {noise}{share_of_step(found)}. {measured_on(found)}"
    return f"{markdown(['N', *forms], rows)}\n\n{words}"


def share_of_step(found: dict[str, Any]) -> str:
    """Return the share of the noise in a training step, if that was measured on the same processor."""
    file = RESULTS / "training_step_fp32.json"
    steps = json.loads(file.read_text()) if file.is_file() else None
    if steps is None or steps["environment"]["processor"] != found["environment"]["processor"]:
        return ""
    step = next(step for step in steps["steps"] if (step["batch"], step["precision"]) == (64, "fp32"))
    micros = found["noise_at_64"]["microseconds"]
    more = median(micros["GS-InfoNCE"]) - median(micros["InfoNCE"])
    return f"; the difference is {more / 1e6 / median(step['seconds']['ours']):.2%} of a step of batch 64 (fp32)"


def cell(point: dict[str, Any]) -> str:
    """Return seconds and memory of a point, or the reason why it was not measured."""
    if "seconds" not in point:
        return point.get("skipped", "out of memory")
    return f"{point['seconds']:.2f} s, {point['peak_mb']:.0f} MB"


def batch_memory(found: dict[str, Any]) -> str:
    """Return the table of memory by batch size."""
    points = {(point["batch"], point["form"]): point for point in found["points"]}
    rows = [
        [f"{n:,}", *(cell(points[n, form]) if (n, form) in points else "" for form in ("plain", "cached"))]
        for n in sorted({n for n, _ in points})
    ]
    texts: dict[tuple[str, str], list[int]] = {}
    for point in found["points"]:
        texts.setdefault((point["text"], point["measured"]), []).append(point["batch"])
    words = "; ".join(f"batch {span(sizes)}: {text}, {measured}" for (text, measured), sizes in texts.items())
    precision = found["points"][0]["precision"]
    sizes = sorted({p["tokens"] for p in found["points"] if p["form"] == "cached"})
    tokens = f"mini-batches of {' and '.join(f'{size:,}' for size in sizes)} tokens"
    return f"{markdown(['batch', 'plain', 'cached'], rows)}\n\n{precision}, {tokens}; {words}. {measured_on(found)}"


def caching(found: dict[str, Any]) -> str:
    """Return the table of the cost of gradient caching per sentence."""
    headings = ["sentences, step", "seconds", "ms per sentence", "relative to no caching"]
    table = markdown(headings, caching_rows(found))
    return f"{table}\n\n{found['precision']}; the large step and its loss were measured once. {measured_on(found)}"


def caching_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table, here and on the page."""
    seconds, batch, tried = found["seconds"], found["batch"], found["tried"]
    whole = [*seconds[UNCACHED], *seconds["around"]]
    table = [[f"{found['uncached']:,}, {UNCACHED}", spread(whole), milliseconds(whole, found["uncached"]), ""]]
    for way, values in found["ratios"].items():
        table.append([f"{tried:,}, {way}", spread(seconds[way]), milliseconds(seconds[way], tried), spread(values)])
    label = f"{batch:,}, mini-batches of {found['tokens']:,} tokens"
    table.append([label, *large_cells(seconds["large"], batch), spread(found["large_ratios"])])
    table.append([f"{batch:,}, its loss alone", *large_cells(seconds["loss"], batch), ""])
    return table


def large_cells(seconds: list[float], batch: int) -> list[str]:
    """Return the seconds and the milliseconds per sentence of a single measurement."""
    return [f"{seconds[0]:.1f}", milliseconds(seconds, batch)]


def milliseconds(seconds: list[float], sentences: int) -> str:
    """Return the median milliseconds per sentence."""
    return f"{1000 * median(seconds) / sentences:.1f}"


def span(sizes: Sequence[int]) -> str:
    """Return the smallest and the largest size."""
    return " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))


def encoding(found: dict[str, Any]) -> str:
    """Return the table of throughput."""
    rows = [
        [name, spread(values, 1), f"{found['sentences'] / median(values):.0f}"]
        for name, values in found["seconds"].items()
    ]
    rows += [[f"ratio, {kind}", spread(values), ""] for kind, values in found["ratios"].items()]
    table = markdown(["encoder, precision", "seconds", "sentences per second"], rows)
    agreement = (
        f"Largest difference between components of an embedding in fp32: {found['largest_difference_fp32']:.1e}. "
        f"Lowest cosine at the defaults: {found['lowest_cosine_defaults']:.6f}; between bf16 and fp32 "
        f"({found['bf16']['sentences']:,} sentences): {found['bf16']['lowest_cosine']:.6f}."
    )
    return f"{table}\n\n{agreement} {measured_on(found)}"


def encoding_backends(found: dict[str, Any]) -> str:
    """Return the table of the ways to encode on a CPU, the fastest first."""
    ways = sorted(found["ways"].items(), key=lambda way: -median(way[1]["ratios"]))
    rows = [
        [f"**{name}**" if name == found["fastest"] else name, *way_cells(way, found["sentences"])]
        for name, way in ways
    ]
    headings = ["way", "sentences/s", "times the host's defaults", "cosine to fp32, mean", "lowest", "MB", "STS"]
    words = f"{found['sentences']:,} sentences; STS is the mean of the seven tasks, {found['pairs']} pairs of each. "
    words += "In bold: our fastest whose mean is at most 0.2 below that of fp32. "
    if host := found["host_version"]:
        words += f"The host's ONNX and OpenVINO backends: sentence-transformers {host} with optimum. "
    return f"{markdown(headings, rows)}\n\n{words}{measured_on(found)}"


def way_cells(way: dict[str, Any], sentences: int) -> list[str]:
    """Return the cells of a way to encode, here and on the page: speed, ratio, cosines, size and STS average."""
    cosines = [f"{way[key]:.5f}" for key in ("mean_cosine", "lowest_cosine")]
    sts = "" if way["sts"] is None else f"{way['sts']:.2f}"
    speed = f"{sentences / median(way['seconds']):.0f}"
    return [speed, spread(way["ratios"]), *cosines, f"{way['megabytes']:.0f}", sts]


def static_student(found: dict[str, Any]) -> str:
    """Return the table of the static student by domain."""
    rows = []
    for name, domain in found["domains"].items():
        mrr, speeds = domain["mrr"], domain["per_second"]
        scores = [f"{mrr[way]:.1f}" for way in ("encoder", "model2vec", "static")]
        kept = [f"{mrr[way] / mrr['encoder']:.0%}" for way in ("static", "half")]
        speed = [f"{speeds[way]:,.0f}" for way in ("encoder", "static")]
        rows.append([f"{name}, {domain['documents']:,}", *scores, *kept, *speed, spread(domain["ratios"], 0)])
    headings = [
        "domain, documents",
        "encoder, MRR",
        "model2vec, MRR",
        "static, MRR",
        "kept",
        "kept, half seen",
    ]
    table = markdown([*headings, "encoder, documents/s", "static, documents/s", "ratio"], rows)
    sizes = domain["megabytes"]
    words = f"{found['model']}: {sizes['encoder']:.0f} MB of weights; its static models: {sizes['static']:.0f} MB."
    return f"{table}\n\n{words} {measured_on(found)}"


def sts_evaluation(found: dict[str, Any]) -> str:
    """Return the table of the seven STS tasks."""
    rows = [[name, spread(values, 0)] for name, values in found["seconds"].items()]
    rows += [[f"ratio, {kind}", spread(values)] for kind, values in found["ratios"].items()]
    difference = f"Largest difference between two scores in fp32: {found['largest_difference']:.4f}."
    return f"{markdown(['evaluator, precision', 'seconds'], rows)}\n\n{difference} {measured_on(found)}"


def transfer_parity(found: dict[str, Any]) -> str:
    """Return the table of transfer accuracies, ours and those of SentEval's training procedure."""
    rows = [
        [f"{model}, {task}", f"{entry['ours']:.2f}", f"{entry['senteval']:.2f}", f"{entry['difference']:+.2f}"]
        + [f"{seconds:.0f}" for seconds in entry["seconds"]]
        for model, tasks in found["models"].items()
        for task, entry in tasks.items()
    ]
    headings = ["model, task", "ours", "SentEval's", "difference", "ours, CPU s", "SentEval's, CPU s"]
    return f"{markdown(headings, rows)}\n\n{measured_on(found)}"


def data_path(found: dict[str, Any]) -> str:
    """Return the tables of throughput and of start-up times."""
    speeds = [[name, spread(values, 0)] for name, values in found["sentences_per_second"].items()]
    starts = [[name, spread(values)] for name, values in found["start_up_seconds"].items()]
    first, second = markdown(["stage", "sentences per second"], speeds), markdown(["event", "seconds"], starts)
    return f"{first}\n\n{second}\n\n{measured_on(found)}"


def search_recall(found: dict[str, Any]) -> str:
    """Return the tables of quantisation and of dimensions."""
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
    headings = ["quantisation", "recall@10", "without re-ranking", "p50, ms", "p95, ms", "MB of quantised embeddings"]
    dimensions = markdown(["dimensions kept, of 384", "recall@10"], widths)
    built = f"{found['documents']:,} captions, encoded and indexed in {found['build_seconds']:.0f} s"
    words = f"{built}; {found['queries']} other captions are the queries. ± is the standard deviation over queries."
    return f"{markdown(headings, ways)}\n\n{dimensions}\n\n{words} {measured_on(found)}"


def hybrid_search(found: dict[str, Any]) -> str:
    """Return the table of the kinds of search by domain, each beside the default."""
    rows = [
        [
            f"{name}, {way}",
            *(
                cell
                for score in ("ndcg", "mrr")
                for cell in (f"{one[score]:.1f}", interval(one[f"{score}_difference"]))
            ),
            spread([1000 * seconds for seconds in one["seconds"]], 0),
        ]
        for name, domain in found["domains"].items()
        for way, one in domain["ways"].items()
    ]
    headings = ["domain, search", "nDCG@10 × 100", "− default", "MRR × 100", "− default", "ms per query"]
    sizes = "; ".join(
        f"{name}: {domain['queries']:,} queries, {domain['documents']:,} documents, weight chosen by the probe "
        f"{domain['probe_weight']:g}"
        for name, domain in found["domains"].items()
    )
    return f"{markdown(headings, rows)}\n\n{found['model']} in {found['precision']}. {sizes}. {measured_on(found)}"


def two_commands(found: dict[str, Any]) -> str:
    """Return the table of the seconds from a folder to a page that searches it."""
    seconds = {
        f"`smoothcse {command}`: {part}": value
        for command in ("adapt", "serve")
        for part, value in found[command]["seconds"].items()
    }
    seconds["both commands"] = sum(seconds.values())
    rows = [[part, f"{value:.0f}"] for part, value in seconds.items()]
    files = ", ".join(f"{count:,} .{kind}" for kind, count in found["files"].items())
    words = (
        f"{found['pages']:,} pages of {found['words'] // found['pages']} words ({files}; ten pages to a PDF), "
        f"{found['adapt']['passages']:,} passages; {found['model']}, `--minutes {found['minutes']:g}`, "
        f"{found['adapt']['trials']} candidates trained. Peak memory {found['adapt']['peak_mb']:.0f} MB and "
        f"{found['serve']['peak_mb']:.0f} MB. The verdict: {found['adapt']['verdict']}"
    )
    return f"{markdown(['part', 'seconds'], rows)}\n\n{words} {measured_on(found)}"


def interval(difference: dict[str, Any] | None) -> str:
    """Return mean and interval of a difference; nothing for that of the default with itself."""
    return f"{difference['mean']:+.1f} [{difference['low']:+.1f}, {difference['high']:+.1f}]" if difference else ""


def indexing(found: dict[str, Any]) -> str:
    """Return the table of indexing beside encoding."""
    rows = [
        [way, spread(seconds, 1), f"{found['texts'] / median(seconds):,.0f}"]
        for way, seconds in found["seconds"].items()
    ]
    words = f"{found['texts']:,} captions. Indexing takes {spread(found['times'])} times as long as encoding."
    return f"{markdown(['way', 'seconds', 'texts per second'], rows)}\n\n{words} {measured_on(found)}"


def service_load(found: dict[str, Any]) -> str:
    """Return the table of the service under load: medians over rounds, and the sum of the errors."""
    rows = []
    batching = {"together": "on", "each alone": "off"}
    for clients, way in dict.fromkeys((point["clients"], point["way"]) for point in found["points"]):
        rounds = [point for point in found["points"] if (point["clients"], point["way"]) == (clients, way)]
        speed = spread([point["requests_per_second"] for point in rounds], 0)
        latencies = [f"{median(point[name] for point in rounds):.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
        errors = str(sum(one["errors"] for one in rounds))
        memory = "; ".join(f"{one['memory_before_mb']:.0f} to {one['memory_after_mb']:.0f}" for one in rounds)
        rows.append([f"{clients}, {batching[way]}", speed, *latencies, errors, memory])
    headings = ["clients, batching", "requests per second", "p50, ms", "p95, ms", "p99, ms", "errors", "memory, MB"]
    return f"{markdown(headings, rows)}\n\n{measured_on(found)}"


def service_peer(found: dict[str, Any]) -> str:
    """Return the table of the service beside infinity by load: medians and ranges over rounds."""
    headings = ["load, server", "requests per second", "times infinity", "p99, ms", "errors"]
    cosines = ", ".join(f"{way} {cosine:.4f}" for way, cosine in found["lowest_cosine"].items() if way != "smoothcse")
    words = f"infinity-emb and its torch: {found['version']}. Lowest cosine to the embeddings of smoothcse: {cosines}."
    return f"{markdown(headings, server_rows(found))}\n\n{words} {measured_on(found)}"


def server_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return a row for each server under each load; infinity is not compared with itself."""
    return [
        [
            f"{load}, {way}",
            spread(one["requests_per_second"], 0),
            spread(one["ratios"]) if one["ratios"] and way != "infinity" else "",
            spread(one["p99_ms"], 0),
            str(one["errors"]),
        ]
        for load, ways in found["loads"].items()
        for way, one in ways.items()
    ]


def service_memory(found: dict[str, Any]) -> str:
    """Return the service's memory after each round of load."""
    start, *rounds = found["memory_mb"]
    halves = [rounds[: len(rounds) // 2], rounds[len(rounds) // 2 :]]
    first, second = (f"{min(half):.0f} to {max(half):.0f}" for half in halves)
    load = f"{found['clients']} clients, rounds of {found['seconds']:.0f} s"
    words = f"{start:.0f} MB at the start; {first} MB with one sentence per request, then {second} MB with 32"
    after = ", ".join(f"{value:.0f}" for value in rounds)
    return f"{words} ({load}: {after}). {found['requests']:,} requests, {found['errors']} errors. {measured_on(found)}"


def crash(found: dict[str, Any]) -> str:
    """Return the table of kills, one row per kind of run and their sum."""
    kinds = dict(found["kinds"])
    places = list(next(iter(kinds.values()))["fell_into"])
    columns = ("kills", "torn", "runs", "identical")
    total: dict[str, Any] = {name: sum(kind[name] for kind in kinds.values()) for name in columns}
    total["fell_into"] = {place: sum(kind["fell_into"][place] for kind in kinds.values()) for place in places}
    rows = [
        [
            name,
            str(kind["kills"]),
            *(str(kind["fell_into"][place]) for place in places),
            str(kind["torn"]),
            f"{kind['identical']} of {kind['runs']}",
        ]
        for name, kind in (kinds | {"all": total}).items()
    ]
    headings = ["kind of run", "kills", *(f"in {place}" for place in places), "torn checkpoints", "identical runs"]
    words = f"(Runs of {found['steps']} steps; {found['date']}, torch {found['torch']}, seed {found['seed']})"
    return f"{markdown(headings, rows)}\n\n{words}"


def fuzz(found: dict[str, Any]) -> str:
    """Return the table of fuzzed inputs, one row per reader and their sum."""
    readers = found["readers"].items()
    rows = [[name, f"{one['inputs']:,}", f"{one['seconds']:.0f}", one["finding"] or "none"] for name, one in readers]
    seconds = sum(one["seconds"] for _, one in readers)
    rows.append(["all", f"{found['inputs']:,}", f"{seconds:.0f}", str(found["findings"] or "none")])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    limits = (
        f"at most {found['longest_input']:,} bytes, {found['seconds_allowed']} s and {found['megabytes_allowed']} MB"
    )
    words = f"({limits} per input; seed {found['seed']}; Python {found['python']}, {versions})"
    return f"{markdown(['reader', 'inputs', 'seconds', 'findings'], rows)}\n\n{words}"


def long_run(found: dict[str, Any]) -> str:
    """Return the table of resources held by a long training, and the growth of its memory."""
    names = {"memory_mb": "resident memory, MB", "descriptors": "open descriptors", "threads": "threads"}
    rows = []
    for name, words in names.items():
        values = found["samples"][name]
        rows.append([words, *(f"{value:,.0f}" for value in (values[0], min(values), max(values), values[-1]))])
    table = markdown(["", "at the first step", "lowest", "highest", "at the end"], rows)
    slope = found["growth"]
    growth = f"{slope['mb_per_hour']:+.1f} MB per hour, 95% interval [{slope['low']:+.1f}, {slope['high']:+.1f}]"
    words = (
        f"{found['steps']:,} steps and {found['evaluations']} evaluations with their checkpoints in "
        f"{found['minutes']:.0f} minutes. Growth of memory after the first sixth of the time: {growth} (a line "
        f"through the medians of {slope['minutes']} minutes). Lowest memory in each sixth, in MB: "
        f"{floors(found['samples'])}. `metrics.jsonl` was read {found['metrics_reads']:,} times, always without "
        f"an error. After SIGTERM at the end, the run exited within {found['seconds_to_stop']:.0f} s with exit code "
        f"{found['exit_code']}, {'with' if found['checkpoint_of_the_last_step'] else 'WITHOUT'} a checkpoint of the "
        "last step."
    )
    return f"{table}\n\n{words} {measured_on(found)}"


def floors(samples: dict[str, list[float]]) -> str:
    """Return the lowest memory in each sixth of the time; a leak would raise it."""
    memory = samples["memory_mb"]
    bounds = [round(len(memory) * part / 6) for part in range(7)]
    return ", ".join(f"{min(memory[a:b]):.0f}" for a, b in pairwise(bounds))


SOURCES = {name: REPOSITORY / "tests" / name / "results.json" for name in ("crash", "fuzz")}

TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    table.__name__: table
    for table in (
        training_step,
        method_steps,
        step_parts,
        step_settings,
        step_profile,
        quality,
        bf16_quality,
        loss_alone,
        batch_memory,
        encoding,
        encoding_backends,
        static_student,
        sts_evaluation,
        transfer_parity,
        data_path,
        search_recall,
        indexing,
        hybrid_search,
        two_commands,
        service_load,
        service_peer,
        service_memory,
        crash,
        fuzz,
        long_run,
    )
} | {
    "caching_bf16": caching,
    "caching_fp32": caching,
    "training_step_fp32": training_step,
    "training_step_gpu": training_step,
    "gpu_candidates_gpu": gpu_candidates,
    "lora_steps_all-mpnet-base-v2": lora_steps,
}


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with its first column left-aligned."""
    rule = [":--", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))


def measured_on(found: dict[str, Any]) -> str:
    """Return the date, the machine, the versions and the revision of a measurement."""
    e = found["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
    load = f"load average {e['load_average']} at the end"
    load += ", on a machine that other programs use" if e.get("loaded") else ""
    machine = f"{e['processor']}, {e['threads']} threads, {e['device']}"
    return f"({e['date'][:10]}, {machine}, {load}; {versions}; revision {e['commit']})"


if __name__ == "__main__":
    main()
