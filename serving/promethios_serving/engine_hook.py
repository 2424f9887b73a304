"""Decide, then speak: the one place that stands between vLLM's routes and its engine.

    probe  prompt                          one token, the domain columns' log-probabilities -> domain, if none is named
    gate   prompt + header                 one token, the columns of scores and principles -> decision, what fired
    speak  prompt + header + decision id   the client's own sampling; streaming untouched

With self-questions, hidden rounds stand between prompt and header, each followed by another gate (self_questioning.py).

The header stands at the end of the prompt, so each call finds the prefix of the one before in the cache, and what the
client may see of its prompt (ids, log-probabilities, counts) is simply the part before the header.

`install` wraps `engine_client.generate` on the instance: every route of the server goes through it. A call outside a
governed request is refused, so a route that nobody thought of cannot answer ungoverned.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from promethios.telemetry.header import SCORE_NAMES
from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.decision_log import record_decision
from promethios_serving.governor import Governor
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import CURRENT, GovernedRequest, Outcome
from promethios_serving.reviews.review_record import DecidingModel
from promethios_serving.reviews.reviews import Reviews
from promethios_serving.sampling_limits import check_sampling
from promethios_serving.settings import OnGateFailure
from promethios_serving.tag_redactor import TagRedactor

if TYPE_CHECKING:
    from promethios_serving.self_questioning import SelfQuestions

Generate = Callable[..., AsyncGenerator[Any, None]]

_GATE_ARGUMENTS: Final = ("lora_request", "trace_headers", "priority", "data_parallel_rank", "session_id")
"""Arguments of `generate` that decide where and as what a request runs; the others shape its output."""
_OUT_OF_REACH: Final = -1e4
_DOMAIN_TOKENS: Final = 3
"""What a domain adds to the header."""
_TALKATIVE: Final = ("vllm.entrypoints.anthropic.api_router", "vllm.entrypoints.anthropic.serving")
"""Loggers of routes that write a traceback for every exception."""
_log: Final = logging.getLogger("promethios.engine")


class GateFailed(Exception):
    """The engine answered a hidden call without usable numbers."""


@dataclass(frozen=True, slots=True)
class EngineTypes:
    """What of vLLM the hook works with, given to it so that its tests need no vLLM.

    gate_sampling: SamplingParams of the gate call. failures: exceptions of an engine that could not compute.
    refusal: turns a refusal into an exception that vLLM's routes end on quietly. probe_sampling: SamplingParams of the
    domain probe; None where the model has none that may be believed.
    """

    gate_sampling: Any
    failures: tuple[type[Exception], ...]
    refusal: Callable[[RequestRefused], Exception]
    probe_sampling: Any = None


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that was admitted: its context, its prompt without reserved ids, its telemetry and header ids.

    rounds: ids of the hidden rounds so far, between prompt and header.
    """

    request: GovernedRequest
    client_ids: list[int]
    scrubbed: int
    state: GovernanceState | None
    header: list[int]
    rounds: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a gate call read: scores (SCORE_NAMES order), the principles' shares, how much of the prompt was cached."""

    scores: list[float]
    shares: list[float]
    cached_tokens: int | None


