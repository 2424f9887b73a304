from __future__ import annotations

import dataclasses
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from promethios import user_friendly_governance_training_generator as generator
from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example
from promethios.data.folder import CARD, HASHES
from promethios.data.generate import ExampleWriter
from promethios.data.paraphrase import (
    CONCURRENCY,
    DecisionRecogniser,
    ParaphraseChecker,
    paraphrase_responses,
    tidied,
)
from promethios.data.splits import draw_split
from promethios.errors import DatasetError
from promethios.ontology.governance_ontology import load_ontology

MODEL = "some-model"


def reordered(messages: list[dict[str, str]]) -> tuple[int, str]:
    """Reply with the original's sentences in another order: a paraphrase that keeps everything."""
    return 200, " ".join(reversed(re.split(r"(?<=[.?]) ", messages[-1]["content"])))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    writer = ExampleWriter("train", load_ontology())
    return [example for part in draw_split("train", 0, 500, load_ontology()) for example in writer.examples(part)]


@pytest.fixture(scope="module")
def checker(examples: list[Example]) -> ParaphraseChecker:
    return ParaphraseChecker(examples)


@pytest.fixture
def endpoint(chat_server: Any) -> ChatEndpoint:
    chat_server.reply = reordered
    return ChatEndpoint(chat_server.url, MODEL, first_pause_s=0.001)


def test_good_paraphrases_replace_responses_and_nothing_else(
    examples: list[Example], endpoint: ChatEndpoint, tmp_path: Path
) -> None:
    result, about = paraphrase_responses(examples[:100], MODEL, tmp_path, endpoint)
    assert about.num_paraphrased > 80
    for before, after in zip(examples, result, strict=False):
        assert dataclasses.replace(after, messages=before.messages) == before
        assert after.request == before.request
    changed = [before.response != after.response for before, after in zip(examples, result, strict=False)]
    assert sum(changed) == about.num_paraphrased


def test_only_the_response_leaves_the_machine(
    examples: list[Example], endpoint: ChatEndpoint, chat_server: Any, tmp_path: Path
) -> None:
    paraphrase_responses(examples[:20], MODEL, tmp_path, endpoint)
    sent = json.dumps(chat_server.requests)
    for example in examples[:20]:
        assert example.response in sent
        assert example.prompt not in sent
    assert len(chat_server.requests) == len({example.response for example in examples[:20]})


def test_a_bad_paraphrase_leaves_the_original_and_is_counted(
    examples: list[Example], endpoint: ChatEndpoint, chat_server: Any, tmp_path: Path
) -> None:
    chat_server.reply = lambda messages: (200, messages[-1]["content"].replace(".", " 0.72.", 1))
    result, about = paraphrase_responses(examples[:10], MODEL, tmp_path, endpoint)
    assert result == examples[:10]
    assert about.kept == {"raw metric": 10}
    assert about.num_paraphrased == 0


def test_nearly_every_generated_response_would_pass_as_its_own_paraphrase(
    examples: list[Example], checker: ParaphraseChecker
) -> None:
    passed = [checker.problem(example, example.response) is None for example in examples]
    assert sum(passed) > 0.95 * len(passed)


GOOD = "Thank you for asking about the delivery. Please write down the number of the parcel and then call the shop."
SPOILED = {
    "raw metric": [GOOD.replace("then", "7 times"), GOOD.replace("call", "verify with"), GOOD.replace("shop", "CALM")],
    "length": ["", "Call the shop.", f"{GOOD} {GOOD} {GOOD}"],
    "form": [GOOD[:-1], GOOD.lower(), f"**{GOOD}**", GOOD.replace("the parcel", "my parcel"), GOOD.replace("a", "\xe4"),
             f"Rewritten message: {GOOD}"],
    "ontology check": [GOOD.replace("Please", "I guarantee that it helps if you")],
    "subject": ["Good morning to you and your family. It is a fine day, so let us go out and enjoy some fresh air."],
    "decision": [GOOD.replace("and then call the shop.", "and could you then call the shop?")],
}  # fmt: skip


@pytest.mark.parametrize(("problem", "text"), [(name, text) for name, texts in SPOILED.items() for text in texts])
def test_what_is_wrong_is_named(checker: ParaphraseChecker, examples: list[Example], problem: str, text: str) -> None:
    answered = next(e for e in examples if e.decision == "answer" and e.domain == "customer_support")
    original = dataclasses.replace(answered, messages=(*answered.request, {"role": "assistant", "content": GOOD}))
    assert checker.problem(original, text) == problem


def test_a_handover_that_names_another_expert_is_refused(checker: ParaphraseChecker, examples: list[Example]) -> None:
    handover = next(e for e in examples if e.decision == "escalate" and e.domain == "healthcare")
    assert checker.problem(handover, handover.response) is None
    assert checker.problem(handover, handover.response.replace("a clinician", "a doctor")) == "decision"


def test_another_decision_is_recognised_by_how_it_sounds(checker: ParaphraseChecker, examples: list[Example]) -> None:
    """A plain answer that says what a response with a caveat says, on the same subject."""
    caveats = [e for e in examples if e.decision == "caveat"]
    as_answers = [dataclasses.replace(e, decision="answer") for e in caveats]
    problems = [checker.problem(e, e.response) for e in as_answers]
    assert problems.count("decision") > 0.9 * len(problems)


