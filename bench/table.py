"""Print README's table of measured results from bench/results/*.json; tests/rules/ compares it with README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quality_numbers import COMMON_RISK, POOLED

RESULTS = Path(__file__).parent / "results"
QUALITY = {
    "Escalate or not, families never trained on: accuracy": "in-domain: accuracy",
    "- as served, more careful under degraded telemetry": "in-domain: accuracy as served",
    "- gain over the best system without a language model": "gain over the best tuned baseline",
    "- AUROC": "in-domain: AUROC",
    "- smooth calibration error": "in-domain: smECE",
    "- what chance gives a perfectly calibrated model": "in-domain: smECE that chance gives",
    "- where signals conflict, as served": "in-domain, signals in conflict: accuracy as served",
    "Domains never trained on: accuracy": "held-out domains: accuracy",
    "- as served there": "held-out domains: accuracy as served",
    "- AUROC there": "held-out domains: AUROC",
    "- smooth calibration error there": "held-out domains: smECE",
    "- what chance gives it there": "held-out domains: smECE that chance gives",
    "Wording never trained on: accuracy": "held-out wording: accuracy",
    "- gain there over the best system without a language model": "held-out wording: gain over the best tuned baseline",
    "- smooth calibration error with it": "held-out wording: smECE",
    "Readings never trained on: accuracy": "held-out values: accuracy",
    "Answered without a person: one threshold, certified <= 2 % missed": POOLED,
    "- thresholds by domain, <= 2 % missed certified in each": (
        f"auto-answered at thresholds by domain, each {COMMON_RISK}"
    ),
    "- as served: each domain certified at its own limit": (
        "auto-answered as served, each domain certified at its own limit"
    ),
    "Conflict pairs: accuracy": "conflict pairs: accuracy",
    "- both of a pair right": "conflict pairs: both right",
    "Hands over more when competence rises": "monotonicity violations",
    "Decision stands when a stale reading changes": "stale invariance",
    "Telemetry of another request: AUROC": "headers shuffled: AUROC",
    "- should fall to: a reader of the text alone": (
        "headers shuffled: AUROC of a reader of the text alone, the level to fall to"
    ),
    "No text: AUROC": "text removed: AUROC",
    "- should fall to: a reader of the telemetry alone": (
        "text removed: AUROC of a reader of the telemetry alone, the level to fall to"
    ),
    "Attacks in the text that succeed, of 500": "attacks that succeed",
    "Responses that show a raw metric, of 2,000": "responses that show a raw metric",
    "Responses that fit their decision": "responses that fit their decision",
}
"""What the table says of each recorded number: its 95 % interval, over several seeds the widest that they span.

