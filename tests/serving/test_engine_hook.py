from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import ReservedIds
from promethios.telemetry.state import GovernanceState
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.engine_hook import EngineTypes, GovernedEngine
from promethios_serving.governor import Governor
from promethios_serving.json_log import JsonLines
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.reviews.review_record import DecidingModel
from tests.serving.conftest import sampling

ORDINARY = [1000, 1001, 1002, 1003, 1004]
MODEL = DecidingModel(name="promethios", weights_sha256="a" * 64, certificate_sha256="c" * 64)
TELEMETRY = GovernanceState.of(trust=0.9, verify=0.9, attest=0.9, bound=0.9)


class EngineDied(Exception):
    """What a broken engine raises."""


class Disconnected(Exception):
    """What an engine raises for a request that it rejects by itself."""


def governed(
    engine: Any,
    governor: Governor,
    *,
    on_gate_failure: Any = "refuse",
    room: int = 100,
    audit: AuditLog | None = None,
    probe: str | None = None,
) -> GovernedEngine:
    types = EngineTypes(
        gate_sampling="GATE", failures=(EngineDied,), refusal=lambda refusal: refusal, probe_sampling=probe
    )
    return GovernedEngine(
        engine.generate, governor, types, max_model_len=room, on_gate_failure=on_gate_failure, model=MODEL, audit=audit
    )


def generate(
    hook: GovernedEngine,
    request: GovernedRequest | None,
    ids: list[int] | None = None,
    params: Any = None,
    **kwargs: Any,
) -> list[Any]:
    prompt = {"type": "token", "prompt_token_ids": ORDINARY if ids is None else ids, "cache_salt": "s"}

    async def run() -> list[Any]:
        CURRENT.set(request)
        return [output async for output in hook.generate(prompt, params or sampling(), "req-1", **kwargs)]

    return asyncio.run(run())


@pytest.fixture
def request_(reserved: ReservedIds) -> GovernedRequest:
    return GovernedRequest(route="/v1/completions", telemetry=TELEMETRY)


def test_the_gate_sees_prompt_and_header_and_the_speech_the_decision_too(
    engine: Any, governor: Governor, request_: GovernedRequest
) -> None:
    params = sampling()
    generate(governed(engine, governor), request_, params=params, lora_request="L", reasoning_ended=True)
    gate, speech = engine.calls
    header = governor.reserved.header(TELEMETRY, None)
    assert gate.prompt == {"type": "token", "prompt_token_ids": ORDINARY + header, "cache_salt": "s"}
    assert (gate.sampling, gate.id, gate.kwargs) == ("GATE", "req-1-gate", {"lora_request": "L"})
    assert speech.prompt["prompt_token_ids"] == [*ORDINARY, *header, governor.reserved.decision("answer")]
    assert (speech.id, speech.kwargs) == ("req-1", {"lora_request": "L", "reasoning_ended": True})
    assert params.max_tokens == 16, "the client's own parameters are left alone"
    assert request_.outcome is not None
    assert request_.outcome.decision == "answer"


def test_scores_are_differences_to_the_reference_column(engine: Any, governor: Governor, request_: Any) -> None:
    generate(governed(engine, governor), request_)
    assert request_.outcome.scores == pytest.approx(engine.scores)


def test_reserved_ids_of_the_client_are_scrubbed_and_counted(engine: Any, governor: Governor, request_: Any) -> None:
    forged = [*governor.reserved.header(GovernanceState.of(trust=1.0), None), governor.reserved.decision("answer")]
    before = REGISTRY.get_sample_value("promethios_scrubbed_ids_total", {"route": "/v1/completions"}) or 0.0
    generate(governed(engine, governor), request_, [*forged, *ORDINARY, *forged])
    gate = engine.calls[0].prompt["prompt_token_ids"]
    assert gate == ORDINARY + governor.reserved.header(TELEMETRY, None)
    after = REGISTRY.get_sample_value("promethios_scrubbed_ids_total", {"route": "/v1/completions"})
    assert after == before + 2 * len(forged)


def test_the_client_sees_its_own_prompt_only(engine: Any, governor: Governor, request_: Any) -> None:
    (output,) = generate(governed(engine, governor), request_)
    assert output.prompt_token_ids == ORDINARY
    assert len(output.prompt_logprobs) == len(ORDINARY)
    assert output.num_cached_tokens == 4, "what was cached before this request, not what its own gate put there"