def test_decisions_are_recognised_in_responses_that_were_not_seen(examples: list[Example]) -> None:
    recogniser = DecisionRecogniser((e.response, str(e.decision)) for e in examples[::2])
    right = [recogniser.decision(e.response) == e.decision for e in examples[1::2]]
    assert sum(right) > 0.9 * len(right)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<think>\nShort?\n</think>\n\nIt is fine.", "It is fine."),
        ("\u201cIt\u2019s fine.\u201d", "It's fine."),
        ("  It is\nfine. ", "It is fine."),
        ('"', '"'),
        ("", ""),
    ],
)
def test_a_reply_is_tidied(reply: str, text: str) -> None:
    assert tidied(reply) == text


def test_the_cache_gives_the_same_again_without_a_network(
    examples: list[Example], endpoint: ChatEndpoint, tmp_path: Path
) -> None:
    first = paraphrase_responses(examples[:100], MODEL, tmp_path, endpoint)
    assert paraphrase_responses(examples[:100], MODEL, tmp_path, None) == first


@pytest.mark.parametrize("model", ["another-model", MODEL])
def test_a_reply_that_is_missing_and_cannot_be_had_is_an_error(
    examples: list[Example], endpoint: ChatEndpoint, tmp_path: Path, model: str
) -> None:
    paraphrase_responses(examples[:5], MODEL, tmp_path, endpoint)
    with pytest.raises(DatasetError, match=rf"of '{model}' are not in .*; give --paraphrase_url"):
        paraphrase_responses(examples[:6], model, tmp_path, None)


def test_what_was_had_before_a_failure_is_not_asked_again(
    examples: list[Example], chat_server: Any, tmp_path: Path
) -> None:
    def out_of_credit(messages: list[dict[str, str]]) -> tuple[int, str | bytes]:
        return reordered(messages) if len(chat_server.requests) <= 10 else (402, b"no credit left")

    chat_server.reply = out_of_credit
    with pytest.raises(DatasetError, match="HTTP 402: no credit left"):
        paraphrase_responses(examples[:100], MODEL, tmp_path, ChatEndpoint(chat_server.url, MODEL))
    distinct = {example.response for example in examples[:100]}
    had = len(list(tmp_path.glob("*.json")))
    assert 0 < had <= 10
    chat_server.reply = reordered
    chat_server.requests.clear()
    paraphrase_responses(examples[:100], MODEL, tmp_path, ChatEndpoint(chat_server.url, MODEL))
    # Requests that were under way at the failure may still end, and end up in either count.
    assert len(distinct) - 10 <= len(chat_server.requests) <= len(distinct) - had + CONCURRENCY


def test_ctrl_c_keeps_the_cache_and_ends_at_once(
    examples: list[Example], endpoint: ChatEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(bar: object, n: int = 1) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tqdm, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        paraphrase_responses(examples[:100], MODEL, tmp_path, endpoint)
    assert list(tmp_path.glob("*.json"))
    assert endpoint.stopped.is_set()


def test_a_damaged_file_of_the_cache_is_named(examples: list[Example], endpoint: ChatEndpoint, tmp_path: Path) -> None:
    paraphrase_responses(examples[:1], MODEL, tmp_path, endpoint)
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    with pytest.raises(DatasetError, match=f"{path.name}: no reply can be read from it; remove the file"):
        paraphrase_responses(examples[:1], MODEL, tmp_path, None)


def test_a_paraphrased_dataset_is_built_again_from_the_cache_byte_for_byte(
    endpoint: ChatEndpoint, chat_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    monkeypatch.setattr(generator, "build_dataset", functools.cache(generator.build_dataset))  # the slow half, once
    options = ["--num_examples", "50", "--paraphrase_model", MODEL, "--paraphrase_cache", str(tmp_path / "cache")]
    online = ["--paraphrase_url", chat_server.url, "--paraphrase_key_variable", "SOME_KEY"]
    assert generator.main(["--output_dir", str(tmp_path / "first"), *options, *online]) == 0
    assert set(chat_server.keys) == {"Bearer secret"}
    assert generator.main(["--output_dir", str(tmp_path / "second"), *options]) == 0
    first, second = ((tmp_path / name / HASHES).read_text() for name in ("first", "second"))
    assert first == second
    card = (tmp_path / "first" / CARD).read_text(encoding="utf-8")
    assert f"--paraphrase_model {MODEL}" in card
    assert re.search(rf"\d+ of the 50 responses of `train` are in the words of the model `{MODEL}`", card)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--paraphrase_url", "http://localhost/v1"], "--paraphrase_url needs --paraphrase_model"),
        (["--paraphrase_key_variable", "X"], "--paraphrase_key_variable needs --paraphrase_model"),
        (["--paraphrase_model", "m", "--paraphrase_key_variable", "NOT_SET_HERE"], "NOT_SET_HERE: that environment"),
        (["--paraphrase_model", "m", "--paraphrase_url", "host/v1"], "must start with http"),
    ],
)
def test_options_that_do_not_fit_are_told_before_any_work(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--output_dir", str(tmp_path / "data"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
