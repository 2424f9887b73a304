"""Fits the calibration: Platt scaling of the escalation log-odds, plus one shrunken intercept per domain.

The target is what the expert really did on the calibration split, which is used for nothing else. Log loss is convex in
all parameters; Gaussian priors keep it bounded (a separable sample would send the slope to infinity) and pull a domain
with little evidence towards the shared intercept. Minimised by Newton's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from promethios.evaluation.intervals import BoolArray, FloatArray

DOMAIN_PRIOR_SD: Final = 0.3
"""Domains are expected to differ by about this much in log-odds; more needs evidence."""
SLOPE_PRIOR: Final = (1.0, 10.0)
INTERCEPT_PRIOR: Final = (0.0, 10.0)
"""Mean and standard deviation: so wide that only a handful of examples would feel them."""
MIN_SLOPE: Final = 0.01
"""A score that does not rise with the expert's escalations gets this slope: almost the base rate, order kept."""

_MAX_STEPS: Final = 100
_TOLERANCE: Final = 1e-10


@dataclass(frozen=True, slots=True)
class FittedParameters:
    """Slope and intercept of the escalation log-odds and what each domain adds to the intercept."""

    slope: float
    intercept: float
    domain_intercepts: Mapping[str, float]


def fit_calibration(log_odds: FloatArray, escalated: BoolArray, domains: Sequence[str | None]) -> FittedParameters:
    """Fit slope, intercept and domain intercepts.

    log_odds: raw escalation log-odds [n] (`calibration.escalation_log_odds`). escalated: the expert's outcome [n].
    domains: as the request states it [n]; None for a request that states none.
    """
    names = sorted({domain for domain in domains if domain is not None})
    columns = [np.asarray([domain == name for domain in domains], np.float64) for name in names]
    design = np.stack([log_odds, np.ones(len(log_odds)), *columns], axis=1)
    mean = np.array([SLOPE_PRIOR[0], INTERCEPT_PRIOR[0], *[0.0] * len(names)])
    precision = np.array([SLOPE_PRIOR[1], INTERCEPT_PRIOR[1], *[DOMAIN_PRIOR_SD] * len(names)]) ** -2.0
    parameters = _fit_logistic(design, escalated.astype(np.float64), mean, precision)
    if parameters[0] < MIN_SLOPE:
        mean[0], precision[0] = MIN_SLOPE, 1e12
        parameters = _fit_logistic(design, escalated.astype(np.float64), mean, precision)
        parameters[0] = MIN_SLOPE
    slope, intercept, *offsets = (float(parameter) for parameter in parameters)
    return FittedParameters(slope, intercept, dict(zip(names, offsets, strict=True)))


def _fit_logistic(design: FloatArray, target: FloatArray, mean: FloatArray, precision: FloatArray) -> FloatArray:
    """Return the parameters of least log loss plus Gaussian penalty: Newton's method with step halving."""
    parameters = mean.copy()
    loss = _penalised_loss(design, target, mean, precision, parameters)
    for _ in range(_MAX_STEPS):
        probability = _sigmoid(design @ parameters)
        gradient = design.T @ (probability - target) + precision * (parameters - mean)
        hessian = design.T @ (design * (probability * (1.0 - probability))[:, None]) + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        proposal = parameters - step
        while (new_loss := _penalised_loss(design, target, mean, precision, proposal)) > loss:
            step /= 2.0
            proposal = parameters - step
            if np.abs(step).max() < _TOLERANCE:
                return parameters
        parameters, loss = proposal, new_loss
        if np.abs(step).max() < _TOLERANCE:
            return parameters
    return parameters


def _penalised_loss(
    design: FloatArray, target: FloatArray, mean: FloatArray, precision: FloatArray, parameters: FloatArray
) -> float:
    log_odds = design @ parameters
    log_loss = (np.logaddexp(0.0, log_odds) - target * log_odds).sum()
    return float(log_loss + 0.5 * (precision * (parameters - mean) ** 2).sum())


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))
