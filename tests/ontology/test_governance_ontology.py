from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from promethios.errors import ConfigError
from promethios.ontology.governance_ontology import Ontology, load_ontology
from promethios.telemetry.header import DECISIONS, HeaderDomain

Change = Callable[[dict[str, Any]], None]
PLAIN: dict[str, Any] = yaml.safe_load(
    resources.files("promethios.ontology").joinpath("governance_ontology.yaml").read_text(encoding="utf-8")
)


def load_changed(folder: Path, change: Change) -> Ontology:
    """Load the packaged ontology after a change of its plain data."""
    data = copy.deepcopy(PLAIN)
    change(data)
    path = folder / "ontology.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return load_ontology(path)


def put(dotted: str, value: Any) -> Change:
    """Return a change that sets a dotted key."""
    *outer, last = dotted.split(".")

    def change(data: dict[str, Any]) -> None:
        for key in outer:
            data = data[key]
        data[last] = value

    return change


def drop(dotted: str) -> Change:
    """Return a change that removes a dotted key."""
    *outer, last = dotted.split(".")

    def change(data: dict[str, Any]) -> None:
        for key in outer:
            data = data[key]
        del data[last]

    return change


def places(data: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every value in plain data."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


PLACES = list(places(PLAIN))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60)
@given(st.sampled_from(PLACES), ANYTHING)
def test_whatever_stands_in_the_file_it_loads_or_is_refused_as_a_whole(place: tuple[Any, ...], value: Any) -> None:
    data = copy.deepcopy(PLAIN)
    inner: Any = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ontology.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        try:
            ontology = load_ontology(path)
        except ConfigError as error:
            assert str(error).startswith(str(path))
            return
    assert len(ontology.domains) == len(PLAIN["domains"])


def test_the_ten_domains_stand_with_their_slots_and_required_trust() -> None:
    assert {d.name: (d.slot, d.required_trust) for d in load_ontology().domains.values()} == {
        "healthcare": (0, 0.75),
        "legal": (1, 0.8),
        "finance": (2, 0.7),
        "general": (3, 0.5),
        "education": (4, 0.6),
        "hr": (5, 0.65),
        "cybersecurity": (6, 0.7),
        "insurance": (7, 0.7),
        "public_services": (8, 0.65),
        "customer_support": (9, 0.55),
    }


def test_health_and_law_carry_the_least_risk() -> None:
    strict = {"healthcare": 0.02, "legal": 0.02, "finance": 0.03}
    assert {d.name: d.risk_limit for d in load_ontology().domains.values()} == {
        name: strict.get(name, 0.05) for name in load_ontology().domains
    }


def test_every_domain_escalates_from_the_seeds_threshold_on() -> None:
    for domain in load_ontology().domains.values():
        assert domain.escalation_threshold == pytest.approx(0.4), domain.name


def test_the_scores_have_their_names_in_order() -> None:
    ontology = load_ontology()
    assert [category.id for category in ontology.bias_categories] == [
        "gender_orientation", "race_nationality", "religion", "age", "disability_appearance", "socioeconomic",
    ]  # fmt: skip
    assert [dimension.id for dimension in ontology.uncertainty_dimensions] == [
        "unknown_answer", "false_premise", "stale", "subjective", "underspecified_context", "underspecified_intent",
    ]  # fmt: skip


def test_each_framework_stands_on_at_least_four_principles_with_norms() -> None:
    ontology = load_ontology()
    for framework in ontology.frameworks:
        assert sum(p.framework == framework for p in ontology.principles.values()) >= 4
        assert any(norm.framework == framework for norm in ontology.norms.values())


def test_every_sentence_is_a_sentence() -> None:
    ontology = load_ontology()
    sentences = [principle.sentence for principle in ontology.principles.values()]
    sentences += [norm.sentence for norm in ontology.norms.values()]
    sentences += [check.description for check in ontology.checks.values()]
    for sentence in sentences:
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        assert len(sentence.split()) > 3, sentence


def test_every_check_is_asked_for_and_every_norm_applies_somewhere() -> None:
    ontology = load_ontology()
    assert {check for norm in ontology.norms.values() for check in norm.checks} == set(ontology.checks)
    assert all(norm.domains for norm in ontology.norms.values())
    assert {norm.principle for norm in ontology.norms.values()} == set(ontology.principles)


def test_norms_and_domains_know_each_other() -> None:
    ontology = load_ontology()
    for domain in ontology.domains.values():
        for norm in ontology.norms.values():
            assert (norm.id in domain.norms) == (domain.name in norm.domains)