class GovernedEngine:
    """`generate` of an engine client, with governance."""

    def __init__(
        self,
        generate: Generate,
        governor: Governor,
        types: EngineTypes,
        *,
        max_model_len: int,
        on_gate_failure: OnGateFailure,
        model: DecidingModel,
        audit: AuditLog | None = None,
        reviews: Reviews | None = None,
        questions: SelfQuestions | None = None,
    ) -> None:
        self._generate = generate
        self._governor = governor
        self._reserved = governor.reserved
        self._types = types
        self._failures: tuple[type[Exception], ...] = (GateFailed, *types.failures)
        self._max_model_len = max_model_len
        self._on_gate_failure = on_gate_failure
        self._model = model
        self._audit = audit
        self._reviews = reviews
        self._questions = questions

    async def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """Decide, then yield the outputs of the speaking call. Same arguments and outputs as vLLM's `generate`."""
        request = CURRENT.get()
        try:
            call = self._admit(request, prompt, sampling_params)
            outcome, cached_tokens = await self._decide(call, prompt, request_id, kwargs)
            review = None if self._reviews is None else await self._reviews.open(call.request, call.state)
        except RequestRefused as refusal:
            if request is not None:
                request.refusal = refusal
            raise self._types.refusal(refusal) from None
        ids = [*call.client_ids, *call.rounds, *call.header, self._reserved.decision(outcome.decision)]
        sampling = self._speaking(sampling_params, room=self._max_model_len - len(ids))
        call.request.tokens += len(call.client_ids)
        redactors: defaultdict[int, TagRedactor] = defaultdict(TagRedactor)
        speech = self._generate({**prompt, "prompt_token_ids": ids}, sampling, request_id, **kwargs)
        async with aclosing(review) if review else nullcontext(), aclosing(speech) as out:
            async for output in out:
                call.request.tokens += sum(len(completion.token_ids) for completion in output.outputs)
                shown = _for_client(output, call.client_ids, cached_tokens, redactors)
                if review is not None:
                    review.hear(shown.outputs, delta=_is_delta(sampling))
                yield shown

    def _admit(self, request: GovernedRequest | None, prompt: Any, sampling_params: Any) -> _Call:
        """Check a call and prepare it. Raises RequestRefused."""
        if request is None:
            raise _unavailable("ungoverned", "the engine was called outside a governed request")
        if request.started:
            raise _unavailable("ungoverned", "a governed request generates once; its second call was refused")
        request.started = True
        if not isinstance(prompt, Mapping) or prompt.get("type") != "token":
            message = "only text and token ids can be governed; send no embeddings, images or audio"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "unsupported", message)
        check_sampling(sampling_params, self._reserved)
        client_ids = self._reserved.scrub(prompt["prompt_token_ids"])
        state = self._governor.state(request)
        header = self._governor.header(request, state)
        needed = len(client_ids) + len(header) + 2  # the decision and one token of the answer
        if needed > self._max_model_len:
            message = (
                f"the prompt of {len(client_ids)} tokens and {len(header) + 1} tokens of governance leave no room for "
                f"an answer: the context length is {self._max_model_len}; shorten the prompt"
            )
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "context_length_exceeded", message)
        return _Call(request, client_ids, len(prompt["prompt_token_ids"]) - len(client_ids), state, header)

    async def _decide(
        self, call: _Call, prompt: Mapping[str, Any], request_id: str, kwargs: Mapping[str, Any]
    ) -> tuple[Outcome, int | None]:
        """Run the gate; returns the outcome and the prompt tokens that were cached. Raises RequestRefused."""
        started = time.perf_counter()
        cached_tokens = None
        try:
            probed = await self._probe(call, prompt, request_id, kwargs)
            reading, cached_tokens = await self._read(call, prompt, request_id, kwargs)
            cached_tokens = cached_tokens if probed is None else probed
            fired = self._governor.fired(reading.shares)
            outcome = self._governor.decide(call.request, call.state, reading.scores, fired)
        except self._failures as error:
            metrics.GATE_FAILURES.inc()
            _log.error("gate of %s failed: %s: %s", request_id, type(error).__name__, error)
            if self._on_gate_failure == "refuse":
                raise _unavailable("gate_failed", "the governance gate could not be computed; try again") from None
            outcome = self._governor.escalate_blindly(call.request, call.state)
        call.request.outcome = outcome
        record_decision(
            call.request,
            call.state,
            model=self._model,
            gate_seconds=time.perf_counter() - started,
            scrubbed_ids=call.scrubbed,
            audit=self._audit,
        )
        return outcome, cached_tokens

    async def _probe(
        self, call: _Call, prompt: Mapping[str, Any], request_id: str, kwargs: Mapping[str, Any]
    ) -> int | None:
        """Ask the model for the domain of a request that names none, and put it into the header.

        Returns the prompt tokens that were cached, None where nothing was asked. Raises as `_gate`.
        """
        sampling, needed = self._types.probe_sampling, len(call.client_ids) + len(call.header) + _DOMAIN_TOKENS + 2
        is_named = call.request.domain is not None
        if sampling is None or is_named or not call.client_ids or needed > self._max_model_len:
            return None
        output = await self._last(prompt, call.client_ids, sampling, f"{request_id}-probe", kwargs)
        columns = self._governor.domain_columns()
        found = _read_columns(output, list(columns.values()))
        self._governor.name_domain(call.request, dict(zip(columns, found, strict=True)))
        call.header[:] = self._governor.header(call.request, call.state)
        if call.request.counted:
            metrics.PROBED_DOMAINS.labels(domain=call.request.domain or "none").inc()
        cached_tokens: int | None = output.num_cached_tokens
        return cached_tokens

    async def _read(
        self, call: _Call, prompt: Mapping[str, Any], request_id: str, kwargs: Mapping[str, Any]
    ) -> tuple[_Reading, int | None]:
        """Read what decides, after hidden rounds where the model wants them, and the first call's cached tokens.

        Raises as `_gate`.
        """
        first = reading = await self._gate(call, prompt, f"{request_id}-gate", kwargs)
        read = [first.scores]
        while self._questions is not None and self._questions.again(read) and self._has_room(call):
            ids = [*call.client_ids, *call.rounds, *self._questions.opening()]
            name = f"{request_id}-ask-{len(read)}"
            spoken = await self._last(prompt, ids, self._questions.sampling, name, kwargs)
            round_ids, text = self._questions.round(spoken.outputs[0].token_ids)
            call.request.tokens += len(round_ids)
            call.rounds.extend(round_ids)
            call.request.self_questions.append(text)
            metrics.SELF_QUESTIONS.inc()
            reading = await self._gate(call, prompt, f"{request_id}-gate-{len(read)}", kwargs)
            read.append(reading.scores)
        return reading, first.cached_tokens

    def _has_room(self, call: _Call) -> bool:
        assert self._questions is not None
        used = len(call.client_ids) + len(call.rounds) + len(call.header) + 2
        return used + self._questions.tokens <= self._max_model_len

    async def _gate(
        self, call: _Call, prompt: Mapping[str, Any], request_id: str, kwargs: Mapping[str, Any]
    ) -> _Reading:
        """Read the reserved columns at the header's end. Raises GateFailed and the engine's failures."""
        ids = [*call.client_ids, *call.rounds, *call.header]
        result = await self._last(prompt, ids, self._types.gate_sampling, request_id, kwargs)
        reference, *read = _read_columns(result, self._governor.gate_columns)
        columns = [column - reference for column in read]
        return _Reading(columns[: len(SCORE_NAMES)], columns[len(SCORE_NAMES) :], result.num_cached_tokens)

    async def _last(
        self, prompt: Mapping[str, Any], ids: list[int], sampling: Any, request_id: str, kwargs: Mapping[str, Any]
    ) -> Any:
        """Return the last output of a hidden call. Raises GateFailed and the engine's failures."""
        arguments = {name: kwargs[name] for name in _GATE_ARGUMENTS if name in kwargs}
        last = None
        call = self._generate({**prompt, "prompt_token_ids": ids}, sampling, request_id, **arguments)
        async with aclosing(call) as outputs:
            async for output in outputs:
                last = output
        if last is None:
            raise GateFailed("the engine returned nothing")
        return last

    def _speaking(self, sampling_params: Any, room: int) -> Any:
        """Return the client's sampling parameters, within the context's room."""
        sampling = copy.copy(sampling_params)
        sampling.max_tokens = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
        if sampling.logit_bias:
            # A client may push every ordinary token down by 100, to where the model writes numbers: push those as well.
            reserved = self._reserved
            columns = (*reserved.score_ids, *reserved.domain_ids, *reserved.value_ids)
            sampling.logit_bias = {**sampling.logit_bias, **dict.fromkeys(columns, _OUT_OF_REACH)}
        return sampling