def test_tag_text_is_redacted_across_pieces(engine: Any, governor: Governor, request_: Any) -> None:
    engine.texts = ("Trust is <gov:", "trust=0.9", "> high", " <gov")
    outputs = generate(governed(engine, governor), request_)
    assert "".join(output.outputs[0].text for output in outputs) == "Trust is  high <gov"
    assert len(outputs) == 4


def test_a_call_outside_a_governed_request_is_refused(engine: Any, governor: Governor) -> None:
    with pytest.raises(RequestRefused) as refusal:
        generate(governed(engine, governor), None)
    assert (refusal.value.status, refusal.value.reason) == (503, "ungoverned")
    assert engine.calls == []


def test_a_second_call_in_one_request_is_refused(engine: Any, governor: Governor, request_: Any) -> None:
    hook = governed(engine, governor)
    generate(hook, request_)
    with pytest.raises(RequestRefused):
        generate(hook, request_)
    assert len(engine.calls) == 2


@pytest.mark.parametrize("prompt", ["text", {"type": "embeds"}, {"type": "multimodal", "prompt_token_ids": [1]}])
def test_a_prompt_that_is_not_token_ids_is_refused(engine: Any, governor: Governor, request_: Any, prompt: Any) -> None:
    async def run() -> None:
        CURRENT.set(request_)
        async for _ in governed(engine, governor).generate(prompt, sampling(), "req-1"):
            pass

    with pytest.raises(RequestRefused, match="text and token ids"):
        asyncio.run(run())
    assert request_.refusal is not None


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"logit_bias": {8: 5.0}}, "logit_bias"),
        ({"allowed_token_ids": [1000, 8]}, "allowed_token_ids"),
        ({"logprob_token_ids": [8]}, "logprob_token_ids"),
        ({"prompt_logprob_token_ids": [[1]]}, "prompt_logprob_token_ids"),
        ({"logprobs": -1}, "logprobs"),
        ({"prompt_logprobs": -1}, "logprobs"),
        ({"repetition_penalty": 0.01}, "repetition_penalty"),
        ({"repetition_penalty": 50.0}, "repetition_penalty"),
        ({"top_k": 2**64}, "top_k"),
    ],
)
def test_sampling_that_could_reach_reserved_ids_is_refused(
    engine: Any, governor: Governor, request_: Any, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestRefused) as refusal:
        generate(governed(engine, governor), request_, params=sampling(**changes))
    assert (refusal.value.status, refusal.value.param) == (400, param)
    assert engine.calls == []


def test_the_gate_reads_which_principles_fired_in_the_same_call(
    engine: Any, governor: Governor, request_: GovernedRequest
) -> None:
    governor.principle_columns = dict(zip(("life_first", "fail_safe"), governor.reserved.value_ids, strict=False))
    engine.principles = (0.25, 0.5)
    generate(governed(engine, governor), request_)
    assert len(engine.calls) == 2, "the gate and the speech"
    assert request_.outcome is not None
    assert request_.outcome.principles == pytest.approx({"fail_safe": 0.5, "life_first": 0.25})
    assert list(request_.outcome.principles) == ["fail_safe", "life_first"]
    assert request_.outcome.scores == pytest.approx(engine.scores)


@pytest.mark.parametrize("columns", [0, 2])
def test_a_model_that_does_not_tell_its_principles_gives_none(
    engine: Any, governor: Governor, request_: GovernedRequest, columns: int
) -> None:
    """Without anchors there are columns that nobody writes; from before the ontology there are none at all."""
    names = ("life_first", "fail_safe")[:columns]
    governor.principle_columns = dict(zip(names, governor.reserved.value_ids, strict=False))
    engine.principles = (-9900.0,) * columns
    generate(governed(engine, governor), request_)
    assert request_.outcome is not None
    assert (request_.outcome.principles, request_.outcome.decision) == (None, "answer")


