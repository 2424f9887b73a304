"""Requests in words: pairs differ in one thing only, and single words do not give a compositional cause away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from promethios.data.causes import TEXT_CAUSES, TEXT_WEIGHTS, UNCERTAINTY, TextCauses
from promethios.data.draws import Picks, draw, uniforms
from promethios.data.families import families_for, load_families
from promethios.data.phrase_banks import Bank
from promethios.data.prompts import Written, write_cue_pair, write_group_pair, write_request
from promethios.data.registers import load_registers
from promethios.data.scene import Scene
from promethios.data.user_phrases import load_user_phrases

PLAIN = TextCauses(difficulty=0, uncertainty=(), affect=False, bias=False, tool="none")
READ_BY_WORDS = 0.9
NOT_READ_BY_WORDS = 0.68
COLUMNS = 256


def scenes(count: int, *key: str, held_out_wording: bool = False) -> Iterator[tuple[Scene, Picks]]:
    """Yield scenes of all families, with causes as often as they occur, and a stream of choices for each."""
    families = load_families()
    numbers = uniforms(count, COLUMNS + 5, *key)
    for row, index in zip(numbers, draw(TEXT_WEIGHTS, numbers[:, -1]), strict=True):
        picks = Picks(row.tolist())
        family, causes = picks.of(families), TEXT_CAUSES[index]
        scene = Scene(
            family, picks.of(family.items), picks.of(family.people), causes, picks.of(range(6)), held_out_wording
        )
        yield scene, picks


def user_text(written: Written) -> str:
    return written.messages[0]["content"]


def changed_words(first: str, second: str) -> tuple[int, int]:
    """Return where, in words from the front and from the back, two texts begin to differ."""
    a, b = first.split(), second.split()
    front = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    back = next((i for i, (x, y) in enumerate(zip(a[::-1], b[::-1], strict=False)) if x != y), min(len(a), len(b)))
    return front, back


def test_the_same_draws_give_the_same_words() -> None:
    for (scene, picks), (_, same) in zip(scenes(50, "same"), scenes(50, "same"), strict=True):
        assert write_request(scene, picks) == write_request(scene, same)


def test_members_of_a_cue_pair_differ_in_one_remark() -> None:
    longest = 0
    for scene, picks in scenes(600, "cue"):
        for cause in scene.causes.uncertainty[:1]:
            with_cue, without = write_cue_pair(scene, cause, picks)
            assert with_cue.template == without.template
            assert with_cue.messages[1:] == without.messages[1:]
            first, second = user_text(with_cue), user_text(without)
            assert first != second
            front, back = changed_words(first, second)
            longest = max(longest, len(first.split()) - front - back)
    assert 0 < longest < 45


def test_members_of_a_group_pair_differ_in_the_group_alone() -> None:
    names = [[group for (group,) in bank.phrases] for bank in load_user_phrases().groups]
    seen = 0
    for scene, picks in scenes(1000, "group"):
        if scene.causes.bias:
            seen += 1
            first, second = map(user_text, write_group_pair(scene, picks))
            assert first != second
            without = [
                {re.sub(rf"\b{name}\b", "*", text, flags=re.IGNORECASE) for name in names[scene.bias_category]}
                for text in (first, second)
            ]
            assert without[0] & without[1], (first, second)
    assert seen > 20


def test_a_look_up_that_was_made_stands_in_the_conversation() -> None:
    for scene, picks in scenes(300, "tool"):
        roles = [message["role"] for message in write_request(scene, picks).messages]
        made = scene.causes.tool in ("fine", "unreliable")
        assert roles == (["user", "assistant", "tool"] if made else ["user"])


def test_evidence_tells_remark_by_remark_what_the_text_shows() -> None:
    stakes, tools = (None, "medium_stakes", "high_stakes"), {"needed": "look_up", "unreliable": "unreliable_result"}
    for scene, picks in scenes(600, "evidence"):
        written, causes = write_request(scene, picks), scene.causes
        there = {*(UNCERTAINTY[cause] for cause in causes.uncertainty), stakes[causes.difficulty]}
        there |= {tools.get(causes.tool), "affect" if causes.affect else None, "bias" if causes.bias else None}
        shown = [item.shows for item in written.evidence if item.shows != "nothing"]
        assert sorted(shown) == sorted(there - {None})
        for item in written.evidence:
            content = written.messages[item.message]["content"]
            assert content.isascii() and content[item.end - 1].isalnum(), content
            assert content[item.end : item.end + 1] in ("", ".", "?", "!", ",", " "), content


def test_evidence_of_a_cue_pair_differs_in_the_cue() -> None:
    for scene, picks in scenes(300, "cue"):
        for cause in scene.causes.uncertainty[:1]:
            first, second = ([item.shows for item in text.evidence] for text in write_cue_pair(scene, cause, picks))
            assert [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]] == [
                (UNCERTAINTY[cause], "nothing")
            ]


def test_years_lie_in_range_and_two_of_them_apart() -> None:
    for scene, picks in scenes(1500, "years"):
        text = " ".join(message["content"] for message in write_request(scene, picks).messages)
        years = [int(number) for number in re.findall(r"\d+", text)]
        assert all(2008 <= year <= 2027 for year in years)
        assert len(years) in (0, 2)
        assert not years or abs(years[0] - years[1]) >= 2


def held_out_patterns() -> list[re.Pattern[str]]:
    """Return a pattern for each held-out phrase of the user's side that is long enough to be told apart."""
    phrases = load_user_phrases()
    banks: list[Bank[str]] = [*phrases.stakes, phrases.stakes_compared, phrases.calls]
    banks += [bank for mention in (*phrases.causes, phrases.affect, phrases.bias, phrases.look_up, phrases.results)
              for bank in (mention.active, mention.resolved)]  # fmt: skip
    banks += [register.asks for register in load_registers()]
    texts = [phrase for bank in banks for variants in bank.held_out for phrase in variants]
    texts += [
        side
        for mention in (*phrases.causes, phrases.affect, phrases.bias, phrases.look_up, phrases.results)
        for variants in mention.compositional.held_out
        for contrast in variants
        for side in (contrast.active, contrast.resolved)
    ]
    literal = [re.split(r"\{\w+\}", text.rstrip(".")) for text in texts]
    return [
        re.compile(".+".join(map(re.escape, parts)), re.IGNORECASE) for parts in literal if max(map(len, parts)) > 8
    ]


