"""The splits: sizes, and who shares what with whom."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from promethios.data.causes import TOOL_STATES
from promethios.data.example import BEHAVIOURS, Example
from promethios.data.families import families_for
from promethios.data.folder import SPLITS
from promethios.data.mixture import quotas
from promethios.data.splits import PLANS, draw_split, sizes_for
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.state import CHANNEL_BY_NAME, GovernanceState, stale_level

WITH_MIXTURE = [name for name, plan in PLANS.items() if not plan.pair_kinds and not plan.by_tool]
WITH_PAIRS = [name for name, plan in PLANS.items() if plan.pair_kinds]
WITH_CONFLICTS = [name for name, plan in PLANS.items() if "text_cue" in plan.pair_kinds]
INTERVALS = {"trust": (0.60, 0.66), "verify": (0.70, 0.76), "bound": (0.50, 0.56)}


def in_held_out_interval(state: GovernanceState | None) -> bool:
    for name, (low, high) in INTERVALS.items():
        reading = getattr(state, name, None)
        if reading is not None and low <= reading.value <= high and not stale_level(CHANNEL_BY_NAME[name], reading):
            return True
    return False


def test_a_full_dataset_has_the_sizes_of_the_design(dataset: Mapping[str, list[Example]]) -> None:
    assert {name: len(examples) for name, examples in dataset.items()} == {
        "train": 10_000,
        "validation": 1_000,
        "calibration": 8_000,
        "test": 2_000,
        "test_held_out_domains": 1_000,
        "test_held_out_values": 1_000,
        "test_held_out_wording": 1_000,
        "conflict_pairs": 2_000,
        "spoof_pairs": 1_000,
        "bias_pairs": 1_200,
        "tool_use": 600,
        "train_pairs": 2_000,
        "train_contrasts": 3_200,
    }


def test_with_fewer_training_examples_the_rest_shrinks_and_with_more_only_the_pairs_to_train_on_grow() -> None:
    full, small, large, tiny = (sizes_for(count) for count in (10_000, 2_000, 50_000, 10))
    assert small == {**{name: size // 5 for name, size in full.items()}, "train": 2_000}
    assert large == {**full, "train": 50_000, "train_pairs": 2_500, "train_contrasts": 8_000}
    assert tiny == {name: plan.least * (8 if plan.per_domain else 1) for name, plan in PLANS.items()}


@pytest.mark.parametrize("split", WITH_MIXTURE)
def test_every_split_has_exact_quotas_in_every_domain(dataset: Mapping[str, list[Example]], split: str) -> None:
    examples = dataset[split]
    found = Counter(example.behaviour for example in examples)
    assert tuple(found[behaviour] for behaviour in BEHAVIOURS) == quotas(len(examples))
    cells = Counter((example.domain, example.behaviour) for example in examples)
    for behaviour in BEHAVIOURS:
        assert np.ptp([cells[domain, behaviour] for domain in {example.domain for example in examples}]) <= 1


def test_every_domain_has_a_thousand_examples_to_be_certified_with(dataset: Mapping[str, list[Example]]) -> None:
    domains = {family.domain for family in families_for("train")}
    assert Counter(example.domain for example in dataset["calibration"]) == dict.fromkeys(domains, 1_000)


def test_each_tool_state_has_a_third_of_the_tool_set(dataset: Mapping[str, list[Example]]) -> None:
    found = Counter(example.tool_state for example in dataset["tool_use"])
    assert found == dict.fromkeys(TOOL_STATES[1:], 200)
    for example in dataset["tool_use"]:
        assert example.tool == (example.tool_state in ("needed", "unreliable"))
        roles = [message["role"] for message in example.request]
        assert ("tool" in roles) == (example.tool_state in ("fine", "unreliable"))


def test_evaluation_splits_share_families_and_no_item() -> None:
    for family in families_for("evaluation"):
        shares = [PLANS[split].items_of(family) for split in ("validation", "calibration", "test")]
        assert all(shares)
        assert sorted(item for share in shares for item in share) == sorted(family.items)


def test_only_training_is_kept_from_the_held_out_values(dataset: Mapping[str, list[Example]]) -> None:
    share = {
        split: np.mean([in_held_out_interval(example.state) for example in examples])
        for split, examples in dataset.items()
    }
    assert share.pop("train") == share.pop("train_pairs") == share.pop("train_contrasts") == 0.0
    assert share.pop("test_held_out_values") == 1.0
    assert all(0.05 < each < 0.5 for each in share.values()), share


@pytest.mark.parametrize("split", WITH_PAIRS)
def test_pairs_are_complete_and_as_many_of_each_kind(dataset: Mapping[str, list[Example]], split: str) -> None:
    members: dict[str, list[Example]] = {}
    for example in dataset[split]:
        assert example.pair is not None
        members.setdefault(example.pair.id, []).append(example)
    kinds = Counter()
    for twins in members.values():
        first, second = (example.pair for example in twins)
        assert first is not None
        assert second is not None
        assert (first.member, second.member) == ("a", "b")
        assert first.kind == second.kind
        kinds[first.kind] += 1
    plan = PLANS[split]
    assert kinds == dict.fromkeys(plan.pair_kinds, plan.size // len(plan.pair_kinds))


def test_no_other_split_has_pairs(dataset: Mapping[str, list[Example]]) -> None:
    for split in set(SPLITS) - set(WITH_PAIRS):
        assert all(example.pair is None for example in dataset[split])


def twins_of(dataset: Mapping[str, list[Example]], split: str, kind: str) -> list[tuple[Example, Example]]:
    members = [example for example in dataset[split] if example.pair is not None and example.pair.kind == kind]
    return list(zip(members[::2], members[1::2], strict=True))


@pytest.mark.parametrize("split", WITH_CONFLICTS)
def test_stale_twins_say_the_same_and_decide_differently(dataset: Mapping[str, list[Example]], split: str) -> None:
    for first, second in twins_of(dataset, split, "stale_channel"):
        assert first.request == second.request
        assert (first.decision == "escalate") != (second.decision == "escalate")
        assert first.state is not None
        assert second.state is not None
        assert {c.name: r and r.value for c, r in first.state} == {c.name: r and r.value for c, r in second.state}


@pytest.mark.parametrize("split", WITH_CONFLICTS)
def test_cue_twins_differ_in_what_is_said_about_one_cause_and_decide_differently(
    dataset: Mapping[str, list[Example]], split: str
) -> None:
    changed: Counter[int] = Counter()
    for first, second in twins_of(dataset, split, "text_cue"):
        assert first.state == second.state
        assert first.header_domain == second.header_domain
        assert first.decision == "escalate" != second.decision
        assert sum(a != b for a, b in zip(first.uncertainty, second.uncertainty, strict=True)) == 1
        assert max(first.bias) == max(second.bias)
        one, other = (re.split(r"(?<=[.?!]) ", example.prompt) for example in (first, second))
        changed[len([sentence for sentence in one if sentence not in other])] += 1
    # A few cues take two sentences; a group, stakes or affect that differed as well would make it more.
    assert set(changed) <= {1, 2}
    assert changed[1] > 0.8 * changed.total()


@pytest.mark.parametrize("split", ["spoof_pairs", "train_pairs"])
def test_attacks_are_added_and_change_no_label(dataset: Mapping[str, list[Example]], split: str) -> None:
    for first, second in twins_of(dataset, split, "spoof"):
        assert first.state == second.state
        assert first.soft_label == second.soft_label
        assert first.prompt in second.prompt
        assert len(second.prompt) > len(first.prompt)
        shown, shown_attacked = ([item.shows for item in twin.evidence] for twin in (first, second))
        assert sorted(shown_attacked) == sorted([*shown, "nothing"])
        for item in first.evidence:
            said = first.messages[item.message]["content"][: item.end]
            assert any(
                other.shows == item.shows and second.messages[other.message]["content"][: other.end].endswith(said)
                for other in second.evidence
            )
        if split == "spoof_pairs":
            assert first.decision == second.decision == "escalate"


@pytest.mark.parametrize("split", ["bias_pairs", "train_pairs"])
def test_another_group_changes_the_words_and_no_label(dataset: Mapping[str, list[Example]], split: str) -> None:
    for first, second in twins_of(dataset, split, "bias"):
        assert first.prompt != second.prompt
        assert max(first.bias) > 0.5
        for name in ("state", "soft_label", "decision", "escalate", "bias", "uncertainty", "norms", "family"):
            assert getattr(first, name) == getattr(second, name)


def test_members_of_a_part_have_the_same_length(ontology: Ontology) -> None:
    parts = list(draw_split("train_pairs", 3, 41, ontology))
    assert [(part.kind, len(part.members[0]), len(part.members[1])) for part in parts] == [
        ("spoof", 21, 21),
        ("bias", 20, 20),
    ]
