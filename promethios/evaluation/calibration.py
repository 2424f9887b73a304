"""The calibration that ships beside the weights: raw governance scores in, calibrated probabilities out.

    escalation log-odds  l = z_escalate - logsumexp(z_answer, z_caveat, z_clarify)
    P(escalate)            = sigmoid(slope * l + intercept + intercept of the domain)
    the other three        share the rest as the model weighs them among themselves

`governance_calibration.json` holds the numbers and the hash of the weights that they belong to. Serving applies it,
so this module is pure Python: it needs neither numpy nor torch. `calibration_fit` fits it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from promethios.errors import ModelFolderError
from promethios.evaluation.files import (
    SHA256,
    Rule,
    is_count,
    is_number,
    is_probability,
    read_part,
    write_atomically,
)
from promethios.model.folder import weights_sha256
from promethios.ontology.decision import ESCALATE

FILE_NAME: Final = "governance_calibration.json"
FORMAT_VERSION: Final = 1
METHOD: Final = "platt-with-domain-intercepts"

_SHOWN_HASH = 12


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibrated probabilities and thresholds for one set of weights.

    slope (above 0), intercept: of the escalation log-odds. domain_intercepts: added to `intercept` where the domain was
    in the calibration data. thresholds: domain -> probability from which to escalate; default_threshold: for any other.
    domain_probe_level: probability from which the model's own guess of a request's domain holds; None: never.
    weights_sha256, dataset_sha256, num_examples: what it was fitted for and on.
    """

    weights_sha256: str
    dataset_sha256: str
    num_examples: int
    slope: float
    intercept: float
    domain_intercepts: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    default_threshold: float
    domain_probe_level: float | None = None

    def probabilities(self, scores: Sequence[float], domain: str | None) -> tuple[float, float, float, float]:
        """Return P(answer), P(caveat), P(clarify), P(escalate); they sum to 1.

        scores: the model's raw logits in SCORE_NAMES order; only the four decision logits at the front are read.
        domain: as the request states it; an unknown one and None use the parameters shared by all domains.
        """
        log_odds = self.slope * escalation_log_odds(scores) + self.intercept
        log_odds += self.domain_intercepts.get(domain, 0.0) if domain is not None else 0.0
        escalate = _sigmoid(log_odds)
        peak = max(scores[:ESCALATE])
        weights = [math.exp(score - peak) for score in scores[:ESCALATE]]
        share = _sigmoid(-log_odds) / sum(weights)
        return weights[0] * share, weights[1] * share, weights[2] * share, escalate

    def threshold(self, domain: str | None) -> float:
        """Return the probability from which a request of this domain is escalated."""
        return self.thresholds.get(domain, self.default_threshold) if domain is not None else self.default_threshold

    def probed_domain(self, logits: Mapping[str, float]) -> str | None:
        """Return the domain that the model's probe names; None when it is not sure enough.

        logits: of the ontology's domains, up to a constant. Their softmax is compared with `domain_probe_level`.
        """
        peak = max(logits.values())
        likeliest = max(logits, key=logits.__getitem__)
        probability = 1.0 / sum(math.exp(logit - peak) for logit in logits.values())
        sure = self.domain_probe_level is not None and probability >= self.domain_probe_level
        return likeliest if sure else None

    def save(self, folder: Path) -> None:
        """Write `governance_calibration.json` into the model folder, whole or not at all."""
        content = {"format_version": FORMAT_VERSION, "method": METHOD, **asdict(self)}
        write_atomically(folder / FILE_NAME, json.dumps(content, indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read a model folder's calibration.

        Raises ModelFolderError when it is missing, corrupt, or of other weights than the folder's.
        """
        path = folder / FILE_NAME
        constants = {"format_version": FORMAT_VERSION, "method": METHOD}
        # Files from before there was a probe lack its level.
        calibration = cls(**read_part(path, constants, _RULES, {"domain_probe_level": None}))
        actual = weights_sha256(folder)
        if calibration.weights_sha256 != actual:
            raise ModelFolderError(
                f"{path} belongs to weights {calibration.weights_sha256[:_SHOWN_HASH]}, the folder holds "
                f"{actual[:_SHOWN_HASH]}; run `promethios evaluate --model_path {folder}` to calibrate these weights"
            )
        return calibration


def calibration_sha256(folder: Path) -> str:
    """Return the SHA-256 of the bytes of a model folder's calibration: what certificate and lineage are tied to."""
    return hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()


def escalation_log_odds(scores: Sequence[float]) -> float:
    """Return the raw log-odds of escalating against the other three decisions together."""
    others = scores[:ESCALATE]
    peak = max(others)
    return scores[ESCALATE] - peak - math.log(sum(math.exp(score - peak) for score in others))


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    odds = math.exp(x)
    return odds / (1.0 + odds)


_RULES: Final[Mapping[str, Rule]] = {
    "weights_sha256": SHA256,
    "dataset_sha256": SHA256,
    "num_examples": (lambda v: is_count(v) and v > 0, "a whole number above 0"),
    "slope": (lambda v: is_number(v) and v > 0, "a number above 0"),
    "intercept": (is_number, "a number"),
    "domain_intercepts": (lambda v: isinstance(v, dict) and all(map(is_number, v.values())), "an object of numbers"),
    "thresholds": (
        lambda v: isinstance(v, dict) and all(map(is_probability, v.values())),
        "an object of probabilities above 0 and below 1",
    ),
    "default_threshold": (is_probability, "a probability above 0 and below 1"),
    "domain_probe_level": (lambda v: v is None or is_probability(v), "a probability above 0 and below 1, or null"),
}
