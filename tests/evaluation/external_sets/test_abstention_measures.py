from __future__ import annotations

import numpy as np
import pytest

from promethios.evaluation.external_sets.abstention_item import AbstentionItem, abstention_item
from promethios.evaluation.external_sets.abstention_measures import Abstentions


def item(index: int, abstain: bool, dataset: str, bias: tuple[str, ...] = ()) -> AbstentionItem:
    return abstention_item(
        item_id=str(index),
        question="Who was it?",
        abstain=abstain,
        dataset=dataset,
        scenario="false_premise" if dataset == "a" else "stale",
        domain="general",
        bias=bias,
    )


def abstentions(items: list[AbstentionItem], decisions: list[str]) -> Abstentions:
    order = ("answer", "caveat", "clarify", "escalate")
    probabilities = np.array([[0.7 if name == decided else 0.1 for name in order] for decided in decisions])
    scores = np.zeros((len(items), 18))
    scores[:, 11 + 3] = 1.0  # the strongest bias score is age
    return Abstentions(items, probabilities, decisions, scores, seed=0)


def test_asking_back_and_handing_over_are_abstentions_and_a_caveat_is_not() -> None:
    items = [item(0, True, "a"), item(1, True, "a"), item(2, True, "a"), item(3, False, "a")]
    found = abstentions(items, ["clarify", "escalate", "caveat", "escalate"]).report()["all"]
    assert found["precision"].value == pytest.approx(2 / 3)
    assert found["recall"].value == pytest.approx(2 / 3)
    assert found["f1"].value == pytest.approx(2 / 3)
    assert found["f1"].low <= found["f1"].value <= found["f1"].high
    assert found["f1_of_always_abstaining"] == pytest.approx(2 * 0.75 / 1.75)


def test_the_mean_f1_weighs_datasets_alike_and_scenarios_are_apart() -> None:
    items = [item(i, True, "a") for i in range(8)] + [item(8, True, "b"), item(9, False, "b")]
    report = abstentions(items, ["escalate"] * 8 + ["answer", "escalate"]).report()
    assert report["mean_f1"] == pytest.approx((1.0 + 0.0) / 2)
    assert set(report["scenarios"]) == {"false_premise", "stale"}
    assert report["datasets"]["a"]["num_items"] == 8
    assert report["bias"] is None


def test_the_auroc_is_of_asking_back_or_handing_over() -> None:
    found = abstentions([item(0, True, "a"), item(1, False, "a")], ["clarify", "caveat"]).report()["all"]
    assert found["auroc"].value == 1.0


def test_the_strongest_bias_score_is_compared_with_the_categories_of_the_question() -> None:
    items = [item(0, True, "a", ("age",)), item(1, True, "a", ("religion", "age")), item(2, True, "a", ("religion",))]
    bias = abstentions(items, ["escalate"] * 3).report()["bias"]
    assert bias["num_items"] == 3
    assert bias["strongest_is_right"].value == pytest.approx(2 / 3)


def test_a_single_item_has_values_and_no_intervals() -> None:
    found = abstentions([item(0, True, "a")], ["escalate"]).report()["all"]
    assert found["f1"].value == 1.0 and np.isnan(found["f1"].low)
