"""Print README's table of measured results from bench/results/*.json; tests/rules/ compares it with README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def table() -> str:
    """Return the Markdown table."""
    rows = [*_quality(), *_speed()]
    width = max(len(what) for what, _, _ in rows)
    lines = [f"| {what:<{width}} | {value} | `{command}` |" for what, value, command in rows]
    return "\n".join([f"| {'what':<{width}} | measured | command |", "|---|---|---|", *lines])


def _quality() -> list[tuple[str, str, str]]:
    results, command = _read("quality")
    rows = []
    for name, where in (("test", "families never trained on"), ("held_out_domains", "domains never trained on")):
        systems = {system["system"]: system for system in results[name]}
        rows.append((f"Escalate or not, {where}: accuracy", _estimate(systems["Promethios"]["accuracy"]), command))
        for baseline in ("Logistic regression on tags", "Rule: trust below requirement", "TF-IDF on text + tags"):
            gain = systems[baseline]["model_gain"]
            value = f"{systems[baseline]['accuracy']['value']:.3f}; gain of the model {_estimate(gain)}"
            rows.append((f"- against {baseline}", value, command))
        ceiling = systems["Ceiling: the generator's posterior"]["accuracy"]["value"]
        rows.append(("- the best possible, knowing the world", f"{ceiling:.3f}", command))
    rows.append(("AUROC of the escalation probability", _estimate(_auroc(results)), command))
    rows.append(("Smooth calibration error", _estimate(results["calibration"]["test"]["smooth_ece"]), command))
    rows.append(("Responses that fit their decision", _estimate(results["text"]["fits_decision"]), command))
    return rows


def _speed() -> list[tuple[str, str, str]]:
    generator, generator_command = _read("generator")
    training, training_command = _read("training")
    evaluation, evaluation_command = _read("evaluation")
    serving, serving_command = _read("serving")
    demo, demo_command = _read("demo")
    quality, quality_command = _read("quality")
    rates = {name: rate["median"] for name, rate in training["tokens_per_second"].items()}
    short, long = (serving["latency_ms"][f"concurrency_1_tokens_{n}"] for n in (1, 64))
    busy = serving["latency_ms"]["concurrency_8_tokens_64"]
    return [
        (
            "`make demo`, nothing cached / caches warm",
            f"{_minutes(demo['cold_seconds'])} / {_minutes(demo['warm_seconds'])},"
            f" peak memory {max(demo['cold_peak_memory_gib'], demo['warm_peak_memory_gib']):.1f} GiB",
            demo_command,
        ),
        (
            "Generate 10,000 examples",
            f"{generator['seconds_for_10000_train_examples']:.1f} s; the whole dataset of 16,000, card and ceilings"
            f" {generator['command_seconds_for_16000_examples_card_and_ceilings']['median']:.1f} s",
            generator_command,
        ),
        (
            "Train `nano`, 1 process / 2 gloo ranks",
            f"{rates['1_rank_2_threads']:,.0f} / {rates['2_ranks_1_thread']:,.0f} tokens/s",
            training_command,
        ),
        ("Train `nano` for its 3 epochs", _minutes(quality["train_seconds"]), quality_command),
        (
            "Score 1,000 examples; the whole evaluation",
            f"{evaluation['score_1000_examples_seconds']['median']:.1f} s;"
            f" {evaluation['evaluate_command_seconds']:.0f} s",
            evaluation_command,
        ),
        ("Server start to healthy", f"{serving['start_seconds']['governed']:.0f} s", serving_command),
        (
            "Added by governance to the same vLLM: 1 token / 64 tokens",
            f"{short['added_ms']:.0f} ms ({short['ratio']:.2f}x) / {long['added_ms']:.0f} ms ({long['ratio']:.2f}x)",
            serving_command,
        ),
        ("- 64 tokens, 8 clients", f"{busy['added_ms']:.0f} ms ({busy['ratio']:.2f}x)", serving_command),
    ]


def _auroc(results: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = next(s["auroc"] for s in results["test"] if s["system"] == "Promethios")
    return found


def _read(name: str) -> tuple[dict[str, Any], str]:
    record = json.loads((RESULTS / f"{name}.json").read_text())
    return record["results"], record["command"]


def _estimate(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


if __name__ == "__main__":
    print(table())
