"""The certificate that ships beside the weights: up to which probability of escalation requests may be answered.

    risk(t) = P(the deployed rule at threshold t answers, and the expert would have taken the request)

`governance_certificate.json` holds, for every domain with calibration examples, the largest threshold whose risk stays
below the domain's `risk_limit` (ontology) with 95 % confidence; `certificate_fit` finds it. Serving escalates from
min(threshold of cost, certified threshold) on. The certificate belongs to exactly one set of weights and one
calibration, and says so by their hashes. Serving applies it, so this module is pure Python.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import Calibration, calibration_sha256
from promethios.evaluation.files import (
    SHA256,
    Rule,
    check_fields,
    is_count,
    is_probability,
    is_share,
    read_part,
    write_atomically,
)

FILE_NAME: Final = "governance_certificate.json"
FORMAT_VERSION: Final = 1

_SHOWN_HASH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCertificate:
    """What is certified in one domain.

    risk_limit: the promise. threshold: the largest certified one; 0 where none is, and everything escalates.
    num_examples: requests it was tested on; num_answered, num_missed: of them, how many it answers, and answers
    although the expert took them. risk_upper_bound: of P(answered and missed), at the certificate's confidence.
    auto_answered_share: num_answered / num_examples. crc_threshold: what conformal risk control would allow, which
    bounds the risk only on average over calibration samples; for comparison, never deployed.
    """

    risk_limit: float
    threshold: float
    num_examples: int
    num_answered: int
    num_missed: int
    risk_upper_bound: float
    auto_answered_share: float
    crc_threshold: float

    @property
    def is_certified(self) -> bool:
        """False where no threshold could be certified, so that every request escalates."""
        return self.threshold > 0.0


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Certified thresholds for one set of weights with one calibration.

    weights_sha256, calibration_sha256, dataset_sha256: what it was made for and on. confidence: of each domain's bound.
    domains: by name. default_threshold: for a request of any other domain or of none, the most careful of all.
    """

    weights_sha256: str
    calibration_sha256: str
    dataset_sha256: str
    confidence: float
    domains: Mapping[str, DomainCertificate]
    default_threshold: float

    def threshold(self, domain: str | None) -> float:
        """Return the certified threshold for requests that state this domain."""
        certified = self.domains.get(domain) if domain is not None else None
        return self.default_threshold if certified is None else certified.threshold

    def save(self, folder: Path) -> None:
        """Write `governance_certificate.json` into the model folder, whole or not at all."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        write_atomically(folder / FILE_NAME, json.dumps(content, indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path, calibration: Calibration) -> Certificate:
        """Read a model folder's certificate; `calibration` is the folder's own, loaded and so checked.

        Raises ModelFolderError when the certificate is missing, corrupt, or of other weights or another calibration.
        """
        path = folder / FILE_NAME
        content = read_part(path, {"format_version": FORMAT_VERSION}, _RULES)
        for name, fields in content["domains"].items():
            check_fields(f"{path}: domains.{name}", fields, _DOMAIN_RULES)
        domains = {name: DomainCertificate(**fields) for name, fields in content["domains"].items()}
        certificate = cls(**{**content, "domains": domains})
        for what, made_for, actual in (
            ("weights", certificate.weights_sha256, calibration.weights_sha256),
            ("calibration", certificate.calibration_sha256, calibration_sha256(folder)),
        ):
            if made_for != actual:
                raise ModelFolderError(
                    f"{path} certifies {what} {made_for[:_SHOWN_HASH]}, the folder holds {actual[:_SHOWN_HASH]}; "
                    f"run `promethios evaluate --model_path {folder}` to certify what is there"
                )
        return certificate


def certificate_sha256(folder: Path) -> str:
    """Return the SHA-256 of a folder's certificate file."""
    return hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()


def deployed_threshold(calibration: Calibration, certificate: Certificate, domain: str | None) -> float:
    """Return the probability from which a request of this domain is escalated: the cost's or the certified one."""
    return min(calibration.threshold(domain), certificate.threshold(domain))


_COUNT: Final[Rule] = (is_count, "a whole number, 0 or more")
_SHARE: Final[Rule] = (is_share, "a number from 0 to 1")
_PROBABILITY: Final[Rule] = (is_probability, "a probability above 0 and below 1")
_RULES: Final[Mapping[str, Rule]] = {
    "weights_sha256": SHA256,
    "calibration_sha256": SHA256,
    "dataset_sha256": SHA256,
    "confidence": _PROBABILITY,
    "domains": (lambda value: isinstance(value, dict), "an object, one entry a domain"),
    "default_threshold": _SHARE,
}
_DOMAIN_RULES: Final[Mapping[str, Rule]] = {
    "risk_limit": _PROBABILITY,
    "threshold": _SHARE,
    "num_examples": _COUNT,
    "num_answered": _COUNT,
    "num_missed": _COUNT,
    "risk_upper_bound": _SHARE,
    "auto_answered_share": _SHARE,
    "crc_threshold": _SHARE,
}
