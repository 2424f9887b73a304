"""ASGI endpoint of the governed routes (interfaces.py): decide, then let the upstream speak, or hand over.

The upstream sees the decision and the telemetry in words (governed_prompt.py) and nothing of the client's headers. An
escalation never reaches it. When the client goes away, the request to the upstream is cancelled.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.decision_log import record_decision
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_body import read_body
from promethios_serving.request_context import CURRENT, GovernedRequest, Outcome
from promethios_serving.reviews.review_record import DecidingModel
from promethios_serving.reviews.reviews import OpenReview, Reviews
from promethios_serving.route_allowlist import CHAT_ROUTE
from promethios_serving.settings import OnGateFailure
from promethios_serving.telemetry.request_state import governance_state
from promethios_serving.telemetry.source import TelemetrySource
from promethios_serving.wrapped.governed_prompt import governance_block, hand_over_text
from promethios_serving.wrapped.interface import Interface, Spoken, estimated_tokens
from promethios_serving.wrapped.interfaces import INTERFACES
from promethios_serving.wrapped.relay import answer_while_connected, relay_answer, send_events, send_json
from promethios_serving.wrapped.self_check import BadVerdict, Verdict, self_check_question, verdict_in
from promethios_serving.wrapped.telemetry_policy import decide_on_telemetry
from promethios_serving.wrapped.trial import TRIAL, Trial
from promethios_serving.wrapped.upstream import UPSTREAM, Upstream, read_reply

_MAX_MODEL_NAME: Final = 100
"""Of a name that the client chose, for logs and records."""
_REPEATING: Final = ("echo", "prompt_logprobs", "return_prompt_text", "return_token_ids", "enable_response_messages")
"""vLLM's, which many upstreams are."""
_log: Final = logging.getLogger("promethios.wrapped")


class GovernedAnswers:
    """Answers governed requests with an upstream's text."""

    def __init__(
        self,
        source: TelemetrySource,
        *,
        self_check: bool,
        on_gate_failure: OnGateFailure,
        audit: AuditLog | None = None,
        reviews: Reviews | None = None,
    ) -> None:
        self._source = source
        self._audit = audit
        self._reviews = reviews
        self._self_check = self_check
        self._on_gate_failure = on_gate_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, whose context stands in CURRENT and whose upstream in the scope."""
        request = CURRENT.get()
        assert request is not None, "GovernedRequests comes before"
        body = json.loads(await read_body(receive))
        await answer_while_connected(partial(self._answer, scope, request, body), receive, send)

    async def _answer(self, scope: Scope, request: GovernedRequest, body: dict[str, Any], send: Send) -> None:
        """Decide and answer. Raises RequestRefused as long as nothing was sent."""
        upstream: Upstream = scope[UPSTREAM]
        trial: Trial | None = scope.get(TRIAL)
        interface = INTERFACES[request.route]
        messages = interface.conversation(body)
        _refuse_repeating(body)
        state = governance_state(request, self._source)
        started = time.perf_counter()
        outcome = request.outcome = await self._decide(request, body, messages, state, upstream)
        name = upstream.address.model or str(body.get("model"))[:_MAX_MODEL_NAME]
        record_decision(
            request,
            state,
            model=DecidingModel(name=f"upstream:{name}"),
            gate_seconds=time.perf_counter() - started,
            scrubbed_ids=0,
            audit=self._audit,
        )
        if trial is not None:
            trial.decided(request.id, outcome.decision)
        review = None if self._reviews is None else await self._reviews.open(request, state)
        async with aclosing(review) if review else nullcontext():
            if outcome.decision == "escalate":
                await _hand_over(interface, request, body, name, send, review)
                return
            block = governance_block(
                request_id=request.id, decision=outcome.decision, domain=request.domain, state=state
            )
            raw, streamed = _for_upstream(interface.governed(body, block), upstream), bool(body.get("stream"))
            await relay_answer(upstream, interface, raw, request, send, streamed=streamed, review=review)

    async def _decide(
        self,
        request: GovernedRequest,
        body: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        state: GovernanceState | None,
        upstream: Upstream,
    ) -> Outcome:
        minimum = request.caller.policy.minimum_decision
        outcome = decide_on_telemetry(request.domain, state, minimum=minimum)
        if outcome.decision == "escalate" or not self._self_check:
            return outcome  # a verdict could not make it less careful
        try:
            verdict = await _verdict(request, body, messages, state, upstream)
        except (BadVerdict, RequestRefused) as error:
            if request.counted:
                metrics.GATE_FAILURES.inc()
                # What an upstream says of a request may repeat it, so its words stay out of the log.
                reason = error.reason if isinstance(error, RequestRefused) else error
                _log.error("self-check of %s failed: %s", request.id, reason)
            if self._on_gate_failure == "refuse":
                message = "the governance gate could not be computed; try again"
                raise RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "gate_failed", message) from None
            return replace(decide_on_telemetry(request.domain, state, Verdict("escalate", 1.0)), probability=None)
        return decide_on_telemetry(request.domain, state, verdict, minimum)


async def _verdict(
    request: GovernedRequest,
    body: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    state: GovernanceState | None,
    upstream: Upstream,
) -> Verdict:
    """Ask the upstream for its verdict. Raises BadVerdict and RequestRefused."""
    asked = {"model": body.get("model"), "messages": self_check_question(request.domain, state, messages)}
    question = _for_upstream(asked, upstream)
    chat = INTERFACES[CHAT_ROUTE]
    async with upstream.post(chat.path, question) as response:
        raw = await read_reply(response)
    request.tokens += chat.tokens(raw) or estimated_tokens(question, raw)
    try:
        return verdict_in(json.loads(raw))
    except (ValueError, RecursionError):
        raise BadVerdict("the reply is not JSON") from None


async def _hand_over(
    interface: Interface,
    request: GovernedRequest,
    body: Mapping[str, Any],
    model: str,
    send: Send,
    review: OpenReview | None,
) -> None:
    text = hand_over_text(request.domain)
    if review is not None:
        review.hear([Spoken(0, text)], delta=False)
    answer = interface.hand_over(body, model, request.id, text)
    await (send_events if body.get("stream") else send_json)(send, answer)


def _refuse_repeating(body: Mapping[str, Any]) -> None:
    """Refuse what would make an upstream repeat its prompt, and in it the telemetry. Raises RequestRefused."""
    for name in _REPEATING:
        if not (body.get(name) is None or body[name] is False):
            message = f"`{name}` is not supported: the upstream would repeat the telemetry that it was told"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "unsupported", message, name)


def _for_upstream(body: Mapping[str, Any], upstream: Upstream) -> bytes:
    model = upstream.address.model
    return json.dumps(body if model is None else {**body, "model": model}).encode()