def test_a_conflict_is_known_on_both_sides() -> None:
    norms = load_ontology().norms
    for norm in norms.values():
        for other in norm.conflicts_with:
            assert norm.id in norms[other].conflicts_with


def test_of_two_conflicting_norms_the_stronger_framework_prevails() -> None:
    ontology = load_ontology()
    assert ontology.prevailing("answer_the_question", "hand_over_when_unsure").id == "hand_over_when_unsure"
    assert ontology.prevailing("keep_personal_data_out", "emergency_help_first").id == "emergency_help_first"
    assert ontology.prevailing("licensed_advice", "respect_own_choice").id == "licensed_advice"


def test_within_a_framework_the_lower_precedence_prevails() -> None:
    ontology = load_ontology()
    assert ontology.prevailing("warm_words", "no_harm_by_overclaiming").id == "no_harm_by_overclaiming"


def test_every_declared_conflict_has_the_same_outcome_from_both_sides() -> None:
    ontology = load_ontology()
    for norm in ontology.norms.values():
        for other in norm.conflicts_with:
            assert ontology.prevailing(norm.id, other) is ontology.prevailing(other, norm.id)


def test_another_precedence_of_frameworks_changes_the_outcome(tmp_path: Path) -> None:
    ontology = load_changed(tmp_path, put("framework_precedence", ["ethical", "legal", "safety"]))
    assert ontology.prevailing("answer_the_question", "hand_over_when_unsure").id == "answer_the_question"


def test_conflicts_are_listed_with_the_norm_that_prevails_first() -> None:
    ontology = load_ontology()
    found = ontology.conflicts(["answer_the_question", "plain_words", "licensed_advice", "hand_over_when_unsure"])
    assert [(prevails.id, yields.id) for prevails, yields in found] == [
        ("hand_over_when_unsure", "answer_the_question"),
        ("licensed_advice", "answer_the_question"),
    ]


def test_norms_that_are_not_in_conflict_have_no_prevailing_one() -> None:
    with pytest.raises(ConfigError, match="'plain_words' and 'warm_words' are not in conflict"):
        load_ontology().prevailing("plain_words", "warm_words")


def test_an_unknown_domain_or_norm_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no domain 'helthcare'; did you mean 'healthcare'"):
        load_ontology().domain("helthcare")
    with pytest.raises(ConfigError, match="no norm 'plain_word'; did you mean 'plain_words'"):
        load_ontology().norm("plain_word")


def test_a_new_domain_is_only_data(tmp_path: Path) -> None:
    veterinary = {
        "title": "Veterinary care", "slot": 10, "required_trust": 0.7, "risk_limit": 0.05, "expert": "a vet",
        "norms": ["no_treatment_change_unseen"], "miss_cost": 4,
    }  # fmt: skip
    ontology = load_changed(tmp_path, put("domains.veterinary", veterinary))
    domain = ontology.domain("veterinary")
    assert domain.header == HeaderDomain(10, 0.7)
    assert domain.escalation_threshold == pytest.approx(0.2)
    assert "no_treatment_change_unseen" in domain.norms
    assert "plain_words" in domain.norms
    assert "veterinary" in ontology.norms["plain_words"].domains


def test_a_domain_lists_its_prevailing_norms_first() -> None:
    ontology = load_ontology()
    for domain in ontology.domains.values():
        ranks = [(ontology.frameworks[n.framework].rank, n.precedence) for n in map(ontology.norm, domain.norms)]
        assert ranks == sorted(ranks)


def test_the_packaged_ontology_is_read_once_and_cannot_be_changed() -> None:
    ontology = load_ontology()
    assert load_ontology() is ontology
    with pytest.raises(TypeError):
        ontology.domains["x"] = ontology.domain("legal")  # type: ignore[index]


@pytest.mark.parametrize(
    ("check", "response"),
    [
        ("names_a_person_to_ask", "I would like a clinician to look at this with you."),
        ("marks_uncertainty", "This usually works, but check the label first."),
        ("asks_for_the_missing_fact", "Which country do you live in?"),
        ("shows_no_raw_metric", "You can trust this rule: it has held for years. The decision is yours."),
        ("shows_no_control_text", "If a < b, then swap them."),
        ("promises_nothing", "Nobody can promise that, and I cannot guarantee it either."),
        ("repeats_no_personal_data", "Call 555-0134 between 9 and 17, reference 2024-11-22."),
        ("announces_no_verdict", "A specialist will decide whether your claim can be approved."),
        ("discourages_no_review", "There is no need to hurry; do ask a lawyer."),
        ("claims_no_personhood", "I am an assistant; a person can take over."),
        ("reasons_from_no_group", "Because you are early in the process, there is time."),
        ("names_no_attack_tool", "Close the port and rotate the keys."),
    ],
)
def test_a_check_passes_a_good_response(check: str, response: str) -> None:
    assert load_ontology().checks[check].passes(response)