def install(
    engine_client: Any,
    governor: Governor,
    on_gate_failure: OnGateFailure,
    *,
    model: DecidingModel,
    audit: AuditLog | None = None,
    reviews: Reviews | None = None,
    questions: SelfQuestions | None = None,
) -> None:
    """Put governance in front of an engine client's `generate`. Needs vLLM."""
    from vllm import SamplingParams
    from vllm.exceptions import GenerationError, VLLMClientError
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    class RefusedGeneration(GenerationError):
        """A refusal as the exception that vLLM's routes turn into a reply without a traceback."""

        def __init__(self, refusal: RequestRefused) -> None:
            super().__init__(refusal.message)
            self.status_code = refusal.status

    def reading(columns: Iterable[int]) -> SamplingParams:
        return SamplingParams(
            max_tokens=1,
            temperature=0.0,
            logprob_token_ids=list(columns),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    types = EngineTypes(
        gate_sampling=reading(governor.gate_columns),
        probe_sampling=reading(governor.domain_columns().values()) if governor.probes_domains else None,
        failures=(EngineDeadError, EngineGenerateError),
        refusal=RefusedGeneration,
    )
    governed = GovernedEngine(
        engine_client.generate,
        governor,
        types,
        max_model_len=engine_client.model_config.max_model_len,
        on_gate_failure=on_gate_failure,
        model=model,
        audit=audit,
        reviews=reviews,
        questions=questions,
    )
    engine_client.generate = governed.generate
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_NoMistakesOfClients((VLLMClientError, ValueError, OverflowError)))


