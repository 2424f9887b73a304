"""The evaluation report as data: what `evaluation_report.json` holds. Its schema is in README.md beside this file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.certificate_report import certificate_notes, certificate_report, promises
from promethios.evaluation.certified_answers import Certification, KeptPromise
from promethios.evaluation.confidence_calibration import brier_score
from promethios.evaluation.decisions import System
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.gates import Gate, check_gates, release_gates
from promethios.evaluation.intervals import Estimate, FloatArray, clopper_pearson_upper
from promethios.evaluation.risk_coverage import risk_coverage_curves
from promethios.evaluation.self_questioning import self_questioning_note
from promethios.evaluation.text_quality import JudgedResponse, linguistic_calibration, text_measures
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS

FORMAT_VERSION: Final = 2
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

    sets: the test sets by name, among them `test` (in-domain) and `held_out_domains`. certification: what certificates
    are made from; certified_on: each comparable system's P(escalate) there, by key. robustness: `robustness_measures`.
    judged and reference: the generated responses and the dataset's own for the same split. ceilings: `ceilings.json` of
    the dataset. provenance: what was evaluated, with what. notes: what the reader should know, one sentence each.
    domain_probe: `domain_probe_measures`, of a model with a probe. self_questioning: `self_questioning_measures`, when
    it was asked for. release: whether the gates of a release have to hold too.
    """

    sets: Mapping[str, EvaluatedSet]
    calibration: Calibration
    certificate: Certificate
    certification: Certification
    certified_on: Mapping[str, FloatArray]
    robustness: Mapping[str, Any]
    judged: Sequence[JudgedResponse]
    reference: Sequence[JudgedResponse]
    ceilings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    notes: Sequence[str]
    domain_probe: dict[str, Any] | None = None
    self_questioning: dict[str, Any] | None = None
    release: bool = False

    @property
    def test(self) -> EvaluatedSet:
        """The in-domain test set."""
        return self.sets["test"]


def build_report(findings: Findings) -> dict[str, Any]:
    """Return the report as plain data, ready for JSON: no NaN, no class of ours."""
    scores = findings.test.governance_scores()
    kept = promises(findings.test, findings.calibration, findings.certificate)
    report: dict[str, Any] = {
        "provenance": findings.provenance,
        "notes": [
            *findings.notes,
            *certificate_notes(findings.certificate),
            *([self_questioning_note(findings.self_questioning)] if findings.self_questioning else []),
        ],
        "scores": {name: {**score.to_json(), "seed_target": SEED_TARGETS[name]} for name, score in scores.items()},
        "calibration": {
            "slope": findings.calibration.slope,
            "intercept": findings.calibration.intercept,
            "domain_intercepts": findings.calibration.domain_intercepts,
            "thresholds": findings.calibration.thresholds,
            "default_threshold": findings.calibration.default_threshold,
            "num_examples": findings.calibration.num_examples,
            "domain_probe_level": findings.calibration.domain_probe_level,
        },
        "certificate": certificate_report(
            findings.certificate,
            findings.calibration,
            findings.sets,
            kept,
            certification=findings.certification,
            certified_on=findings.certified_on,
        ),
        **{name: _set_report(evaluated) for name, evaluated in findings.sets.items()},
        "domains": [
            result.to_json()
            for name, held_out in (("test", False), ("held_out_domains", True))
            for result in findings.sets[name].by_domain(held_out=held_out)
        ],
        "robustness": findings.robustness,
        "domain_probe": findings.domain_probe,
        "text": _text_report(findings),
        "self_questioning": findings.self_questioning,
        "ceilings": findings.ceilings,
    }
    gates = [*_gates(findings, scores, kept), *(release_gates(report) if findings.release else [])]
    plain: dict[str, Any] = to_plain(
        {
            "format_version": FORMAT_VERSION,
            "passed": all(gate.holds for gate in gates),
            "gates": [gate.to_json() for gate in gates],
            **report,
        }
    )
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


def _gates(findings: Findings, scores: Mapping[str, Estimate], kept: Mapping[str, KeptPromise]) -> list[Gate]:
    test = findings.test
    return check_gates(
        gains={key: test.gains(baseline) for key, baseline in test.baselines.items()},
        best_baseline=test.best_baseline.key,
        hitl_accuracy=scores["hitl_accuracy"],
        ece=test.calibration["ece_15"],
        compliance=scores["domain_compliance"],
        promises_kept=[promise.holds for promise in kept.values()],
        robustness=findings.robustness,
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
        "risk_coverage": risk_coverage_curves(evaluated),
        "conflicts": evaluated.conflicts(),
        "heads": evaluated.heads(),
    }


def _system_report(evaluated: EvaluatedSet, system: System) -> dict[str, Any]:
    brier = brier_score(system.probability, evaluated.outcome, evaluated.resamples)
    measures = {**evaluated.hitl(system), "brier": evaluated.resamples.estimate(brier)}
    gains = {} if system is evaluated.model else evaluated.gains(system)
    return {
        "key": system.key,
        "title": system.title,
        "kind": system.kind,
        "settings": system.settings,
        "measures": measures,
        "model_gains": gains,
    }


def _text_report(findings: Findings) -> dict[str, Any]:
    judged = findings.judged
    shown = [item for item in judged if item.leaks]
    shown += [item for item in judged[:: max(1, len(judged) // NUM_SAMPLES)] if not item.leaks][:NUM_SAMPLES]
    return {
        "num_responses": len(judged),
        "measures": text_measures(judged),
        "linguistic_calibration": linguistic_calibration(judged),
        "leak_upper_bound": float(clopper_pearson_upper(sum(bool(item.leaks) for item in judged), len(judged))),
        "by_decision": _text_by(DECISIONS, lambda item: item.decision, judged),
        "by_domain": _text_by(load_ontology().domains, lambda item: item.example.domain, judged),
        "reference": {"num_responses": len(findings.reference), "measures": text_measures(findings.reference)},
        "samples": [item.to_json() for item in shown],
    }


def _text_by(
    names: Iterable[str], name_of: Callable[[JudgedResponse], str | None], judged: Sequence[JudgedResponse]
) -> dict[str, Any]:
    groups = {name: [item for item in judged if name_of(item) == name] for name in names}
    return {
        name: {"num_responses": len(group), "measures": text_measures(group)} for name, group in groups.items() if group
    }
