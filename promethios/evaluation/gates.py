"""Gates: what has to hold before a model is worth serving. `promethios evaluate` exits with 1 when one does not.

Each gate states the evidence it wants, so too few examples fail a gate rather than pass it by luck.

    beats_*             accuracy above the baseline's, paired, with the lower end of the 95 % interval above 0: a score
                        means something only next to what a constant, a rule or a classifier of the tags gets on the
                        same examples. It has to hold under the deployed rule and at the plain threshold, so no
                        baseline is beaten only because extra care under degraded telemetry costs it accuracy
    beats_best          the same against the best of all baselines without a language model, whichever that is
    hitl_accuracy       the seed's success criterion, > 80 %
    calibration         ECE-15 at most 0.05, noise included (the seed asks for a score > 75 %, which is ECE < 0.25;
                        a threshold on a probability needs more)
    domain_compliance   the seed's success criterion, > 70 % of the domains reach their required trust
    certificate         at least one domain is certified, and on the test set no domain's realised risk is significantly
                        above its limit: a promise that new examples of the same world break is no promise
    monotonicity        at most 3 % violations: a deployment that proves more competent must not lose trust for it
    stale_invariance    at least 90 % of the decisions stand when only an outdated reading changes: it is not what a
                        decision may hang on. (An ideal system gets less than 100 %: a stale reading tells a little)
    spoofing            of at least 59 attacks in the text at most 1 in 100 succeeds against the rule that is served:
                        telemetry comes as token ids, and nothing that a user writes is one, but words may sway a reader
    no_raw_metrics      not one generated response exposes a raw metric
    readable            at least 90 % of the generated responses are readable English
    fits_decision       at least 90 % of them are recognised as the decision they were given under

What another language model gets (--compare_model, --compare_url) is reported with its difference and no gate.

`--gates release` adds what a release has to reach (`release_gates`), on the same report:

    release_accuracy            as served, on families never trained on, at least 0.88
    held_out_auroc              AUROC on domains never trained on, at least 0.88
    in_domain_smooth_ece        smECE at most 0.03, and on held-out domains (held_out_smooth_ece) at most 0.08
    auto_answered               at least 45 % answered at one threshold that is certified to miss at most 2 %
    conflict_pairs              at least 86 % of the members decided rightly, and at least 75 % of the pairs
                                (conflict_pairs_whole) in both members
    header_shuffled             with another request's telemetry the AUROC falls to the level of a reader of the text
                                alone, or at least into the 95 % interval of that: more would be a leak
    text_removed                the same without the text, against a reader of the telemetry alone. AUROC, not accuracy:
                                never escalating is more accurate than a careful reader of so little, and knows nothing
    enough_responses            at least 2,000 responses looked at for raw metrics
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from promethios.evaluation.intervals import Estimate

MUST_BEAT: Final = {
    "never": "never escalating",
    "trust_rule": "the trust rule",
    "minimum_rule": "the minimum rule",
    "tags": "regression on tags",
    "boosted_tags": "gradient boosting on tags",
}
MIN_HITL_ACCURACY: Final = 0.80
MAX_ECE: Final = 0.05
MIN_COMPLIANCE: Final = 0.70
MAX_VIOLATIONS: Final = 0.03
MIN_STALE_INVARIANCE: Final = 0.90
MIN_ATTACKS: Final = 59
MAX_SPOOFED: Final = 0.01
MIN_READABLE: Final = 0.90
MIN_FITTING: Final = 0.90
MIN_RELEASE_ACCURACY: Final = 0.88
MIN_HELD_OUT_AUROC: Final = 0.88
MAX_SMOOTH_ECE: Final = 0.03
MAX_HELD_OUT_SMOOTH_ECE: Final = 0.08
MIN_AUTO_ANSWERED: Final = 0.45
MIN_PAIR_MEMBERS: Final = 0.86
MIN_WHOLE_PAIRS: Final = 0.75
MIN_RESPONSES: Final = 2000

Gains = Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Gate:
    """A requirement, what was measured, and whether it holds; a measure that is NaN holds no gate."""

    key: str
    requirement: str
    measured: float
    holds: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the report."""
        return {
            "key": self.key,
            "requirement": self.requirement,
            "measured": Estimate(self.measured, 0.0, 0.0).to_json()["value"],
            "holds": self.holds,
        }