class _NoMistakesOfClients(logging.Filter):
    """Drops the traceback of a refused request: a client's mistake is no error of the server, and its reply says it.

    mistakes: what vLLM answers with 400; its message may quote the client.
    """

    def __init__(self, mistakes: tuple[type[Exception], ...]) -> None:
        super().__init__()
        self._mistakes = mistakes

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to keep a record."""
        request = CURRENT.get()
        raised = record.exc_info[1] if record.exc_info else None
        refused = request is not None and request.refusal is not None
        return not refused and not isinstance(raised, self._mistakes)


def _read_columns(output: Any, columns: Sequence[int]) -> list[float]:
    """Return the log-probabilities of reserved columns that a hidden call was asked for. Raises GateFailed."""
    if not output.outputs[0].logprobs:
        raise GateFailed("the engine returned no log-probabilities")
    found = output.outputs[0].logprobs[0]
    missing = [column for column in columns if column not in found]
    if missing:
        raise GateFailed(f"the engine returned no log-probability of the reserved columns {missing}")
    read = [found[column].logprob for column in columns]
    if not all(math.isfinite(value) for value in read):
        raise GateFailed("the model's scores are not finite")
    return read


def _for_client(
    output: Any, client_ids: list[int], cached_tokens: int | None, redactors: defaultdict[int, TagRedactor]
) -> Any:
    """Return an output of the speaking call as if the prompt ended where the client's did, its text redacted."""
    if output.prompt_token_ids is not None:
        output.prompt_token_ids = client_ids
    if output.prompt_logprobs:
        output.prompt_logprobs = output.prompt_logprobs[: len(client_ids)]
    if output.num_cached_tokens is not None and cached_tokens is not None:
        output.num_cached_tokens = min(cached_tokens, len(client_ids))
    for completion in output.outputs:
        finished = completion.finish_reason is not None
        completion.text = redactors[completion.index].feed(completion.text, final=finished)
    return output


def _is_delta(sampling_params: Any) -> bool:
    """True when an output holds what is new, as in a stream; False when it holds the whole answer so far."""
    return str(getattr(sampling_params, "output_kind", "")).endswith("DELTA")


def _unavailable(reason: str, message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, reason, message)