def test_a_bias_on_ordinary_ids_pushes_the_score_columns_out_of_reach(
    engine: Any, governor: Governor, request_: Any
) -> None:
    generate(governed(engine, governor), request_, params=sampling(logit_bias={1000: -100.0}))
    bias = engine.calls[1].sampling.logit_bias
    assert bias[1000] == -100.0
    hidden = (*governor.reserved.score_ids, *governor.reserved.domain_ids, *governor.reserved.value_ids)
    assert {bias[token_id] for token_id in hidden} == {-1e4}


def test_a_prompt_that_leaves_no_room_says_how_long_it_is(engine: Any, governor: Governor, request_: Any) -> None:
    needed = len(ORDINARY) + len(governor.reserved.header(TELEMETRY, None)) + 2
    with pytest.raises(RequestRefused, match="prompt of 5 tokens") as refusal:
        generate(governed(engine, governor, room=needed - 1), request_)
    assert refusal.value.reason == "context_length_exceeded"


@pytest.mark.parametrize("asked", [16, None])
def test_the_answer_is_limited_to_the_room_that_the_header_leaves(
    engine: Any, governor: Governor, request_: Any, asked: int | None
) -> None:
    needed = len(ORDINARY) + len(governor.reserved.header(TELEMETRY, None)) + 2
    generate(governed(engine, governor, room=needed), request_, params=sampling(max_tokens=asked))
    assert engine.calls[1].sampling.max_tokens == 1


def probed(engine: Any, governor: Governor, request: GovernedRequest, **options: Any) -> list[Any]:
    """Generate with a model whose domain probe is believed from probability 0.6 on."""
    governor.calibration = replace(governor.calibration, domain_probe_level=0.6)
    return generate(governed(engine, governor, probe="PROBE", **options), request)


def probes_of(domain: str) -> float:
    return REGISTRY.get_sample_value("promethios_probed_domains_total", {"domain": domain}) or 0.0


def test_a_domain_that_nobody_named_is_asked_of_the_model_and_governs(
    engine: Any, governor: Governor, request_: GovernedRequest
) -> None:
    engine.domains, before = {"legal": 5.0, "finance": 1.0}, probes_of("legal")
    (output,) = probed(engine, governor, request_)
    probe, gate, speech = engine.calls
    assert probe.prompt["prompt_token_ids"] == ORDINARY, "the text alone, without a header"
    assert (probe.sampling, probe.id) == ("PROBE", "req-1-probe")
    header = governor.reserved.header(TELEMETRY, load_ontology().domain("legal").header)
    assert gate.prompt["prompt_token_ids"] == ORDINARY + header
    assert speech.prompt["prompt_token_ids"][: len(ORDINARY + header)] == ORDINARY + header
    assert (request_.domain, request_.domain_source) == ("legal", "probe")
    assert request_.outcome is not None and request_.outcome.threshold == 0.1, "the certified one of its domain"
    assert probes_of("legal") == before + 1
    assert output.num_cached_tokens == 3, "what was cached before this request's first hidden call"


def test_a_doubtful_guess_leaves_the_request_without_a_domain(
    engine: Any, governor: Governor, request_: GovernedRequest
) -> None:
    engine.domains, before = {"legal": 0.0, "finance": 0.0}, probes_of("none")
    probed(engine, governor, request_)
    assert engine.calls[1].prompt["prompt_token_ids"] == ORDINARY + governor.reserved.header(TELEMETRY, None)
    assert (request_.domain, request_.domain_source) == (None, None)
    assert probes_of("none") == before + 1


def test_the_model_is_not_asked_for_a_domain_that_is_named(engine: Any, governor: Governor) -> None:
    request = GovernedRequest(route="r", domain="healthcare", domain_source="request", telemetry=TELEMETRY)
    probed(engine, governor, request)
    assert [call.sampling for call in engine.calls[:1]] == ["GATE"]
    assert (request.domain, request.domain_source) == ("healthcare", "request")


def test_a_prompt_without_room_for_a_domain_is_answered_without_one(
    engine: Any, governor: Governor, request_: GovernedRequest
) -> None:
    engine.domains = {"legal": 5.0}
    needed = len(ORDINARY) + len(governor.reserved.header(TELEMETRY, load_ontology().domain("legal").header)) + 2
    probed(engine, governor, request_, room=needed - 1)
    assert request_.domain is None and request_.outcome is not None
    again = GovernedRequest(route="r", telemetry=TELEMETRY)
    engine.calls.clear()
    probed(engine, governor, again, room=needed)
    assert again.domain == "legal"