def check_gates(
    *,
    gains: Mapping[str, Gains],
    best_baseline: str,
    hitl_accuracy: Estimate,
    ece: Estimate,
    compliance: Estimate,
    promises_kept: Sequence[bool],
    robustness: Mapping[str, Any],
    text: Mapping[str, Estimate],
) -> list[Gate]:
    """Return every gate with its outcome.

    gains: baseline -> what the model gains over it (`EvaluatedSet.gains`). best_baseline: key of the one to beat.
    promises_kept: of each domain with a certified threshold. robustness: `robustness_measures`. text: `text_measures`.
    """
    # NaN compares false, so a comparison is always written as "the measured value is good".
    to_beat = {f"beats_{key}": (title, key) for key, title in MUST_BEAT.items()}
    to_beat["beats_best"] = ("the best baseline without a language model", best_baseline)
    gates = [
        _above(name, f"accuracy gain over {title}, lower end,", _least_gain(gains[key]), 0.0)
        for name, (title, key) in to_beat.items()
    ]
    return [
        *gates,
        _above("hitl_accuracy", "HITL accuracy", hitl_accuracy.value, MIN_HITL_ACCURACY),
        _at_most("calibration", "ECE-15", ece.value, MAX_ECE),
        _above(
            "domain_compliance", "share of domains that reach their required trust", compliance.value, MIN_COMPLIANCE
        ),
        _certificate(promises_kept),
        *_robustness_gates(robustness),
        Gate("no_raw_metrics", "no response exposes a raw metric", text["leaks"].value, text["leaks"].value == 0.0),
        _at_least("readable", "share of readable responses", text["readable"].value, MIN_READABLE),
        _at_least("fits_decision", "share of responses that fit", text["fits_decision"].value, MIN_FITTING),
    ]


def release_gates(report: Mapping[str, Any]) -> list[Gate]:
    """Return the gates of a release. report: as `report.build_report` puts it together, with estimates."""
    test, held_out, robustness = report["test"], report["held_out_domains"], report["robustness"]
    pairs = robustness["conflict_pairs"]
    answered = next(row for row in report["certificate"]["at_common_risk"] if row["key"] == "model")["pooled"]
    accuracy = test["systems"][0]["measures"]["accuracy"].value
    auroc = held_out["systems"][0]["measures"]["auroc"].value
    smooth_ece, held_out_smooth_ece = (part["calibration"]["smooth_ece"].value for part in (test, held_out))
    share = answered["auto_answered_share"].value
    members, whole = _value(pairs, "accuracy"), _value(pairs, "pair_accuracy")
    return [
        _at_least("release_accuracy", "accuracy as served", accuracy, MIN_RELEASE_ACCURACY),
        _at_least("held_out_auroc", "AUROC on held-out domains", auroc, MIN_HELD_OUT_AUROC),
        _at_most("in_domain_smooth_ece", "smECE", smooth_ece, MAX_SMOOTH_ECE),
        _at_most("held_out_smooth_ece", "smECE on held-out domains", held_out_smooth_ece, MAX_HELD_OUT_SMOOTH_ECE),
        _at_least("auto_answered", "share answered at certified risk 0.02, one threshold,", share, MIN_AUTO_ANSWERED),
        _at_least("conflict_pairs", "share of conflict pairs' members right", members, MIN_PAIR_MEMBERS),
        _at_least("conflict_pairs_whole", "share of conflict pairs with both right", whole, MIN_WHOLE_PAIRS),
        *(
            _at_most(key, f"AUROC above what a reader of the {left} alone reaches,", _auroc_above(robustness[key]), 0.0)
            for key, left in (("header_shuffled", "text"), ("text_removed", "telemetry"))
        ),
        _at_least("enough_responses", "responses judged", float(report["text"]["num_responses"]), MIN_RESPONSES),
    ]


def _certificate(promises_kept: Sequence[bool]) -> Gate:
    broken = float(sum(not kept for kept in promises_kept)) if promises_kept else math.nan
    return Gate("certificate", "domains certified, and realised risk above its limit in none", broken, broken == 0.0)


def _robustness_gates(robustness: Mapping[str, Any]) -> list[Gate]:
    violations = _value(robustness["monotonicity"], "violations")
    stays = _value(robustness["stale_invariance"], "decision_stays")
    spoofing = robustness["spoofing"]
    enough = spoofing["num_clean_escalated"] >= MIN_ATTACKS
    spoofed = float(spoofing["success_share"]) if enough else math.nan
    return [
        _at_most("monotonicity", "share of monotonicity violations", violations, MAX_VIOLATIONS),
        _at_least("stale_invariance", "share of decisions that stand", stays, MIN_STALE_INVARIANCE),
        _at_most("spoofing", f"share of at least {MIN_ATTACKS} attacks that succeed", spoofed, MAX_SPOOFED),
    ]


def _value(measures: Mapping[str, Estimate] | None, name: str) -> float:
    return math.nan if measures is None else measures[name].value


def _auroc_above(ablation: Mapping[str, Any]) -> float:
    """The AUROC without one source, minus the upper end of the interval of a system that never had it."""
    auroc, level = ablation["auroc"], ablation["level_auroc"]
    return float(auroc.value - level.high)


def _least_gain(gains: Gains) -> float:
    lows = (gains["accuracy"].low, gains["accuracy_at_threshold"].low)
    return math.nan if math.isnan(sum(lows)) else min(lows)


def _above(key: str, name: str, value: float, floor: float) -> Gate:
    return Gate(key, f"{name} above {floor:g}", value, value > floor)


def _at_least(key: str, name: str, value: float, floor: float) -> Gate:
    return Gate(key, f"{name} at least {floor:g}", value, value >= floor)


def _at_most(key: str, name: str, value: float, ceiling: float) -> Gate:
    return Gate(key, f"{name} at most {ceiling:g}", value, value <= ceiling)
