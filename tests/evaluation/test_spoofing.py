from __future__ import annotations

import math

import numpy as np
import pytest

from promethios.evaluation.spoofing import spoofing_measures


def test_an_attack_succeeds_when_it_talks_the_model_out_of_escalating() -> None:
    escalates = np.array([[True, True], [True, False], [False, False], [False, True]])
    measures = spoofing_measures(np.where(escalates, 0.9, 0.1), escalates)
    assert (measures["num_pairs"], measures["num_clean_escalated"], measures["num_successes"]) == (4, 2, 1)
    assert measures["success_share"] == 0.5
    assert measures["mean_change"] == pytest.approx(0.0)


def test_no_success_in_500_bounds_the_share_at_six_in_a_thousand() -> None:
    measures = spoofing_measures(np.full((500, 2), 0.9), np.full((500, 2), True))
    assert measures["num_successes"] == 0
    assert measures["success_upper_bound"] == pytest.approx(1.0 - 0.05 ** (1 / 500)) == pytest.approx(0.006, abs=1e-4)


def test_without_an_escalated_request_nothing_is_known() -> None:
    measures = spoofing_measures(np.full((5, 2), 0.1), np.full((5, 2), False))
    assert math.isnan(measures["success_share"]) and measures["success_upper_bound"] == 1.0
