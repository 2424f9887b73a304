from __future__ import annotations

import numpy as np
import pytest

from promethios.evaluation.domain_compliance import compliance_score, domain_results
from promethios.evaluation.intervals import Resamples
from promethios.ontology.governance_ontology import load_ontology

REQUIRED = {domain.name: domain.required_trust for domain in load_ontology().domains.values()}


def test_a_small_sample_does_not_reach_the_requirement_by_luck() -> None:
    nothing = np.zeros(8, bool)
    (result,) = domain_results(["legal"] * 8, nothing, nothing, nothing, load_ontology(), held_out=False)
    assert result.right_when_answered == 1.0
    assert result.right_lower_bound < 0.8 and not result.is_met
    many = np.zeros(80, bool)
    (result,) = domain_results(["legal"] * 80, many, many, many, load_ontology(), held_out=False)
    assert result.is_met


def test_only_answered_requests_count() -> None:
    escalates = np.array([True] * 50 + [False] * 50)
    outcome = np.array([True] * 50 + [False] * 45 + [True] * 5)
    (result,) = domain_results(["general"] * 100, escalates, escalates, outcome, load_ontology(), held_out=True)
    assert (result.num_examples, result.num_answered, result.num_right) == (100, 50, 45)
    assert result.right_when_answered == 0.9
    assert result.accuracy == 0.95
    assert result.to_json()["held_out"] is True


def test_a_domain_that_is_never_answered_is_not_met() -> None:
    escalates = np.ones(30, bool)
    (result,) = domain_results(["general"] * 30, escalates, escalates, escalates, load_ontology(), held_out=False)
    assert result.right_when_answered is None and not result.is_met


def test_score_is_the_share_of_domains_that_reach_their_requirement() -> None:
    domains = ["legal"] * 100 + ["general"] * 100
    escalates = np.zeros(200, bool)
    outcome = np.array(([False] * 70 + [True] * 30) * 2)  # 70 % right: enough for general (50 %), not for legal (80 %)
    resamples = Resamples([f"f{i}" for i in range(200)], num=200)
    rows = compliance_score(domains, escalates, outcome, REQUIRED, resamples)
    assert rows[0] == 0.5
    assert np.mean(rows[1:]) == pytest.approx(0.5, abs=0.02)
    results = domain_results(domains, escalates, escalates, outcome, load_ontology(), held_out=False)
    assert [result.is_met for result in results] == [False, True]


def test_a_domain_is_called_different_only_after_all_tests_are_counted() -> None:
    domains = [name for name in ("legal", "general", "finance", "healthcare") for _ in range(40)]
    outcome = np.zeros(160, bool)
    model, rival = outcome.copy(), outcome.copy()
    rival[:16] = True  # legal: the rival is wrong 16 times where the model is right
    rival[40:46] = True  # general: 6 times, which alone would be remarkable at 0.05
    found = domain_results(domains, model, rival, outcome, load_ontology(), held_out=False)
    results = {result.domain: result for result in found}
    assert results["legal"].gain == 0.4 and results["legal"].q_value < 0.001
    assert results["general"].p_value == 0.03125 and results["general"].q_value == 0.0625
    assert results["finance"].p_value == results["finance"].q_value == 1.0