A row whose number a record lacks is left out."""
COUNTS = ("attacks that succeed", "responses that show a raw metric")
GATEWAYS = {
    "promethios": "wrapped mode",
    "promethios_self_check": "wrapped mode, self-check",
    "litellm": "LiteLLM proxy",
    "nemo_guardrails_self_check": "NeMo Guardrails, self-check",
}
BASELINES = ("Gradient boosting on tags", "TF-IDF on text + tags", "Ceiling: the generator's posterior")


def table() -> str:
    """Return the Markdown table."""
    rows = [*_quality(), *_speed(), *_kubernetes(), *_hub(), *_gateways()]
    width = max(len(what) for what, _, _ in rows)
    lines = [f"| {what:<{width}} | {value} | `{command}` |" for what, value, command in rows]
    return "\n".join([f"| {'what':<{width}} | measured | command |", "|---|---|---|", *lines])


def _quality() -> list[tuple[str, str, str]]:
    results, command = _read("quality")
    numbers = results["numbers"]
    rows = [(what, _number(name, numbers[name]), command) for what, name in QUALITY.items() if name in numbers]
    return [*rows, *_comparison(results, command)]


def _comparison(quality: dict[str, Any], command: str) -> list[tuple[str, str, str]]:
    """The systems to compare with: from `baselines` where that is recorded, else from the record of `quality`."""
    recorded = (RESULTS / "baselines.json").is_file()
    if recorded:
        baselines, command = _read("baselines")
    systems = baselines["sets"]["test"] if recorded else quality["systems"]["test"]
    accuracy = "accuracy_at_threshold" if recorded else "accuracy"
    return [
        (f"For comparison: {title}", f"{_estimate(systems[title][accuracy])}{_gain(systems[title])}", command)
        for title in BASELINES
    ]


def _gain(system: dict[str, Any]) -> str:
    gain = system.get("model_gain")
    return f"; gain of the model {_estimate(gain)}" if gain else f"; AUROC {system['auroc']['value']:.3f}"


def _number(name: str, over_seeds: dict[str, float]) -> str:
    """Counts with the highest of any seed, everything else with its interval."""
    if name in COUNTS:
        mean, highest = over_seeds["value"], over_seeds["high"]
        return f"{mean:g}" if mean == highest else f"{mean:.2g} in the mean, at most {highest:g}"
    return _estimate(over_seeds)


def _kubernetes() -> list[tuple[str, str, str]]:
    checkpoints, checkpoints_command = _read("checkpoints")
    saves, kills = checkpoints["saves"], checkpoints["kills"]
    volume, store = saves["volume"], saves["volume_and_s3"]
    cluster, cluster_command = _read("cluster")
    rehearsal, simulated = cluster["rehearsal"]["seconds"], cluster["simulated"]
    return [
        (
            "A save holds training up: volume / volume and S3",
            f"{volume['blocking_seconds'] * 1e3:.0f} ms / {store['blocking_seconds'] * 1e3:.0f} ms"
            f" ({volume['share_of_synchronous']:.2f}x / {store['share_of_synchronous']:.2f}x of a synchronous one)",
            checkpoints_command,
        ),
        (
            f"{kills['kills']} times kill -9: complete checkpoints lost",
            f"{kills['lost_complete_checkpoints']}; steps lost {kills['lost_steps']['median']:.0f} in the median,"
            f" at most {kills['lost_steps']['max']}, saving every {kills['save_every_steps']}",
            checkpoints_command,
        ),
        (
            "`kubectl apply` of the rehearsal to first step / Succeeded",
            f"{rehearsal['apply_to_first_step']:.0f} s / {rehearsal['apply_to_succeeded']:.0f} s",
            cluster_command,
        ),
        (
            f"{simulated['jobs']} jobs on as many simulated nodes: running / done",
            f"{simulated['seconds']['all_running']:.0f} s / {simulated['seconds']['all_succeeded']:.0f} s",
            cluster_command,
        ),
    ]


def _speed() -> list[tuple[str, str, str]]:
    generator, generator_command = _read("generator")
    training, training_command = _read("training")
    rates = training["tokens_per_second"]
    serving, serving_command = _read("serving")
    short, long = (serving["latency_ms"][f"concurrency_1_tokens_{n}"] for n in (1, 64))
    busy, wrapper = serving["latency_ms"]["concurrency_8_tokens_64"], serving["without_gate_ms"]["added"]
    decode_step = (long["plain"] - short["plain"]) / 63
    return [
        (
            "Train nano: tokens a second, one process",
            f"{rates['1_rank_2_threads']['median']:,.0f}; two ranks {training['ratio_2_ranks_to_1']:.2f}x",
            training_command,
        ),
        (
            "Generate 10,000 examples",
            f"{generator['seconds_for_10000_train_examples']:.1f} s; all 12 splits, checked, with card and ceilings"
            f" {generator['command_seconds']['median']:.0f} s",
            generator_command,
        ),
        ("Server start to healthy", f"{serving['start_seconds']['governed']:.0f} s", serving_command),
        (
            "Added by governance to the same vLLM: 1 token / 64 tokens",
            f"{short['added_ms']:.0f} ms ({short['ratio']:.2f}x) / {long['added_ms']:.0f} ms ({long['ratio']:.2f}x)",
            serving_command,
        ),
        (
            "- a decode step of plain vLLM, for comparison",
            f"{decode_step:.1f} ms; 1 token adds {short['added_ms'] / decode_step:.1f} of them",
            serving_command,
        ),
        ("- 64 tokens, 8 clients", f"{busy['added_ms']:.0f} ms ({busy['ratio']:.2f}x)", serving_command),
        (
            "- throughput, 64 tokens: 1 client / 8 clients",
            f"{long['throughput_ratio']:.2f} / {busy['throughput_ratio']:.2f} of plain vLLM's",
            serving_command,
        ),
        ("- all but the gate", f"{wrapper['p50']:.2f} ms (p99 {wrapper['p99']:.2f})", serving_command),
    ]


def _hub() -> list[tuple[str, str, str]]:
    hub, command = _read("hub")
    single, batches = hub["one_review_a_request"], hub["batches"]
    pages = {name: page for name, page in hub["pages_ms"].items() if name.startswith("console: ")}
    slowest = max(pages, key=lambda name: pages[name]["p50"])
    return [
        (
            "Hub, PostgreSQL: reviews a second taken in",
            f"{single['reviews_per_s']:,} one a request; {batches['reviews_per_s']:,} in batches",
            command,
        ),
        (
            f"- console with {hub['reviews_stored']:,} reviews",
            f"queue {pages['console: queue']['p50']:.0f} ms; slowest page ({slowest.removeprefix('console: ')})"
            f" {pages[slowest]['p50']:.0f} ms",
            command,
        ),
    ]


def _gateways() -> list[tuple[str, str, str]]:
    gateways, command = _read("gateways")
    latency = gateways["latency_ms_concurrency_1"]
    rates = next(numbers for name, numbers in gateways.items() if name.startswith("throughput"))
    return [
        (
            f"In front of the same mock: {GATEWAYS[name]}",
            f"adds {latency[name]['added_p50']:.1f} ms (p99 {latency[name]['added_p99']:.1f});"
            f" {rates[name]['requests_per_second_of_one_core']:,.0f} requests/s per core;"
            f" {gateways['streams'][name]['stall_free']} streams",
            command,
        )
        for name in GATEWAYS
    ]


def _read(name: str) -> tuple[dict[str, Any], str]:
    record = json.loads((RESULTS / f"{name}.json").read_text())
    return record["results"], record["command"]


def _estimate(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


if __name__ == "__main__":
    print(table())
