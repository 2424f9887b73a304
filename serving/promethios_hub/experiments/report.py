"""What an experiment says so far: each arm, and its difference to the control with an always-valid interval.

The unit is the session: requests of one session are alike, so they count as one. Shadow arms are compared too; nobody
saw their answers. The audited-miss rate comes from reviewers: of the answers that were not escalated and were drawn at
random for audit, how many should have been, weighted by the inverse of the probability of being drawn. An audit belongs
to the arm that the outcome of the same id names: a native engine does not know that it is part of an experiment.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from promethios_hub.experiments.confidence_sequence import Interval, Sample, difference_interval, mean_interval
from promethios_hub.experiments.store import Experiment
from promethios_hub.tables import outcomes, reviews


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared. better: "lower" or "higher", or "" where neither is good in itself."""

    name: str
    label: str
    unit: str
    better: str


METRICS: Final = (
    Metric("resolved", "resolved", "share", "higher"),
    Metric("failed", "failed", "share", "lower"),
    Metric("escalated", "handed to a person", "share", ""),
    Metric("latency_s", "time to the whole answer", "s", "lower"),
    Metric("first_token_s", "time to the first token", "s", "lower"),
    Metric("cost_usd", "cost of a request", "USD", "lower"),
    Metric("missed", "missed escalations, from audits", "share", "lower"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric of one arm: its value, and its difference to the control (None for the control itself)."""

    metric: Metric
    units: int
    value: Interval
    difference: Interval | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """One arm: its units (sessions), requests, and comparisons for the metrics that it has values of."""

    arm: str
    is_control: bool
    shadow: bool
    units: int
    requests: int
    comparisons: list[Comparison]


async def experiment_report(engine: AsyncEngine, experiment: Experiment) -> list[ArmReport]:
    """Return the arms of an experiment, the control first."""
    async with engine.connect() as connection:
        requests, shadow, samples = await _outcome_samples(connection, experiment)
        misses = await _missed(connection, experiment)
    for arm, sample in misses.items():
        samples[arm]["missed"] = sample
    control = samples[experiment.control]
    arms = [experiment.control, *(arm for arm in experiment.arms if arm != experiment.control)]
    return [
        ArmReport(
            arm=arm,
            is_control=arm == experiment.control,
            shadow=shadow.get(arm, False),
            units=max((sample.count for name, sample in samples[arm].items() if name != "missed"), default=0),
            requests=requests.get(arm, 0),
            comparisons=_comparisons(samples[arm], None if arm == experiment.control else control, experiment.alpha),
        )
        for arm in arms
    ]


def _comparisons(arm: Mapping[str, Sample], control: Mapping[str, Sample] | None, alpha: float) -> list[Comparison]:
    compared = []
    for metric in METRICS:
        sample = arm.get(metric.name)
        if sample is None or not sample.count:
            continue
        other = None if control is None else control.get(metric.name)
        difference = None if other is None or not other.count else difference_interval(sample, other, alpha)
        compared.append(
            Comparison(
                metric=metric,
                units=sample.count,
                value=mean_interval(sample, alpha),
                difference=difference,
                verdict=_verdict(metric, difference),
            )
        )
    return compared


def _verdict(metric: Metric, difference: Interval | None) -> str:
    if difference is None:
        return ""
    if math.isinf(difference.low):
        return "too few sessions, or too much alike, to say anything yet"
    if difference.low <= 0 <= difference.high:
        return "no difference shown so far"
    direction = "higher" if difference.low > 0 else "lower"
    if not metric.better:
        return f"{direction} than the control"
    return f"{direction} than the control: {'better' if direction == metric.better else 'worse'}"


async def _outcome_samples(
    connection: AsyncConnection, experiment: Experiment
) -> tuple[dict[str, int], dict[str, bool], dict[str, dict[str, Sample]]]:
    """Return requests an arm, whether it is a shadow, and its samples of means over sessions."""
    truth = {
        "resolved": case((outcomes.c.resolved.is_(None), None), (outcomes.c.resolved, 1.0), else_=0.0),
        "failed": case((outcomes.c.error.is_(None), 0.0), else_=1.0),
        "escalated": case((outcomes.c.decision.is_(None), None), (outcomes.c.decision == "escalate", 1.0), else_=0.0),
        "latency_s": outcomes.c.latency_s,
        "first_token_s": outcomes.c.first_token_s,
        "cost_usd": outcomes.c.cost_usd,
    }
    sessions = (
        select(
            outcomes.c.arm,
            func.count(),
            func.max(case((outcomes.c.shadow, 1), else_=0)),
            *(func.avg(column) for column in truth.values()),
        )
        .where(outcomes.c.experiment == experiment.name, outcomes.c.time <= _end(experiment))
        .group_by(outcomes.c.arm, outcomes.c.unit)
    )
    requests: dict[str, int] = defaultdict(int)
    shadow: dict[str, bool] = {}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for arm, count, is_shadow, *means in await connection.execute(sessions):
        requests[arm] += count
        shadow[arm] = shadow.get(arm, False) or bool(is_shadow)
        for name, mean in zip(truth, means, strict=True):
            if mean is not None:
                values[arm][name].append(float(mean))
    samples: dict[str, dict[str, Sample]] = defaultdict(dict)
    for arm, metrics in values.items():
        samples[arm] = {name: Sample.of(found) for name, found in metrics.items()}
    return requests, shadow, samples


async def _missed(connection: AsyncConnection, experiment: Experiment) -> dict[str, Sample]:
    """Return the audited-miss rate of each arm as a sample whose mean and variance are those of the weighted rate."""
    audited = (
        # the outcome's unit, not the review's session, which retention removes
        select(outcomes.c.arm, outcomes.c.unit, reviews.c.propensity, reviews.c.action, reviews.c.final_decision)
        .join_from(outcomes, reviews, reviews.c.id == outcomes.c.id)
        .where(
            reviews.c.state == "done",
            reviews.c.reviewed_because == "audit",
            outcomes.c.experiment == experiment.name,
            outcomes.c.time <= _end(experiment),
        )
    )
    by_arm: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for review in await connection.execute(audited):
        weight = 1 / review.propensity if review.propensity else 1.0
        missed = review.action == "override" and review.final_decision == "escalate"
        drawn = by_arm[review.arm]
        before, before_missed = drawn.get(review.unit, (0.0, 0.0))
        drawn[review.unit] = (before + weight, before_missed + weight * missed)
    return {arm: weighted_rate(list(drawn.values())) for arm, drawn in by_arm.items()}


def _end(experiment: Experiment) -> datetime:
    return experiment.stopped_at or datetime.max.replace(tzinfo=UTC)


def weighted_rate(drawn: Sequence[tuple[float, float]]) -> Sample:
    """Return the Hajek estimate of a rate, its variance by linearisation.

    drawn: of each unit the weights of its answers, and those of the ones that count, in sum.
    """
    total = sum(weight for weight, _ in drawn)
    rate = sum(counted for _, counted in drawn) / total
    mean_weight = total / len(drawn)
    residuals: Iterable[float] = ((counted - rate * weight) / mean_weight for weight, counted in drawn)
    spread = sum(residual**2 for residual in residuals) / max(1, len(drawn) - 1)
    return Sample(len(drawn), rate, spread)


def plain(report: Sequence[ArmReport]) -> list[dict[str, Any]]:
    """Return a report as JSON-ready data; infinite bounds are null."""
    return [
        {
            "arm": arm.arm,
            "is_control": arm.is_control,
            "shadow": arm.shadow,
            "units": arm.units,
            "requests": arm.requests,
            "comparisons": [
                {
                    "metric": comparison.metric.name,
                    "unit": comparison.metric.unit,
                    "units": comparison.units,
                    "value": _interval(comparison.value),
                    "difference": comparison.difference and _interval(comparison.difference),
                    "verdict": comparison.verdict,
                }
                for comparison in arm.comparisons
            ],
        }
        for arm in report
    ]


def _interval(interval: Interval) -> dict[str, float | None]:
    bounds = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    return {name: value if math.isfinite(value) else None for name, value in bounds.items()}
