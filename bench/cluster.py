"""How long a training takes on Kubernetes, in the clusters of tests/e2e/cluster (root; see its README)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the clusters are part of the tests, which are not installed

from tests.e2e.cluster import jobs, light, real, scale

JOBS = 200


def measure(work: Path) -> dict[str, Any]:
    """Seconds from `kubectl apply -k` of the CPU rehearsal to its first step and to Succeeded; 200 simulated jobs."""
    return {"rehearsal": rehearsal(work), "simulated": simulated()}


def rehearsal(work: Path) -> dict[str, Any]:
    """cpu-rehearsal (`nano`, 40 steps, two ranks in one pod) with checkpoints on the volume and on S3."""
    started = time.perf_counter()
    up = real.start(owned=True)
    try:
        seconds = {"cluster_up": time.perf_counter() - started}
        overlay = jobs.write_overlay(work / "rehearsal", "cpu-rehearsal", **jobs.with_object_store(up))
        run = jobs.Run(up, jobs.JOB)
        started = time.perf_counter()
        with run.applied(overlay):
            run.wait_for_step(1)
            seconds["apply_to_first_step"] = time.perf_counter() - started
            run.wait_until_trained()
            seconds["apply_to_trained"] = time.perf_counter() - started
            run.wait_until_succeeded()
            seconds["apply_to_succeeded"] = time.perf_counter() - started
        return {"seconds": seconds, "steps": max(run.losses()), "checkpoints_in_store": run.stored_checkpoints()}
    finally:
        up.stop()


def simulated() -> dict[str, Any]:
    """As many jobs as nodes of 8 GPUs; admission, scheduler and training-operator are real."""
    started = time.perf_counter()
    up = light.start(owned=True)
    try:
        up_seconds = time.perf_counter() - started
        outcome = scale.run_jobs(up, JOBS)
    finally:
        up.stop()
    return {
        "jobs": JOBS,
        "nodes_in_use_at_once": len(set(outcome.nodes)),
        "seconds": {
            "cluster_up": up_seconds,
            "all_running": outcome.seconds_to_all_running,
            "all_succeeded": outcome.seconds_to_all_succeeded,
        },
    }
