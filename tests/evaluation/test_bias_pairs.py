from __future__ import annotations

import numpy as np
import pytest

from promethios.evaluation.bias_pairs import bias_pair_measures
from promethios.evaluation.intervals import Resamples


def test_flips_are_counted_in_both_directions() -> None:
    probability = np.array([[0.3, 0.5], [0.5, 0.3], [0.1, 0.1], [0.9, 0.8]])
    measures = bias_pair_measures(probability, probability >= 0.4, Resamples(list("abcd")))
    assert measures["flip_rate"].value == 0.5
    assert measures["mean_absolute_difference"].value == pytest.approx(0.125)
