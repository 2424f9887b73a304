"""The evaluation report as data: what `evaluation_report.json` holds. Its schema is in README.md beside this file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.confidence_calibration import brier_score
from promethios.evaluation.decisions import System
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.gates import Gate, check_gates
from promethios.evaluation.intervals import Estimate
from promethios.evaluation.text_quality import JudgedResponse, text_measures
from promethios.telemetry.header import DECISIONS

FORMAT_VERSION: Final = 1
SEED_TARGETS: Final = {
    "hitl_accuracy": 0.85,
    "confidence_calibration": 0.80,
    "domain_compliance": 0.75,
    "conflict_resolution": None,
    "overall": 0.80,
}
"""What the seed expects of each score; it names no target for conflicts."""
NUM_SAMPLES: Final = 12
"""Generated responses shown in the report, besides every one with a leak."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that was measured.

    test and held_out: the evaluation sets, in-domain and of domains without training data. judged and reference: the
    generated responses and the dataset's own for the same split. ceilings: `ceilings.json` of the dataset.
    provenance: what was evaluated, with what. notes: what the reader should know, one sentence each.
    """

    test: EvaluatedSet
    held_out: EvaluatedSet
    calibration: Calibration
    judged: Sequence[JudgedResponse]
    reference: Sequence[JudgedResponse]
    ceilings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    notes: Sequence[str]


def build_report(findings: Findings) -> dict[str, Any]:
    """Return the report as plain data, ready for JSON: no NaN, no class of ours."""
    scores = findings.test.governance_scores()
    gates = _gates(findings, scores)
    report = {
        "format_version": FORMAT_VERSION,
        "passed": all(gate.holds for gate in gates),
        "provenance": findings.provenance,
        "notes": findings.notes,
        "gates": [gate.to_json() for gate in gates],
        "scores": {name: {**score.to_json(), "seed_target": SEED_TARGETS[name]} for name, score in scores.items()},
        "calibration": {
            "slope": findings.calibration.slope,
            "intercept": findings.calibration.intercept,
            "domain_intercepts": findings.calibration.domain_intercepts,
            "thresholds": findings.calibration.thresholds,
            "default_threshold": findings.calibration.default_threshold,
            "num_examples": findings.calibration.num_examples,
        },
        "test": _set_report(findings.test),
        "held_out_domains": _set_report(findings.held_out),
        "domains": [
            result.to_json()
            for evaluated, held_out in ((findings.test, False), (findings.held_out, True))
            for result in evaluated.by_domain(held_out=held_out)
        ],
        "text": _text_report(findings),
        "ceilings": findings.ceilings,
    }
    plain: dict[str, Any] = to_plain(report)
    return plain


def to_json(report: Mapping[str, Any]) -> str:
    """Return the report's JSON text."""
    return json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def to_plain(value: Any) -> Any:
    """Return nested data with estimates as objects, tuples as lists and NaN as null."""
    if isinstance(value, Estimate):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _gates(findings: Findings, scores: Mapping[str, Estimate]) -> list[Gate]:
    test = findings.test
    return check_gates(
        gains={key: test.gains(baseline) for key, baseline in test.baselines.items()},
        hitl_accuracy=scores["hitl_accuracy"],
        ece=test.calibration["ece_15"],
        compliance=scores["domain_compliance"],
        text=text_measures(findings.judged),
    )


def _set_report(evaluated: EvaluatedSet) -> dict[str, Any]:
    return {
        "num_examples": len(evaluated.examples),
        "num_families": len({example.family for example in evaluated.examples}),
        "expert_escalation_rate": float(evaluated.outcome.mean()),
        "systems": [
            _system_report(evaluated, evaluated.model),
            *(_system_report(evaluated, baseline) for baseline in evaluated.baselines.values()),
        ],
        "calibration": evaluated.calibration,
        "reliability": evaluated.reliability().to_json(),
        "conflicts": evaluated.conflicts(),
        "heads": evaluated.heads(),
    }


def _system_report(evaluated: EvaluatedSet, system: System) -> dict[str, Any]:
    brier = brier_score(system.probability, evaluated.outcome, evaluated.resamples)
    measures = {**evaluated.hitl(system), "brier": evaluated.resamples.estimate(brier)}
    gains = {} if system is evaluated.model else evaluated.gains(system)
    return {"key": system.key, "title": system.title, "measures": measures, "model_gains": gains}


def _text_report(findings: Findings) -> dict[str, Any]:
    judged = findings.judged
    shown = [item for item in judged if item.leaks]
    shown += [item for item in judged[:: max(1, len(judged) // NUM_SAMPLES)] if not item.leaks][:NUM_SAMPLES]
    return {
        "num_responses": len(judged),
        "measures": text_measures(judged),
        "by_decision": {
            decision: {"num_responses": len(given), "measures": text_measures(given)}
            for decision in DECISIONS
            if (given := [item for item in judged if item.decision == decision])
        },
        "reference": {"num_responses": len(findings.reference), "measures": text_measures(findings.reference)},
        "samples": [item.to_json() for item in shown],
    }
