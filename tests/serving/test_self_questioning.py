"""Hidden rounds: the loop around a fake engine, and the real server against the reference loop."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import ASK, SCORE_NAMES, ReservedIds
from promethios.telemetry.state import GovernanceState
from promethios_serving.engine_hook import EngineTypes, GovernedEngine
from promethios_serving.governor import Governor
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.reviews.review_record import DecidingModel
from tests.serving.conftest import sampling

torch = pytest.importorskip("torch")
from promethios_serving.self_questioning import SelfQuestions  # noqa: E402  needs torch

END = 999
PROMPT = [1000, 1001]
STATE = GovernanceState.of(trust=0.9, verify=0.9, attest=0.9, bound=0.9)
UNSURE, SURE = 3.0, -3.0


class Encoder:
    """What SelfQuestions needs of an encoder, on made-up ids."""

    def __init__(self, reserved: ReservedIds) -> None:
        self.ask_id = reserved.id(ASK)
        self.tokenizer = SimpleNamespace(eos_token_id=END, decode=lambda ids, **_: f"ids {ids}<gov:trust=0.9>")

    def self_question(self, ids: Any) -> list[int]:
        return [self.ask_id, *ids, END]


class Engine:
    """Answers each gate with the next uncertainty, each question with two ids and the speech with a word."""

    def __init__(self, reserved: ReservedIds, uncertainties: list[float]) -> None:
        self.reserved = reserved
        self.uncertainties = uncertainties
        self.prompts: dict[str, list[int]] = {}

    async def generate(self, prompt: Any, sampling: Any, request_id: str, **kwargs: Any) -> Any:
        self.prompts[request_id] = prompt["prompt_token_ids"]
        output = SimpleNamespace(index=0, text="Hello", token_ids=[], logprobs=None, finish_reason="stop")
        if "-gate" in request_id:
            scores = [self.uncertainties.pop(0) if name == "uncertainty:2" else -9.0 for name in SCORE_NAMES]
            values = zip(self.reserved.score_ids, [0.0, *scores], strict=True)
            output.logprobs = [{token_id: SimpleNamespace(logprob=value) for token_id, value in values}]
        if "-ask" in request_id:
            output.token_ids = [500, 501, END]
        yield SimpleNamespace(prompt_token_ids=[], prompt_logprobs=None, num_cached_tokens=0, outputs=[output])


def asked(governor: Governor, uncertainties: list[float], *, rounds: int = 2, room: int = 200) -> tuple[Engine, Any]:
    engine = Engine(governor.reserved, uncertainties)
    types = EngineTypes(gate_sampling="GATE", failures=(), refusal=lambda refusal: refusal)
    hook = GovernedEngine(
        engine.generate,
        governor,
        types,
        max_model_len=room,
        on_gate_failure="refuse",
        model=DecidingModel(name="m"),
        questions=SelfQuestions(Encoder(governor.reserved), rounds, "ASK"),  # type: ignore[arg-type]
    )
    request = GovernedRequest(route="/v1/chat/completions", telemetry=STATE)

    async def run() -> None:
        CURRENT.set(request)
        async for _ in hook.generate({"type": "token", "prompt_token_ids": PROMPT}, sampling(max_tokens=4), "r"):
            pass

    asyncio.run(run())
    return engine, request


def test_a_sure_model_asks_nothing(governor: Governor) -> None:
    engine, request = asked(governor, [SURE])
    assert list(engine.prompts) == ["r-gate", "r"]
    assert request.self_questions == []


def test_an_unsure_model_asks_before_the_header_and_decides_again(governor: Governor) -> None:
    before = REGISTRY.get_sample_value("promethios_self_questions_total") or 0.0
    engine, request = asked(governor, [UNSURE, SURE])
    reserved, header = governor.reserved, governor.reserved.header(STATE, None)
    round_ = [reserved.id(ASK), 500, 501, END]
    assert engine.prompts["r-ask-1"] == [*PROMPT, reserved.id(ASK)], "never from telemetry"
    assert engine.prompts["r-gate-1"] == [*PROMPT, *round_, *header]
    assert engine.prompts["r"] == [*PROMPT, *round_, *header, reserved.decision(request.outcome.decision)]
    assert request.self_questions == ["ids [500, 501]"], "and no tag in its text"
    assert REGISTRY.get_sample_value("promethios_self_questions_total") == before + 1


def test_the_rounds_end_at_the_limit_and_when_uncertainty_falls(governor: Governor) -> None:
    assert len(asked(governor, [UNSURE] * 3, rounds=2)[1].self_questions) == 2
    assert len(asked(governor, [UNSURE] * 3, rounds=1)[1].self_questions) == 1
    assert len(asked(governor, [UNSURE, UNSURE - 1], rounds=2)[1].self_questions) == 1


def test_the_caller_pays_for_what_the_model_asked_itself(governor: Governor) -> None:
    unasked, asked_once = asked(governor, [SURE])[1], asked(governor, [UNSURE, SURE])[1]
    assert (unasked.tokens, asked_once.tokens - unasked.tokens) == (len(PROMPT), len([ASK, 500, 501, END]))


def test_a_round_that_has_no_room_is_left_out(governor: Governor) -> None:
    room = len(PROMPT) + len(governor.reserved.header(STATE, None)) + 10
    assert asked(governor, [UNSURE], room=room)[1].self_questions == []


@pytest.fixture(scope="module")
def asking(nano_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.serving.conftest import running_server

    folder = tmp_path_factory.mktemp("asking")
    with running_server(nano_folder, folder, PROMETHIOS_SELF_QUESTIONS="2") as server:
        yield server.url


@pytest.mark.integration
def test_the_real_server_asks_as_the_reference_does_and_shows_it_as_reasoning(asking: str, nano_folder: Path) -> None:
    import numpy as np

    from promethios.model.generation import continue_prompts
    from promethios.model.scoring import LoadedModel, score_prompts
    from promethios.model.self_questioning import MAX_QUESTION_TOKENS, asks_again, largest_uncertainty

    loaded = LoadedModel.of(nano_folder)
    encoder = loaded.encoder
    messages = [{"role": "user", "content": "What dose is safe?"}]
    body = {"model": "promethios", "messages": messages, "max_tokens": 2, "temperature": 0}
    body["governance"] = {"telemetry": STATE.to_mapping()}
    answer = _post(asking, "/v1/chat/completions", body)
    domain = load_ontology().domain(answer["governance"]["domain"]).header  # by the model's probe: nobody named one
    request = encoder.request(messages)
    rounds: list[int] = []
    texts: list[str] = []
    largest: list[float] = []
    while True:
        prompt = request + rounds + encoder.reserved.header(STATE, domain)
        scores = score_prompts(loaded.model, [prompt], batch_size=1, progress=False)
        largest.append(float(largest_uncertainty(scores)[0]))
        if not asks_again(largest):
            break
        ask = [request + rounds + [encoder.ask_id]]
        (ids,) = continue_prompts(loaded, ask, max_new_tokens=MAX_QUESTION_TOKENS, batch_size=1, progress=False)
        rounds += encoder.self_question(ids)
        texts.append(encoder.tokenizer.decode(ids, skip_special_tokens=True))
    assert texts, "the random model is unsure"

    shown = [answer["governance"]["scores"][name] for name in SCORE_NAMES]
    np.testing.assert_allclose(shown, scores[0], atol=1e-4)
    assert answer["governance"]["self_questions"] == len(texts)
    assert answer["choices"][0]["message"]["reasoning"] == "\n".join(texts)
    assert "reasoning" not in _post(asking, "/v1/chat/completions", {**body, "include_reasoning": False})["choices"][0]


def _post(url: str, route: str, body: dict[str, Any]) -> Any:
    headers = {"content-type": "application/json", "x-promethios-telemetry-key": "let-me-speak-for-the-telemetry"}
    with urllib.request.urlopen(urllib.request.Request(url + route, json.dumps(body).encode(), headers)) as reply:
        return json.load(reply)