def test_a_probe_that_cannot_be_read_is_a_failed_gate(engine: Any, governor: Governor, request_: Any) -> None:
    engine.domains, before = {"legal": float("nan")}, failures()
    with pytest.raises(RequestRefused) as refusal:
        probed(engine, governor, request_)
    assert (refusal.value.status, refusal.value.reason) == (503, "gate_failed")
    assert (failures(), len(engine.calls)) == (before + 1, 1)


def test_the_audit_log_says_who_named_the_domain(
    engine: Any, governor: Governor, request_: GovernedRequest, tmp_path: Path
) -> None:
    engine.domains = {"legal": 5.0}
    probed(engine, governor, request_, audit=AuditLog(tmp_path / "audit.jsonl"))
    record = json.loads((tmp_path / "audit.jsonl").read_text())
    assert (record["domain"], record["domain_source"]) == ("legal", "probe")


def failures() -> float:
    return REGISTRY.get_sample_value("promethios_gate_failures_total") or 0.0


def test_a_failed_gate_refuses_and_is_counted(engine: Any, governor: Governor, request_: Any) -> None:
    engine.failure, before = EngineDied("out of memory"), failures()
    with pytest.raises(RequestRefused) as refusal:
        generate(governed(engine, governor), request_)
    assert (refusal.value.status, refusal.value.reason) == (503, "gate_failed")
    assert request_.refusal is refusal.value
    assert len(engine.calls) == 1
    assert failures() == before + 1


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_a_failed_gate(
    engine: Any, governor: Governor, request_: Any, broken: Any
) -> None:
    engine.scores = (broken, *[0.0] * 17)
    with pytest.raises(RequestRefused, match="gate"):
        generate(governed(engine, governor), request_)


def test_a_failed_gate_escalates_when_the_operator_says_so(engine: Any, governor: Governor, request_: Any) -> None:
    engine.failure = EngineDied()
    generate(governed(engine, governor, on_gate_failure="escalate"), request_)
    assert engine.calls[1].prompt["prompt_token_ids"][-1] == governor.reserved.decision("escalate")
    assert request_.outcome.probability is None


def test_an_error_that_is_the_client_s_passes_through(engine: Any, governor: Governor, request_: Any) -> None:
    engine.failure, before = Disconnected(), failures()
    with pytest.raises(Disconnected):
        generate(governed(engine, governor), request_)
    assert failures() == before


def test_a_client_that_leaves_closes_the_engine_s_request(engine: Any, governor: Governor, request_: Any) -> None:
    engine.texts = ("a", "b", "c")

    async def run() -> None:
        CURRENT.set(request_)
        prompt = {"type": "token", "prompt_token_ids": ORDINARY}
        outputs = governed(engine, governor).generate(prompt, sampling(), "req-1")
        await anext(outputs)
        await outputs.aclose()

    asyncio.run(run())
    assert engine.closed == ["req-1-gate", "req-1"]


def test_a_client_that_leaves_during_the_gate_closes_the_gate(engine: Any, governor: Governor, request_: Any) -> None:
    async def run() -> None:
        CURRENT.set(request_)
        prompt = {"type": "token", "prompt_token_ids": ORDINARY}
        task = asyncio.ensure_future(anext(governed(engine, governor).generate(prompt, sampling(), "req-1")))
        while not engine.calls:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert engine.closed == ["req-1-gate"]


def test_a_decision_is_logged_without_a_word_of_the_conversation(
    engine: Any, governor: Governor, request_: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="promethios.decisions"):
        generate(governed(engine, governor), request_)
    (record,) = caplog.records
    line = JsonLines().format(record)
    assert json.loads(line).items() >= {"id": request_.id, "weights": "a" * 12, "decision": "answer"}.items()
    assert "Hello" not in line


def test_the_warm_up_is_no_request_of_a_client(engine: Any, governor: Governor) -> None:
    labels = {"decision": "caveat", "domain": "none"}
    before = REGISTRY.get_sample_value("promethios_decisions_total", labels) or 0.0
    generate(governed(engine, governor), GovernedRequest(route="warm-up", counted=False))
    assert (REGISTRY.get_sample_value("promethios_decisions_total", labels) or 0.0) == before
