"""The tool probe: does the model know when a look-up is still to be made, or cannot be relied on?

A look-up is called for when it is needed and not made, or made with a result that cannot be relied on; it is not where
the result is sound. Measured as AUROC of the tool score, and per state as the share on the right side of one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.hitl_accuracy import auroc
from promethios.evaluation.intervals import FloatArray, Resamples

CALLS_FOR_TOOL: Final = ("needed", "unreliable")


def tool_probe_measures(scores: FloatArray, examples: Sequence[Example], resamples: Resamples) -> dict[str, Any]:
    """Return the AUROC and each state's accuracy. scores: raw, [n, 18], the tool's last."""
    probability = 0.5 * (1.0 + np.tanh(0.5 * scores[:, -1].astype(np.float64)))
    states = np.array([example.tool_state or "" for example in examples])
    calls = np.isin(states, CALLS_FOR_TOOL)
    right = (probability >= 0.5) == calls
    return {
        "num_examples": len(examples),
        "auroc": resamples.estimate(auroc(probability, calls, resamples)),
        "accuracy": {
            state: resamples.estimate(resamples.mean(right, states == state)) for state in sorted(set(states.tolist()))
        },
    }
