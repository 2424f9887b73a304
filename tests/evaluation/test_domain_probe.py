from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.domain_probe import (
    LEVELS,
    domain_probe_line,
    domain_probe_measures,
    fitted_level,
    guesses,
)
from promethios.evaluation.report import to_plain
from promethios.ontology.governance_ontology import load_ontology

DOMAINS = load_ontology().domains


def requests(*domains: str) -> list[Example]:
    """One request of each of these domains; every third is of the same family."""
    empty = Example(id="0", messages=(), state=None, header_domain=None)
    return [
        replace(empty, id=str(index), domain=name, family=f"family-{index % 3}") for index, name in enumerate(domains)
    ]


def logits(*stated: tuple[str, float]) -> np.ndarray:
    """The probe's logits of requests: in each, this domain has this probability and the others share the rest."""
    rows = np.full((len(stated), 32), 50.0, np.float32)  # free slots, which must not count
    for row, (name, probability) in zip(rows, stated, strict=True):
        for domain in DOMAINS.values():
            share = probability if domain.name == name else (1.0 - probability) / (len(DOMAINS) - 1)
            row[domain.slot] = np.log(share)
    return rows


def test_the_likeliest_domain_of_the_ontology_is_guessed_and_free_slots_do_not_count() -> None:
    names, probability = guesses(logits(("legal", 0.9), ("hr", 0.4)))
    assert names == ["legal", "hr"]
    assert probability == pytest.approx([0.9, 0.4], abs=1e-5)


@pytest.mark.parametrize("level", [0.5, 0.7, 0.89, 0.9, 0.91])
def test_serving_believes_exactly_what_the_evaluation_counts(level: float) -> None:
    calibration = Calibration(
        weights_sha256="a" * 64,
        dataset_sha256="b" * 64,
        num_examples=1,
        slope=1.0,
        intercept=0.0,
        default_threshold=0.4,
        domain_probe_level=level,
    )
    stated = logits(*(("legal", probability) for probability in (0.3, 0.6, 0.8, 0.895, 0.95)))
    names, probability = guesses(stated)
    for row, name, sure in zip(stated.tolist(), names, probability, strict=True):
        named = calibration.probed_domain({domain.name: row[domain.slot] for domain in DOMAINS.values()})
        assert named == (name if sure >= level else None)


def test_the_level_is_the_smallest_from_which_19_in_20_guesses_are_right() -> None:
    sure, unsure = [("legal", 0.9)] * 200, [("legal", 0.65)] * 200
    level = fitted_level(logits(*sure, *unsure), requests(*["legal"] * 300, *["finance"] * 100))
    assert level == 0.66, "from 0.65 on half of the unsure guesses, which are wrong, would hold"


def test_right_guesses_hold_down_to_one_half_and_no_further() -> None:
    assert fitted_level(logits(*[("legal", 0.99)] * 100, *[("hr", 0.4)] * 50), requests(*["legal"] * 150)) == LEVELS[-1]


def test_levels_that_no_outcome_could_pass_are_no_test() -> None:
    stated = logits(*[("legal", 0.985)] * 20, *[("legal", 0.8)] * 80)
    assert fitted_level(stated, requests(*["legal"] * 100)) == LEVELS[-1]


@pytest.mark.parametrize(
    ("right", "wrong"), [(58, 0), (100, 6)], ids=["too few examples", "too many mistakes for 95 % confidence"]
)
def test_without_evidence_no_guess_ever_holds(right: int, wrong: int) -> None:
    stated = logits(*[("legal", 0.995)] * (right + wrong))
    assert fitted_level(stated, requests(*["legal"] * right, *["finance"] * wrong)) is None


def test_a_model_without_a_probe_has_no_level() -> None:
    assert fitted_level(None, requests("legal")) is None


def test_what_holds_is_counted_apart_from_what_is_guessed() -> None:
    known = [("legal", 0.9), ("legal", 0.9), ("hr", 0.9), ("hr", 0.6)]
    sets = {"test": requests("legal", "legal", "finance", "hr"), "held_out_domains": requests(*["insurance"] * 4)}
    report = domain_probe_measures({"test": logits(*known), "held_out_domains": logits(*known)}, sets, 0.8, seed=0)
    test, new = report["sets"]["test"], report["sets"]["held_out_domains"]
    assert (test["num_examples"], test["accuracy"].value, test["held"].value) == (4, 0.75, 0.75)
    assert test["right_when_held"].value == pytest.approx(2 / 3)
    assert (new["held"].value, new["right_when_held"].value) == (0.75, 0.0)


def test_the_report_says_what_came_of_it_in_words() -> None:
    sets = {"test": requests("legal", "hr", "hr"), "held_out_domains": requests(*["insurance"] * 3)}
    stated = {"test": logits(*[("hr", 0.9)] * 3), "held_out_domains": logits(*[("hr", 0.6)] * 3)}
    line = domain_probe_line(to_plain(domain_probe_measures(stated, sets, 0.8, seed=0)))
    assert "guessed right in 66.7%" in line and "from probability 0.80 on" in line and "0.0% are taken" in line
    assert "never believed" in domain_probe_line(to_plain(domain_probe_measures(stated, sets, None, seed=0)))
    assert "no domain probe" in domain_probe_line(None)