def test_held_out_phrases_occur_in_requests_with_held_out_wording_only() -> None:
    patterns = held_out_patterns()
    assert len(patterns) > 100
    ordinary = [user_text(write_request(scene, picks)) for scene, picks in scenes(1000, "ordinary")]
    assert not [(pattern.pattern, text) for text in ordinary for pattern in patterns if pattern.search(text)]
    unseen = [user_text(write_request(s, picks)) for s, picks in scenes(200, "unseen", held_out_wording=True)]
    assert np.mean([any(pattern.search(text) for pattern in patterns) for text in unseen]) > 0.75


def pairs(cause: int, use: str, compositional: bool) -> tuple[list[str], list[int]]:
    """Return texts with the cause and without it, and which is which."""
    texts, labels = [], []
    causes = replace(PLAIN, uncertainty=(cause,))
    families = families_for(use)
    for number, row in enumerate(uniforms(2400 if use == "train" else 1200, COLUMNS + 3, "pairs", cause, use)):
        picks = Picks(row.tolist())
        family = families[number % len(families)]
        scene = Scene(family, picks.of(family.items), picks.of(family.people), causes, picks.of(range(6)))
        if scene.is_compositional(cause) == compositional:
            texts += map(user_text, write_cue_pair(scene, cause, picks))
            labels += [1, 0]
    return texts, labels


def auroc_of_words(cause: int, compositional: bool) -> float:
    """Return how well single words tell a cause that is there from one that is not, on families not fitted on."""
    texts, labels = pairs(cause, "train", compositional)
    words = CountVectorizer(min_df=3, binary=True)
    model = LogisticRegression(max_iter=1000).fit(words.fit_transform(texts), labels)
    unseen, truth = pairs(cause, "evaluation", compositional)
    return float(roc_auc_score(truth, model.decision_function(words.transform(unseen))))


@pytest.mark.parametrize("cause", ["unknown_answer", "false_premise", "stale", "underspecified_context"])
def test_words_tell_a_direct_cause_and_not_a_compositional_one(cause: str) -> None:
    index = UNCERTAINTY.index(cause)
    assert auroc_of_words(index, compositional=False) > READ_BY_WORDS
    assert 0.35 < auroc_of_words(index, compositional=True) < NOT_READ_BY_WORDS


def test_about_as_many_remarks_deny_a_cause_as_state_it() -> None:
    """A frame that compares two years holds the earlier one first as often as the later one."""
    for cause in ("stale", "unknown_answer"):
        mention = load_user_phrases().causes[UNCERTAINTY.index(cause)]
        frames = [
            re.compile(
                re.sub(r"\\{(?!early|late)\w+\\}", ".+", re.escape(contrast.active))
                .replace(r"\{early\}", r"(?P<early>\d+)")
                .replace(r"\{late\}", r"(?P<late>\d+)"),
                re.IGNORECASE,
            )
            for variants in mention.compositional.phrases
            for contrast in variants
        ]
        texts = [user_text(write_request(scene, picks)) for scene, picks in scenes(2500, "frames", cause)]
        found = [match for text in texts if re.search(r"\d", text) for frame in frames if (match := frame.search(text))]
        there = [int(match["early"]) < int(match["late"]) for match in found]
        assert len(there) > 50
        assert 0.3 < np.mean(there) < 0.7


def test_templates_are_many_and_none_is_frequent() -> None:
    templates = [write_request(scene, picks).template for scene, picks in scenes(2000, "templates")]
    assert len(set(templates)) > 150
    assert max(templates.count(template) for template in set(templates)) < 60


def test_two_requests_for_one_scene_hardly_share_words() -> None:
    scene, _ = next(scenes(1, "one"))
    texts = [user_text(write_request(scene, Picks(row.tolist()))) for row in uniforms(20, COLUMNS, "variety")]
    likeness = [SequenceMatcher(None, a, b).ratio() for a in texts for b in texts if a < b]
    assert np.mean(likeness) < 0.6
