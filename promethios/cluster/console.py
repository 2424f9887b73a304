"""Trainings as an aligned table, and one training in detail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from promethios.cluster.report import Report
from promethios.planning.units import duration


def table(reports: Sequence[Report], now: datetime) -> str:
    """Return one line a training."""
    head = ("NAME", "STATE", "ATTEMPT", "STEP", "LOSS", "TOKENS/S", "ETA", "CHECKPOINT", "AGE")
    rows = [head, *(_row(each, now) for each in reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def details(report: Report) -> str:
    """Return what the table has no room for: conditions, pods, and the reason."""
    lines = [
        f"{condition['type']:<12}{condition['status']:<8}{condition.get('message', '')}"
        for condition in report.conditions
    ]
    for pod in report.pods:
        place = f" on {pod['node']}" if pod["node"] else ""
        lines.append(f"pod {pod['name']}: {pod['phase']}{place}" + (f": {pod['reason']}" if pod["reason"] else ""))
    if report.reason:
        code = f" (exit code {report.exit_code})" if report.exit_code is not None else ""
        lines.append(f"last word{code}: {report.reason}")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _row(report: Report, now: datetime) -> tuple[str, ...]:
    progress = report.progress
    age = (now - datetime.fromisoformat(report.created)).total_seconds()
    is_running = report.state == "Running"
    return (
        report.name,
        report.state,
        _known(report.attempt),
        f"{progress.step}/{progress.steps}" if progress else "-",
        f"{progress.loss:.4f}" if progress else "-",
        f"{progress.tokens_per_second:,.0f}" if progress and is_running else "-",
        duration(progress.eta_seconds) if progress and is_running else "-",
        _known(report.checkpoint_step),
        duration(max(age, 0)),
    )


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)
