"""Gates: what has to hold before a model is worth serving. `promethios evaluate` exits with 1 when one does not.

Each gate states the evidence it wants, so too few examples fail a gate rather than pass it by luck.

    beats_*             accuracy above the baseline's, paired, with the lower end of the 95 % interval above 0: a score
                        means something only next to what a constant, a rule or a linear model gets on the same
                        examples. It has to hold under the deployed rule and at the plain threshold, so no baseline is
                        beaten only because extra care under degraded telemetry costs it accuracy
    hitl_accuracy       the seed's success criterion, > 80 %
    calibration         ECE-15 at most 0.05, noise included (the seed asks for a score > 75 %, which is ECE < 0.25;
                        a threshold on a probability needs more)
    domain_compliance   the seed's success criterion, > 70 % of the domains reach their required trust
    no_raw_metrics      not one generated response exposes a raw metric
    readable            at least 90 % of the generated responses are readable English
    fits_decision       at least 90 % of them are recognised as the decision they were given under

TF-IDF on text + tags is reported with its difference and no gate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from promethios.evaluation.intervals import Estimate

MUST_BEAT: Final = {
    "never": "never escalating",
    "trust_rule": "the trust rule",
    "minimum_rule": "the minimum rule",
    "tags": "regression on tags",
}
MIN_HITL_ACCURACY: Final = 0.80
MAX_ECE: Final = 0.05
MIN_COMPLIANCE: Final = 0.70
MIN_READABLE: Final = 0.90
MIN_FITTING: Final = 0.90


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
    gains: Mapping[str, Mapping[str, Estimate]],
    hitl_accuracy: Estimate,
    ece: Estimate,
    compliance: Estimate,
    text: Mapping[str, Estimate],
) -> list[Gate]:
    """Return every gate with its outcome.

    gains: baseline -> what the model gains over it (`EvaluatedSet.gains`). text: shares of `text_measures`.
    """
    # NaN compares false, so a comparison is always written as "the measured value is good".
    gates = [
        _above(f"beats_{key}", f"accuracy gain over {title}, lower end,", _least_gain(gains[key]), 0.0)
        for key, title in MUST_BEAT.items()
    ]
    gates += [
        _above("hitl_accuracy", "HITL accuracy", hitl_accuracy.value, MIN_HITL_ACCURACY),
        Gate("calibration", f"ECE-15 at most {MAX_ECE}", ece.value, ece.value <= MAX_ECE),
        _above(
            "domain_compliance", "share of domains that reach their required trust", compliance.value, MIN_COMPLIANCE
        ),
        Gate("no_raw_metrics", "no response exposes a raw metric", text["leaks"].value, text["leaks"].value == 0.0),
        _at_least("readable", "share of readable responses", text["readable"].value, MIN_READABLE),
        _at_least("fits_decision", "share of responses that fit", text["fits_decision"].value, MIN_FITTING),
    ]
    return gates


def _least_gain(gains: Mapping[str, Estimate]) -> float:
    lows = (gains["accuracy"].low, gains["accuracy_at_threshold"].low)
    return math.nan if math.isnan(sum(lows)) else min(lows)


def _above(key: str, name: str, value: float, floor: float) -> Gate:
    return Gate(key, f"{name} above {floor:g}", value, value > floor)


def _at_least(key: str, name: str, value: float, floor: float) -> Gate:
    return Gate(key, f"{name} at least {floor:g}", value, value >= floor)