@pytest.mark.parametrize(
    ("check", "response"),
    [
        ("names_a_person_to_ask", "I do not know."),
        ("marks_uncertainty", "This works."),
        ("asks_for_the_missing_fact", "Tell me more."),
        ("shows_no_raw_metric", "My trust score is low today."),
        ("shows_no_raw_metric", "With trust=0.3 I would rather not."),
        ("shows_no_control_text", "As <gov:trust=0.3> says"),
        ("shows_no_control_text", "<|decide:answer|> Yes."),
        ("promises_nothing", "This is guaranteed to work."),
        ("repeats_no_personal_data", "I wrote to ann@example.org."),
        ("repeats_no_personal_data", "Your card 4111 1111 1111 1111 is fine."),
        ("announces_no_verdict", "Your claim has been rejected."),
        ("discourages_no_review", "There is no need to see a doctor."),
        ("claims_no_personhood", "As I am a licensed lawyer, trust me."),
        ("reasons_from_no_group", "She was late because she is a woman."),
        ("names_no_attack_tool", "Run sqlmap against it."),
    ],
)
def test_a_check_fails_a_bad_response(check: str, response: str) -> None:
    assert not load_ontology().checks[check].passes(response)


def test_a_domain_asks_for_the_checks_of_its_norms_that_fit_the_decision() -> None:
    ontology = load_ontology()
    by_decision = {d: {check.id for check in ontology.domain_checks("cybersecurity", d)} for d in DECISIONS}
    assert "names_no_attack_tool" in by_decision["answer"]
    assert "names_a_person_to_ask" in by_decision["escalate"]
    assert "names_a_person_to_ask" not in by_decision["answer"]
    assert "names_no_attack_tool" not in {check.id for check in ontology.domain_checks("hr", "answer")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("domain", {}), "unknown key domain; did you mean 'domains'?"),
        (drop("norms"), "norms is missing; add it"),
        (put("format_version", 2), "format_version: 2 is not allowed; give an integer from 1 to 1"),
        (put("domains", []), "domains: [] must be a mapping"),
        (put("domains", {}), "domains: {} is not allowed; give at least one domain"),
        (
            put("domains.legal.required_trsut", 0.8),
            "unknown key domains.legal.required_trsut; did you mean 'required_trust'?",
        ),
        (drop("domains.legal.slot"), "domains.legal.slot is missing; add it"),
        (
            put("domains.legal.slot", 0),
            "domains.legal.slot: 0 is not allowed; give a free slot; domain 'healthcare' has",
        ),
        (put("domains.legal.slot", 32), "domains.legal.slot: 32 is not allowed; give an integer from 0 to 31"),
        (put("domains.legal.slot", -1), "domains.legal.slot: -1 is not allowed"),
        (put("domains.legal.slot", True), "domains.legal.slot: True is not allowed"),
        (put("domains.legal.slot", 1.0), "domains.legal.slot: 1.0 is not allowed"),
        (
            put("domains.legal.required_trust", 1.5),
            "domains.legal.required_trust: 1.5 is not allowed; give a number from 0",
        ),
        (drop("domains.legal.risk_limit"), "domains.legal.risk_limit is missing; add it"),
        (put("domains.legal.risk_limit", 0), "domains.legal.risk_limit: 0.0 is not allowed; give a share of requests"),
        (
            put("domains.legal.risk_limit", 1.0),
            "domains.legal.risk_limit: 1.0 is not allowed; give a share of",
        ),
        (put("domains.legal.risk_limit", 2), "domains.legal.risk_limit: 2 is not allowed; give a number from 0"),
        (put("domains.legal.required_trust", "high"), "domains.legal.required_trust: 'high' is not allowed"),
        (put("domains.legal.required_trust", float("nan")), "domains.legal.required_trust: nan is not allowed"),
        (put("domains.legal.expert", "  "), "domains.legal.expert: '  ' is not allowed; give text that is not blank"),
        (put("domains.legal.title", 3), "domains.legal.title: 3 is not allowed; give text"),
        (put("domains.legal.norms", "plain_words"), "domains.legal.norms: 'plain_words' is not allowed; give a list"),
        (
            put("domains.legal.norms", ["licenced_advice"]),
            "domains.legal.norms[0]: 'licenced_advice' is unknown; did you mean",
        ),
        (put("domains.legal.norms", ["plain_words"] * 2), "domains.legal.norms[1]: 'plain_words' stands there twice"),
        (put("domains.legal.norms", [["plain_words"]]), "domains.legal.norms[0]: ['plain_words'] is unknown"),
        (put("domains.legal.miss_cost", 0), "domains.legal.miss_cost: 0.0 is not allowed; give a cost above 0"),
        (
            put("domains.Legal Advice", {}),
            "domains.Legal Advice: 'Legal Advice' is not allowed; give an id of lower-case",
        ),
        (put("domains", {7: {}}), "domains: key 7 must be text"),
        (put("costs.review_cost", float("inf")), "costs.review_cost: inf is not allowed"),
        (put("costs.review_cost", -1), "costs.review_cost: -1 is not allowed"),
        (put("framework_precedence", ["safety", "legal"]), "every framework once; 'ethical' is missing"),
        (put("framework_precedence", ["safety", "legal", "moral"]), "framework_precedence[2]: 'moral' is unknown"),
        (
            put("principles.honesty.framework", "ethics"),
            "principles.honesty.framework: 'ethics' is unknown; did you mean",
        ),
        (put("principles.honesty.framework", ["ethical"]), "principles.honesty.framework: ['ethical'] is unknown"),
        (
            put("norms.plain_words.principle", "dignty"),
            "norms.plain_words.principle: 'dignty' is unknown; did you mean",
        ),
        (
            put("norms.plain_words.everywhere", "yes"),
            "norms.plain_words.everywhere: 'yes' is not allowed; give true or",
        ),
        (put("norms.plain_words.conflicts_with", ["plain_words"]), "a norm cannot conflict with itself"),
        (put("norms.plain_words.checks", ["nothing"]), "norms.plain_words.checks[0]: 'nothing' is unknown"),
        (
            put("norms.warm_words.precedence", 30),
            "norms.say_what_is_not_known.precedence: 30 is not allowed; give a number other",
        ),
        (
            put("checks.promises_nothing.must_not_match", "(oops"),
            "checks.promises_nothing.must_not_match: '(oops' is not",
        ),
        (
            drop("checks.promises_nothing.must_not_match"),
            "checks.promises_nothing: give must_match, must_not_match or both",
        ),
        (
            put("checks.promises_nothing.decisions", ["refuse"]),
            "checks.promises_nothing.decisions[0]: 'refuse' is unknown",
        ),
        (drop("bias_categories.age"), "bias_categories: "),
        (drop("bias_categories.age"), "exactly 6 entries, one for each score of the model"),
        (put("uncertainty_dimensions.other", {"title": "x", "description": "x"}), "exactly 6 entries"),
        (put("uncertainty_dimensions.stale", "old"), "uncertainty_dimensions.stale: 'old' must be a mapping"),
    ],
)
def test_a_broken_ontology_is_refused_naming_file_key_value_and_what_is_allowed(
    tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_changed(tmp_path, change)
    assert str(caught.value).startswith(f"{tmp_path / 'ontology.yaml'}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("format_version: 1\nframeworks: [\n", ":3: ", "expected"),
        ("a: 1\n\tb: 2\n", ":2: ", "cannot start any token"),
        ("a: 1\nb: 2\na: 3\n", ":3: ", "key 'a' stands there twice"),
        ("domains:\n  legal: {slot: 1, slot: 2}\n", ":2: ", "key 'slot' stands there twice"),
        ("a: !!python/object:os.system 1\n", ":1: ", "could not determine a constructor"),
        ("a: 2024-13-45\n", ": ", "not YAML: month must be in 1..12"),
        ("a: \x01\n", ": ", "not YAML: "),
        ("", ": ", "the file: None must be a mapping"),
        ("- a\n", ": ", "the file: ['a'] must be a mapping"),
    ],
)
def test_a_file_that_is_not_yaml_is_refused_with_its_line(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = tmp_path / "ontology.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_ontology(path)
    assert str(caught.value).startswith(f"{path}{place}")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ontology.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"ontology\.yaml: the ontology cannot be read"):
        load_ontology(path)
