"""The overall governance score: the plain mean of the four measures, as the seed asks for.

It hides what it averages; the gates therefore never use it. Its interval comes from the same resamples of whole
families, so that the dependence between the four measures is kept.
"""

from __future__ import annotations

import numpy as np

from promethios.evaluation.intervals import FloatArray


def overall_score(
    hitl: FloatArray, calibration: FloatArray, compliance: FloatArray, conflict: FloatArray
) -> FloatArray:
    """Return the mean of HITL accuracy, 1 - ECE-15, domain compliance and conflict accuracy, each [r]: [r].

    NaN where one of the four is.
    """
    return np.asarray(np.mean([hitl, calibration, compliance, conflict], axis=0))
